/**
 * `npm run local:vapi -- [--port N] [--key K] [--data FILE]`: the Vapi stand-in as its own process.
 * Prints one line of JSON, `{url, key}`, on stdout when ready; everything else goes to stderr.
 * Without `--key` it makes one and keeps it in `.local/vapi-key`. Webhooks are signed as VAPI_WEBHOOK_CREDENTIAL_ID and VAPI_WEBHOOK_SECRET say,
 * which the server has too.
 */
import { parseArgs } from 'node:util';
import { keptKey } from './kept-key.ts';
import { startVapiStandIn } from './server.ts';

const KEY_FILE = '.local/vapi-key';
const EX_USAGE = 64;

function readOptions(): { port: number; key: string; dataFile: string } {
  try {
    const { values } = parseArgs({
      options: { port: { type: 'string' }, key: { type: 'string' }, data: { type: 'string' } },
    });
    const port = Number(values.port ?? 4010);
    if (!Number.isInteger(port) || port < 0 || port > 65535) throw new Error('--port must be 0 to 65535');
    return { port, key: values.key ?? keptKey(KEY_FILE), dataFile: values.data ?? '.local/vapi.jsonl' };
  } catch (problem) {
    console.error(problem instanceof Error ? problem.message : problem);
    process.exit(EX_USAGE);
  }
}

const { VAPI_WEBHOOK_CREDENTIAL_ID: id, VAPI_WEBHOOK_SECRET: secret } = process.env;
const standIn = await startVapiStandIn({
  ...readOptions(),
  credentials: id && secret ? [{ id, secret, scheme: 'hmac' }] : [],
  log: (line) => console.error(line),
});
console.log(JSON.stringify({ url: standIn.url, key: standIn.key }));
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => void standIn.stop().then(() => process.exit(0)));
}
