/** `npm run local:supabase -- --port N --data DIR`: the embedded Supabase alone. One line of JSON on stdout when ready. */
import { parseArgs } from 'node:util';
import { type LocalSupabase, startLocalSupabase } from './supabase.ts';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '54321' },
    data: { type: 'string', default: '.local/supabase' },
  },
});
const port = Number(values.port);
const log = (line: string) => console.error(line);
let supabase: LocalSupabase | undefined;
let stopping = false;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    stopping = true;
    // If the start below is still running, it checks the flag when it is done.
    if (supabase) void supabase.stop().then(() => process.exit(0));
  });
}

try {
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new Error('--port must be a number from 0 to 65535');
  const onCrash = (reason: string) => {
    log(reason);
    process.exit(1);
  };
  supabase = await startLocalSupabase({ dataDir: values.data, port, log, onCrash });
  if (stopping) {
    await supabase.stop();
    process.exit(0);
  }
  const { url, publishableKey, secretKey, jwtSecret, databaseUrl } = supabase;
  console.log(JSON.stringify({ url, publishableKey, secretKey, jwtSecret, databaseUrl }));
} catch (error) {
  log(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
