/**
 * For an operator: ends a save that needs attention, if Vapi holds that content now.
 * `npm run settle -- --org ID --save ID --to COMMITTED|ROLLED_BACK`, with the server's environment.
 */
import { parseArgs } from 'node:util';
import { createServiceClient } from '../src/adapters/supabase/clients.ts';
import { createRpcJournal } from '../src/adapters/supabase/rpc-journal.ts';
import { createLogger } from '../src/adapters/system/logger.ts';
import { createVoiceProvider } from '../src/adapters/vapi/got-voice-provider.ts';
import { loadEnv, VAPI_BASE_URL } from '../src/env.ts';
import { settleSave } from '../src/services/saves/settle.ts';

const { values } = parseArgs({
  options: { org: { type: 'string' }, save: { type: 'string' }, to: { type: 'string' } },
});
const { org, save, to } = values;
if (org === undefined || save === undefined || (to !== 'COMMITTED' && to !== 'ROLLED_BACK')) {
  console.error('usage: npm run settle -- --org ID --save ID --to COMMITTED|ROLLED_BACK');
  process.exit(64);
}
const loaded = loadEnv(process.env);
if ('problems' in loaded) {
  for (const { variable, problem } of loaded.problems) console.error(`${variable} ${problem}`);
  process.exit(78);
}
const { supabase, vapi, settings, logLevel } = loaded.config;
if (supabase === null || vapi.key === null) {
  console.error('SUPABASE_URL and VAPI_PRIVATE_KEY are needed: the same environment as the server has');
  process.exit(78);
}
const settlement = await settleSave(
  {
    journal: createRpcJournal(createServiceClient(supabase)),
    voice: createVoiceProvider(vapi.key, {
      baseUrl: vapi.baseUrl ?? VAPI_BASE_URL,
      timeoutMs: settings.requestTimeoutMs,
      log: createLogger(logLevel, [vapi.key, supabase.secretKey]),
    }),
    settings,
  },
  org,
  save,
  to,
);
if (settlement.outcome === 'NOT_SETTLED') {
  console.error(`Not settled:\n${settlement.reasons.map((reason) => `  ${reason}`).join('\n')}`);
  process.exit(1);
}
console.log(`Save ${settlement.save.id} is ${settlement.outcome}.`);
