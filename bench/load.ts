/**
 * More than the server can do, with the limits as delivered: how much of it still succeeds, and what is left behind.
 * `npm run bench:load`; it takes about eight minutes, so it is not among the others.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { createServer, request as send } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GraphQLClient } from 'graphql-request';
import postgres from 'postgres';
import { startLocalSupabase } from '../src/local/supabase/supabase.ts';
import { startVapiStandIn } from '../src/local/vapi/server.ts';
import { report } from './figure.ts';
import { SAVE, type SaveAnswer, saveInput } from './local.ts';
import { startServer } from './process.ts';
import { JWT_SECRET, makeAssistants, startCannedRest, tokenFor, VAPI_KEY } from './server.ts';

/** As PostgREST is delivered: so many calls of the database at once, and the others wait. */
const POOL = 10;
const ORGANIZATIONS = 600;
const VAPI_MS = 200;

const scaled = (scale: number) => (full: number) => Math.max(1, full * scale);

export const benchLoad = (folder: string, scale: number) => overload(folder, scaled(scale));

export const benchBrownout = (folder: string, scale: number) =>
  realDatabase(folder, scaled(scale), Math.max(20, Math.round(ORGANIZATIONS * Math.min(1, scale))));

type Answers = Record<string, number>;

/** Saves at this rate, whether or not the earlier ones have been answered; how they were answered. */
async function offer(clients: readonly GraphQLClient[], perSecond: number, forS: number): Promise<Answers> {
  const answers: Answers = {};
  const running: Promise<void>[] = [];
  const start = performance.now();
  const total = Math.round(perSecond * forS);
  for (let number = 0; number < total; number += 1) {
    const waitMs = start + (number * 1_000) / perSecond - performance.now();
    if (waitMs > 1) await sleep(waitMs);
    const client = clients[number % clients.length];
    if (client !== undefined) running.push(save(client, number, answers));
  }
  await Promise.all(running);
  return answers;
}

async function save(client: GraphQLClient, number: number, answers: Answers): Promise<void> {
  const name = await client.request<SaveAnswer>(SAVE, saveInput(number)).then(
    ({ updateAgents }) => updateAgents.__typename,
    (error: unknown) => `no answer (${String(error).slice(0, 60)})`,
  );
  answers[name] = (answers[name] ?? 0) + 1;
}

const committed = (answers: Answers) => answers['UpdateAgentsSuccess'] ?? 0;
const pending = (answers: Answers) => answers['SavePendingError'] ?? 0;
const told = (answers: Answers) =>
  Object.entries(answers)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ');

async function clientsOf(origin: string, issuer: string, orgIds: readonly string[], secret?: string) {
  return Promise.all(
    orgIds.map(async (orgId) => {
      const authorization = `Bearer ${await tokenFor(orgId, issuer, secret)}`;
      return new GraphQLClient(`${origin}/graphql`, { headers: { authorization } });
    }),
  );
}

/** Finds the knee, and offers ten times that. */
async function overload(folder: string, seconds: (full: number) => number): Promise<void> {
  const vapi = await startVapiStandIn({ key: VAPI_KEY });
  vapi.faults.add({ kind: 'latency', ms: VAPI_MS, times: Number.POSITIVE_INFINITY });
  const rest = await startCannedRest(await makeAssistants(vapi));
  const canned = await startPool(`http://127.0.0.1:${(rest.address() as AddressInfo).port}`);
  canned.slow(20);
  const server = await startServer(
    folder,
    {
      SUPABASE_URL: canned.url,
      SUPABASE_PUBLISHABLE_KEY: 'sb_publishable_benchmark',
      SUPABASE_SECRET_KEY: 'sb_secret_benchmark',
      SUPABASE_JWT_SECRET: JWT_SECRET,
      VAPI_BASE_URL: vapi.url,
      VAPI_PRIVATE_KEY: VAPI_KEY,
      RECONCILE_INTERVAL_MS: '0',
    },
    { limited: true },
  );
  try {
    const orgIds = Array.from({ length: ORGANIZATIONS }, () => randomUUID());
    const clients = await clientsOf(server.origin, `${canned.url}/auth/v1`, orgIds);
    await offer(clients, 10, seconds(5));
    let knee = { rate: 0, perSecond: 0 };
    for (const rate of [10, 15, 20, 25, 30]) {
      // The burst of a quiet time is no part of what lasts.
      await offer(clients, rate, seconds(4));
      const forS = seconds(10);
      const answers = await offer(clients, rate, forS);
      const perSecond = committed(answers) / forS;
      console.error(`offered ${rate}/s: ${told(answers)}`);
      if (perSecond > knee.perSecond * 1.02) knee = { rate, perSecond };
    }
    const note = `limits as delivered; ${ORGANIZATIONS} organizations; Vapi answers after ${VAPI_MS} ms, canned database calls take 20 ms, ${POOL} at once`;
    report({ name: 'load.knee', value: knee.perSecond, unit: 'saves/s', note });
    const forS = seconds(20);
    const answers = await offer(clients, knee.rate * 10, forS);
    console.error(`offered ${knee.rate * 10}/s: ${told(answers)}`);
    report({
      name: 'load.overload.success_ratio',
      value: committed(answers) / forS / knee.perSecond,
      unit: 'times',
      note: `saves committed a second at ten times the load, divided by those at the knee (load.knee)`,
    });
    report({ name: 'load.overload.pending', value: pending(answers), unit: 'saves', note: told(answers) });
  } finally {
    await server.stop();
    await Promise.all([canned.stop(), vapi.stop()]);
    rest.closeAllConnections();
    rest.close();
  }
}

