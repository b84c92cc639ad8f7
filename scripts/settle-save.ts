/**
 * For an operator: ends an open save, if Vapi holds that content now.
 * `npm run settle -- --org ID --save ID --to COMMITTED|ROLLED_BACK [--wait]`, with the server's environment. `--wait` tries again
 * by itself while a server works on the save or one of its requests may still be applied.
 * Exit codes: 0 settled; 1 not settled, and why; 64 wrong use; 78 wrong environment.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createServiceClient } from '../src/adapters/supabase/clients.ts';
import { createAnyJournal } from '../src/adapters/supabase/rpc-journal.ts';
import { createRpcVapiAccount } from '../src/adapters/supabase/rpc-vapi-account.ts';
import { createLogger } from '../src/adapters/system/logger.ts';
import { createVoiceProvider } from '../src/adapters/vapi/got-voice-provider.ts';
import { isUuid } from '../src/domain/uuid.ts';
import { loadEnv, VAPI_BASE_URL } from '../src/env.ts';
import { DatabaseError } from '../src/ports/agents/save-journal.ts';
import { settleSaga, settleWhenPossible } from '../src/services/saga/settle.ts';
import { SAGA_KINDS } from '../src/services/saga-kinds.ts';

const EX_USAGE = 64;
const EX_CONFIG = 78;

function readOptions(): { org: string; save: string; to: 'COMMITTED' | 'ROLLED_BACK'; wait: boolean } {
  try {
    const { org, save, to, wait } = parseArgs({
      options: {
        org: { type: 'string' },
        save: { type: 'string' },
        to: { type: 'string' },
        wait: { type: 'boolean', default: false },
      },
    }).values;
    if (!isUuid(org) || !isUuid(save)) throw new Error('--org and --save must be UUIDs');
    if (to !== 'COMMITTED' && to !== 'ROLLED_BACK') throw new Error('--to must be COMMITTED or ROLLED_BACK');
    return { org, save, to, wait };
  } catch (problem) {
    console.error(problem instanceof Error ? problem.message : problem);
    console.error('usage: npm run settle -- --org ID --save ID --to COMMITTED|ROLLED_BACK [--wait]');
    process.exit(EX_USAGE);
  }
}

function report(reasons: string[]): void {
  console.error(`Not settled:\n${reasons.map((reason) => `  ${reason}`).join('\n')}`);
}

const { org, save, to, wait } = readOptions();
const loaded = loadEnv(process.env);
if ('problems' in loaded) {
  for (const { variable, problem } of loaded.problems) console.error(`${variable} ${problem}`);
  process.exit(EX_CONFIG);
}
const { supabase, vapi, settings, logLevel } = loaded.config;
if (supabase === null || vapi.key === null) {
  console.error('SUPABASE_URL and VAPI_PRIVATE_KEY are needed: the same environment as the server has');
  process.exit(EX_CONFIG);
}
const client = createServiceClient(supabase);
try {
  const ports = {
    journal: createAnyJournal(client),
    kinds: SAGA_KINDS,
    voice: createVoiceProvider(vapi.key, {
      baseUrl: vapi.baseUrl ?? VAPI_BASE_URL,
      timeoutMs: settings.requestTimeoutMs,
      log: createLogger(logLevel, [vapi.key, supabase.secretKey]),
    }),
    settings,
    // Asks, and leaves it to the server to say which one it is.
    account: () => createRpcVapiAccount(client)(''),
  };
  const attempt = () => settleSaga(ports, org, save, to);
  const settlement = wait ? await settleWhenPossible(attempt, sleep, report) : await attempt();
  if (settlement.outcome === 'NOT_SETTLED') {
    report(settlement.reasons);
    process.exit(1);
  }
  console.log(`Save ${settlement.saga.id} is ${settlement.outcome}.`);
} catch (error) {
  if (!(error instanceof DatabaseError)) throw error;
  console.error(
    `The database did not answer (${error.code}). The same command again finds the save settled, or settles it.`,
  );
  process.exit(1);
}
