/**
 * For an operator, with the server's environment:
 * `npm run lockstep -- org allow ORG [--numbers N] [--documents N] [--bytes N] [--json]` sets what an organization may have. What is not
 * named stays as it is; without any of them, the command only shows it.
 * Exit codes: 0 done; 1 not done, and why; 64 wrong use; 78 wrong environment.
 */
import { parseArgs } from 'node:util';
import { createServiceClient } from '../src/adapters/supabase/clients.ts';
import { setAllowance } from '../src/adapters/supabase/rpc-allowances.ts';
import { isUuid } from '../src/domain/uuid.ts';
import { loadEnv } from '../src/env.ts';
import { DatabaseError } from '../src/ports/database.ts';

const USAGE = 'usage: npm run lockstep -- org allow ORG [--numbers N] [--documents N] [--bytes N] [--json]';
const EX_USAGE = 64;
const EX_CONFIG = 78;

function fail(code: number, ...lines: string[]): never {
  for (const line of lines) console.error(line);
  process.exit(code);
}

function count(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,12}$/.test(text)) fail(EX_USAGE, `--${name} must be a whole number`, USAGE);
  return Number(text);
}

function readArguments() {
  try {
    const options = { type: 'string' } as const;
    return parseArgs({
      allowPositionals: true,
      options: {
        numbers: options,
        documents: options,
        bytes: options,
        json: { type: 'boolean', default: false },
      },
    });
  } catch (problem) {
    return fail(EX_USAGE, problem instanceof Error ? problem.message : String(problem), USAGE);
  }
}

const { positionals, values } = readArguments();
const [noun, verb, org, ...more] = positionals;
if (noun !== 'org' || verb !== 'allow' || more.length > 0) fail(EX_USAGE, USAGE);
if (!isUuid(org)) fail(EX_USAGE, 'ORG must be the UUID of an organization', USAGE);
const wanted = {
  numbers: count('numbers', values.numbers),
  documents: count('documents', values.documents),
  bytes: count('bytes', values.bytes),
};

const loaded = loadEnv(process.env);
if ('problems' in loaded) {
  fail(EX_CONFIG, ...loaded.problems.map(({ variable, problem }) => `${variable} ${problem}`));
}
const { supabase } = loaded.config;
if (supabase === null) {
  fail(EX_CONFIG, 'SUPABASE_URL is needed: the same environment as the server has');
}
try {
  const allowance = await setAllowance(createServiceClient(supabase), org, wanted);
  if (allowance === null) fail(1, `There is no organization ${org}.`);
  const { numbers, documents, bytes } = allowance;
  console.log(
    values.json
      ? JSON.stringify({ org, ...allowance })
      : `Organization ${org} may have ${numbers} phone numbers, ${documents} documents and ${bytes} bytes.`,
  );
} catch (error) {
  if (!(error instanceof DatabaseError)) throw error;
  fail(1, `The database did not answer (${error.code}). The same command may be repeated.`);
}