/** 500 saves at once, and a brown-out, on the embedded Postgres. */
async function realDatabase(folder: string, seconds: (full: number) => number, orgs: number): Promise<void> {
  const dataDir = join(folder, 'database');
  await mkdir(dataDir, { mode: 0o711 });
  const supabase = await startLocalSupabase({ dataDir });
  const pool = await startPool(supabase.url);
  const vapi = await startVapiStandIn({ key: VAPI_KEY });
  const sql = postgres(supabase.adminDatabaseUrl, { max: 2 });
  const orgIds = Array.from({ length: orgs }, () => randomUUID());
  await sql`insert into public.organizations ${sql(orgIds.map((id) => ({ id, name: 'Benchmark' })))}`;
  const variables = {
    SUPABASE_URL: pool.url,
    SUPABASE_PUBLISHABLE_KEY: supabase.publishableKey,
    SUPABASE_SECRET_KEY: supabase.secretKey,
    SUPABASE_JWT_SECRET: supabase.jwtSecret,
    VAPI_BASE_URL: vapi.url,
    VAPI_PRIVATE_KEY: VAPI_KEY,
    RECONCILE_INTERVAL_MS: '0',
  };
  const issuer = `${pool.url}/auth/v1`;
  const open = async () => {
    const [row] = await sql<{ count: number }[]>`
      select count(*)::int as count from public.agent_saves where status in ('APPLYING', 'ROLLING_BACK')`;
    return row?.count ?? 0;
  };
  try {
    // The first save of an organization makes its assistants.
    const first = await startServer(folder, variables);
    const made: Answers = {};
    const makers = await clientsOf(first.origin, issuer, orgIds, supabase.jwtSecret);
    for (let from = 0; from < makers.length; from += 10) {
      await Promise.all(
        makers.slice(from, from + 10).map((client, index) => save(client, from + index, made)),
      );
    }
    await first.stop();
    console.error(`made: ${told(made)}`);
    vapi.faults.add({ kind: 'latency', ms: VAPI_MS, times: Number.POSITIVE_INFINITY });

    const server = await startServer(folder, variables, { limited: true });
    try {
      const clients = await clientsOf(server.origin, issuer, orgIds, supabase.jwtSecret);
      // The new replica has its share by then.
      await sleep(4_000);
      const burst: Answers = {};
      await Promise.all(clients.slice(0, 500).map((client, number) => save(client, number, burst)));
      report({
        name: 'load.burst.pending',
        value: pending(burst),
        unit: 'saves',
        note: `of ${Math.min(500, orgs)} organizations at once; ${told(burst)}`,
      });
      await sleep(3_000);

      pool.slow(250);
      const answers = await offer(clients, 20, seconds(45));
      pool.slow(0);
      const [begun] = await sql<{ left: number }[]>`
        select count(*)::int as left from public.agent_saves where status in ('APPLYING', 'ROLLING_BACK')`;
      const from = performance.now();
      while ((await open()) > 0 && performance.now() - from < 600_000) await sleep(500);
      const [taken] = await sql<{ count: number }[]>`
        select count(*)::int as count from public.agent_saves where epoch > 1`;
      const note = `20 saves a second for ${seconds(45)} s over ${orgs} organizations, every database call slowed by 250 ms, ${POOL} at once`;
      report({ name: 'load.brownout.abandoned', value: taken?.count ?? 0, unit: 'saves', note });
      report({
        name: 'load.brownout.settled_after',
        value: (performance.now() - from) / 1_000,
        unit: 's',
        note: `until no save is open, from the end of the brown-out; ${begun?.left ?? 0} were open then; ${told(answers)}`,
      });
    } finally {
      await server.stop();
    }
  } finally {
    await Promise.all([pool.stop(), vapi.stop(), sql.end()]);
    await supabase.stop();
  }
}

/**
 * A way to the database with as many connections as PostgREST has. A call that waits for one runs also when its caller has
 * given up meanwhile, as it does there.
 */
async function startPool(target: string) {
  const { hostname, port } = new URL(target);
  let delayMs = 0;
  let free = POOL;
  const waiting: (() => void)[] = [];
  const server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', async () => {
      if (free > 0) free -= 1;
      else await new Promise<void>((next) => waiting.push(next));
      if (delayMs > 0) await sleep(delayMs);
      const { method, url: path, headers } = incoming;
      const release = () => {
        const next = waiting.shift();
        if (next === undefined) free += 1;
        else next();
      };
      // Read to its end whatever became of the caller: the connection is free only then.
      const passed = send({ hostname, port, method, path, headers }, (answer) => {
        const parts: Buffer[] = [];
        answer.on('data', (part: Buffer) => parts.push(part));
        answer.on('close', () => {
          release();
          if (!outgoing.destroyed)
            outgoing.writeHead(answer.statusCode ?? 500, answer.headers).end(Buffer.concat(parts));
        });
      });
      passed.on('error', () => {
        release();
        outgoing.destroy();
      });
      passed.end(Buffer.concat(chunks));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  server.keepAliveTimeout = 65_000;
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    slow: (ms: number) => {
      delayMs = ms;
    },
    stop: async () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
