/** What a save in flight holds, and what callers cost to whom nothing is owed. */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { GraphQLClient } from 'graphql-request';
import { startVapiStandIn } from '../src/local/vapi/server.ts';
import { report, timed } from './figure.ts';
import { SAVE, saveInput } from './local.ts';
import { cpuMs, memoryMb, type ServerProcess, startServer } from './process.ts';
import { JWT_SECRET, makeAssistants, startCannedRest, tokenFor, VAPI_KEY } from './server.ts';

/** In the server: at this signal, collects garbage and prints what is left of the heap. */
const HEAP_ON_SIGNAL = [
  '--expose-gc',
  '--import',
  'data:text/javascript,process.on("SIGUSR2",()=>{gc();console.log("heap",process.memoryUsage().heapUsed)})',
];
const PIPELINED = 200;
const REFUSED = 20;

export async function benchEdge(folder: string, saves: number): Promise<void> {
  const vapi = await startVapiStandIn({ key: VAPI_KEY });
  const rest = await startCannedRest(await makeAssistants(vapi));
  const url = `http://127.0.0.1:${(rest.address() as AddressInfo).port}`;
  const server = await startServer(
    folder,
    {
      SUPABASE_URL: url,
      SUPABASE_PUBLISHABLE_KEY: 'sb_publishable_benchmark',
      SUPABASE_SECRET_KEY: 'sb_secret_benchmark',
      SUPABASE_JWT_SECRET: JWT_SECRET,
      VAPI_BASE_URL: vapi.url,
      VAPI_PRIVATE_KEY: VAPI_KEY,
      RECONCILE_INTERVAL_MS: '0',
      SAVES_IN_PROGRESS: '1000',
      GRAPHIQL: 'on',
      // Longer than the saves are held.
      VAPI_TIMEOUT_MS: '18000',
      SAVE_LEASE_MS: '30000',
    },
    { nodeOptions: HEAP_ON_SIGNAL },
  );
  try {
    const token = () => tokenFor(randomUUID(), `${url}/auth/v1`);
    await savesInFlight(server, vapi, await Promise.all(Array.from({ length: saves }, token)));
    if ((await memoryMb(server.pid)) === null) return;
    await goneClient(server);
    await refused(server, await token());
  } finally {
    await server.stop();
    await vapi.stop();
    rest.closeAllConnections();
    rest.close();
  }
}

async function savesInFlight(
  server: ServerProcess,
  vapi: Awaited<ReturnType<typeof startVapiStandIn>>,
  tokens: readonly string[],
): Promise<void> {
  const round = () =>
    Promise.all(
      tokens.map((token, number) =>
        new GraphQLClient(`${server.origin}/graphql`, { headers: { authorization: `Bearer ${token}` } })
          .request(SAVE, saveInput(number))
          .catch(() => undefined),
      ),
    );
  // Code, caches and connections are no part of what a save holds.
  await round();
  const before = await heap(server);
  const release = Promise.withResolvers<void>();
  let held = 0;
  const all = new Promise<void>((done) => {
    vapi.faults.add({
      kind: 'hold',
      times: 2 * tokens.length,
      until: () => {
        held += 1;
        if (held === 2 * tokens.length) done();
        return release.promise;
      },
    });
  });
  const running = round();
  await Promise.race([all, sleep(10_000)]);
  const during = await heap(server);
  const inFlight = held / 2;
  release.resolve();
  await running;
  report({
    name: 'edge.save.heap',
    value: (during - before) / inFlight / 1_000,
    unit: 'kB',
    n: inFlight,
    note: `heap in use per save that waits for Vapi, after a garbage collection; the body of its request is ${JSON.stringify(saveInput(0)).length} bytes`,
  });
}

async function heap(server: ServerProcess): Promise<number> {
  const seen = server.output().length;
  server.signal('SIGUSR2');
  for (;;) {
    const bytes = /^heap (\d+)$/m.exec(server.output().slice(seen))?.[1];
    if (bytes !== undefined) return Number(bytes);
    await sleep(20);
  }
}

/** Two hundred requests for the GraphiQL page on one connection, from nobody, who does not wait for an answer. */
async function goneClient(server: ServerProcess): Promise<void> {
  await fetch(`${server.origin}/graphql`, { headers: { accept: 'text/html' } }).then((page) => page.text());
  const before = (await memoryMb(server.pid))?.itself ?? 0;
  const { hostname, port } = new URL(server.origin);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  socket.write('GET /graphql HTTP/1.1\r\nhost: x\r\naccept: text/html\r\n\r\n'.repeat(PIPELINED));
  await sleep(50);
  socket.resetAndDestroy();
  const [ms] = await timed(() => fetch(`${server.origin}/health`));
  let most = before;
  for (let look = 0; look < 10; look += 1) {
    most = Math.max(most, (await memoryMb(server.pid))?.itself ?? 0);
    await sleep(50);
  }
  const note = `${PIPELINED} pipelined GET /graphql for the GraphiQL page from a client that has left`;
  report({ name: 'edge.pipelined.memory', value: most - before, unit: 'MB', note });
  report({ name: 'edge.pipelined.health', value: ms, unit: 'ms', note: `GET /health after ${note}` });
}

/** Bodies of the greatest size that are refused. */
async function refused(server: ServerProcess, token: string): Promise<void> {
  const keys = Array.from({ length: 130_000 }, (_, number) => `"k${number}":"v"`).join(',');
  const body = `{"query":"query($a:Int){organization{id}}","variables":{${keys}}}`.padEnd(2 * 2 ** 20 - 1);
  for (const [name, headers, what] of [
    ['refused', { authorization: `Bearer ${token}` }, 'of a member'],
    ['refused_anonymous', {}, 'without a token'],
  ] as const) {
    const post = async () => {
      const response = await fetch(`${server.origin}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body,
      });
      await response.text();
      return response.status;
    };
    const status = await post();
    const before = (await cpuMs(server.pid)) ?? 0;
    for (let number = 0; number < REFUSED; number += 1) await post();
    report({
      name: `edge.${name}.cpu`,
      value: (((await cpuMs(server.pid)) ?? 0) - before) / REFUSED,
      unit: 'ms',
      n: REFUSED,
      note: `CPU time of one request ${what} with 130,000 unknown variables in ${body.length} bytes, answered ${status}`,
    });
  }
}
