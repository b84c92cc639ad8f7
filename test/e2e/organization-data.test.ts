/** What an organization owns besides its agents: lists with stable cursors, filters, orders, and no read per row. */
import { randomUUID } from 'node:crypto';
import { ClientError, type GraphQLClient, gql } from 'graphql-request';
import type postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTestApp, type TestApp } from '../support/app.ts';

const NORTH = '00000000-0000-4000-8000-00000000000a';
const SOUTH = '00000000-0000-4000-8000-00000000000b';

let lockstep: TestApp;
let sql: postgres.Sql;
let north: GraphQLClient;
beforeAll(async () => {
  lockstep = await createTestApp();
  ({ sql } = lockstep.supabase);
  const { accessToken } = await lockstep.supabase.signIn('owner@north.example', 'lockstep-demo');
  north = lockstep.clientFor(accessToken);
});
afterAll(() => lockstep?.stop());

interface Page {
  edges: { cursor: string; node: { id: string } }[];
  nodes: { id: string }[];
  pageInfo: {
    hasNextPage: boolean;
    hasPreviousPage: boolean;
    startCursor: string | null;
    endCursor: string | null;
  };
}

/** One page of a list: `list` is a field with its arguments but those of the page. */
async function pageOf(client: GraphQLClient, list: string, page: Record<string, unknown>): Promise<Page> {
  const [name = '', rest = ''] = list.split(/(?=\()/);
  const given = [
    ...(rest === '' ? [] : [rest.slice(1, -1)]),
    ...Object.entries(page).map(([key, value]) => `${key}: ${JSON.stringify(value)}`),
  ];
  const answer = await client.request<Record<string, Page>>(`{
    ${name}${given.length > 0 ? `(${given.join(', ')})` : ''} {
      edges { cursor node { id } } nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }`);
  const found = answer[name];
  if (found === undefined) throw new Error(`no ${name}`);
  expect(found.nodes).toEqual(found.edges.map(({ node }) => node));
  expect(found.pageInfo.startCursor).toBe(found.edges.at(0)?.cursor ?? null);
  expect(found.pageInfo.endCursor).toBe(found.edges.at(-1)?.cursor ?? null);
  return found;
}

/** All ids of a list, page by page; backwards they come out in the list's own order too. */
async function walk(
  client: GraphQLClient,
  list: string,
  size: number,
  way: 'forward' | 'backward',
): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | null = null;
  for (;;) {
    const found: Page = await pageOf(
      client,
      list,
      way === 'forward'
        ? { first: size, ...(cursor === null ? {} : { after: cursor }) }
        : { last: size, ...(cursor === null ? {} : { before: cursor }) },
    );
    const page = found.edges.map(({ node }) => node.id);
    if (way === 'forward') ids.push(...page);
    else ids.unshift(...page);
    cursor = way === 'forward' ? found.pageInfo.endCursor : found.pageInfo.startCursor;
    if (!(way === 'forward' ? found.pageInfo.hasNextPage : found.pageInfo.hasPreviousPage)) return ids;
    expect(page.length).toBe(size);
  }
}

async function idsIn(query: string): Promise<string[]> {
  return (await sql.unsafe<{ id: string }[]>(query)).map(({ id }) => id);
}

test('the demo organizations have calls, appointments, numbers and documents, each its own', async () => {
  const counts = await sql`
    select org_id, (select count(*)::int from public.appointments a where a.org_id = c.org_id) as appointments,
      (select count(*)::int from public.phone_numbers n where n.org_id = c.org_id) as numbers,
      (select count(*)::int from public.knowledge_base_documents d where d.org_id = c.org_id) as documents,
      count(*)::int as calls
    from public.call_logs c where org_id in (${NORTH}, ${SOUTH}) group by org_id order by org_id`;
  expect(counts).toEqual([
    { org_id: NORTH, appointments: 66, numbers: 2, documents: 6, calls: 320 },
    { org_id: SOUTH, appointments: 66, numbers: 3, documents: 5, calls: 320 },
  ]);
});

describe('pages through every list, in every order, forwards and backwards', () => {
  const own = `where org_id = '${NORTH}'`;
  test.each([
    ['calls', `select id from public.call_logs ${own} order by started_at desc, id desc`],
    ['calls(order: OLDEST_FIRST)', `select id from public.call_logs ${own} order by started_at, id`],
    ['appointments', `select id from public.appointments ${own} order by starts_at, id`],
    [
      'appointments(order: LATEST_FIRST)',
      `select id from public.appointments ${own} order by starts_at desc, id desc`,
    ],
    ['phoneNumbers', `select id from public.phone_numbers ${own} order by number, id`],
    [
      'knowledgeBaseDocuments',
      `select id from public.knowledge_base_documents ${own} order by created_at desc, id desc`,
    ],
    [
      'knowledgeBaseDocuments(order: OLDEST_FIRST)',
      `select id from public.knowledge_base_documents ${own} order by created_at, id`,
    ],
  ])('%s', async (list, query) => {
    const expected = await idsIn(query);
    expect(expected.length).toBeGreaterThan(1);
    const size = expected.length > 100 ? 100 : Math.max(1, Math.floor(expected.length / 4));
    expect(await walk(north, list, size, 'forward')).toEqual(expected);
    expect(await walk(north, list, size, 'backward')).toEqual(expected);
  });
});

test('a page has 20 rows by default; two cursors enclose the rows between them', async () => {
  const all = await pageOf(north, 'calls', { first: 30 });
  expect((await pageOf(north, 'calls', {})).edges).toEqual(all.edges.slice(0, 20));
  const [after, before] = [all.edges[4]?.cursor, all.edges[12]?.cursor];
  const between = await pageOf(north, 'calls', { after, before });
  expect(between.edges).toEqual(all.edges.slice(5, 12));
  expect(between.pageInfo).toMatchObject({ hasPreviousPage: true, hasNextPage: false });
  expect((await pageOf(north, 'calls', { after, before, last: 2 })).edges).toEqual(all.edges.slice(10, 12));
  // Relay's own reading of a lone `before`: the page that ends there.
  expect((await pageOf(north, 'calls', { before: all.edges[25]?.cursor })).edges).toEqual(
    all.edges.slice(5, 25),
  );
  const end = (await pageOf(north, 'calls', { last: 1 })).edges[0]?.cursor;
  expect(await pageOf(north, 'calls', { after: end })).toMatchObject({
    edges: [],
    pageInfo: { hasNextPage: false, hasPreviousPage: true, startCursor: null, endCursor: null },
  });
});

test('returns rows of the same microsecond exactly once, also while rows are added and removed', async () => {
  const caller = await lockstep.newCaller();
  const insert = (at: string, count: number) =>
    sql.unsafe<{ id: string }[]>(
      `insert into public.call_logs (org_id, direction, started_at) select '${caller.orgId}', 'INBOUND', '${at}'::timestamptz
       from generate_series(1, ${count}) returning id`,
    );
  for (const at of ['12:00:00.000001', '12:00:00.000002', '12:00:00.1', '12:00:00']) {
    await insert(`2026-05-05T${at}Z`, 7);
  }
  const expected = await idsIn(
    `select id from public.call_logs where org_id = '${caller.orgId}' order by started_at desc, id desc`,
  );
  expect(expected.length).toBe(28);
  expect(await walk(caller.client, 'calls', 3, 'forward')).toEqual(expected);
  expect(await walk(caller.client, 'calls', 3, 'backward')).toEqual(expected);
  expect(await walk(caller.client, 'calls(order: OLDEST_FIRST)', 5, 'forward')).toEqual(
    expected.toReversed(),
  );

  const first = await pageOf(caller.client, 'calls', { first: 10 });
  await insert('2026-05-06T00:00:00Z', 3);
  await sql`delete from public.call_logs where id = ${expected[9] ?? ''}`;
  const second = await pageOf(caller.client, 'calls', { first: 100, after: first.pageInfo.endCursor });
  expect(second.edges.map(({ node }) => node.id)).toEqual(expected.slice(10));

  // Backwards too: what comes in at the far end, and what goes from the page that is open, moves nothing.
  const last = await pageOf(caller.client, 'calls', { last: 10 });
  await insert('2026-05-04T00:00:00Z', 3);
  await sql`delete from public.call_logs where id = ${last.edges[0]?.node.id ?? ''}`;
  const before = await pageOf(caller.client, 'calls', { last: 8, before: last.pageInfo.startCursor });
  expect(before.edges.map(({ node }) => node.id)).toEqual(expected.slice(10, 18));
});

test('orders rows of the same moment by their id, whatever ranges of an index they come from', async () => {
  const caller = await lockstep.newCaller();
  await sql.unsafe(`
    insert into public.call_logs (org_id, direction, started_at, ended_at, outcome)
      select '${caller.orgId}', (array['INBOUND', 'OUTBOUND'])[1 + i % 2], '2026-05-05T12:00:00Z', '2026-05-05T12:01:00Z',
        (array['COMPLETED', 'VOICEMAIL', 'BUSY'])[1 + i % 3] from generate_series(1, 24) as i`);
  const expected = await idsIn(
    `select id from public.call_logs where org_id = '${caller.orgId}' order by started_at desc, id desc`,
  );
  const list = 'calls(filter: { outcomes: [COMPLETED, VOICEMAIL, BUSY] })';
  expect(await walk(caller.client, list, 5, 'forward')).toEqual(expected);
  expect(await walk(caller.client, list, 5, 'backward')).toEqual(expected);
});

describe('filters', () => {
  let caller: Awaited<ReturnType<TestApp['newCaller']>>;
  let agents: { INBOUND: string; OUTBOUND: string };
  let numbers: string[];
  let call: string;
  beforeAll(async () => {
    caller = await lockstep.newCaller();
    const saved = await caller.client.request<{
      updateAgents: { agents: { id: string; role: 'INBOUND' | 'OUTBOUND' }[] };
    }>(gql`
      mutation {
        updateAgents(input: { inbound: { systemPrompt: "in" }, outbound: { systemPrompt: "out" } }) {
          ... on UpdateAgentsSuccess { agents { id role } }
        }
      }
    `);
    const id = (role: string) => saved.updateAgents.agents.find((agent) => agent.role === role)?.id ?? '';
    agents = { INBOUND: id('INBOUND'), OUTBOUND: id('OUTBOUND') };
    numbers = [randomUUID(), randomUUID(), randomUUID()];
    await sql.unsafe(`
      insert into public.phone_numbers (id, org_id, number, provider, state, agent_id) values
        ('${numbers[0]}', '${caller.orgId}', '+4989000001', 'vapi', 'ACTIVE', '${agents.INBOUND}'),
        ('${numbers[1]}', '${caller.orgId}', '+4989000002', 'vapi', 'BLOCKED', '${agents.OUTBOUND}'),
        ('${numbers[2]}', '${caller.orgId}', '+4989000003', 'twilio', 'ACTIVE', null);
      insert into public.call_logs (org_id, direction, agent_id, phone_number_id, started_at, ended_at, outcome)
        select '${caller.orgId}', (array['INBOUND', 'OUTBOUND'])[1 + i % 2],
          (array['${agents.INBOUND}', '${agents.OUTBOUND}', null]::uuid[])[1 + i % 3],
          (array['${numbers[0]}', '${numbers[1]}']::uuid[])[1 + i % 2],
          t, case when i % 7 > 0 then t + interval '61 seconds' end,
          case when i % 7 > 0 then (array['COMPLETED', 'VOICEMAIL', 'BUSY'])[1 + i % 3] end
        from generate_series(1, 60) as i cross join lateral (select '2026-06-01T00:00:00Z'::timestamptz + i * interval '1 hour' as t) as x;
      insert into public.appointments (org_id, call_id, customer_name, starts_at, ends_at, status)
        select c.org_id, c.id, 'Someone', c.started_at + interval '1 day', c.started_at + interval '25 hours',
          (array['SCHEDULED', 'CONFIRMED', 'CANCELLED'])[1 + (row_number() over (order by c.started_at))::int % 3]
        from public.call_logs c where c.org_id = '${caller.orgId}';
      insert into public.knowledge_base_documents (org_id, name, content_type, size_bytes, state, failure)
        select '${caller.orgId}', 'Document ' || s, 'text/plain', 1, s, case when s = 'FAILED' then 'x' end
        from unnest(array['UPLOADING', 'PROCESSING', 'READY', 'FAILED']) as s`);
    [call = ''] = await idsIn(
      `select id from public.call_logs where org_id = '${caller.orgId}' order by started_at limit 1`,
    );
  });

  const from = '2026-06-01T10:00:00.000Z';
  const to = '2026-06-02T10:00:00.000Z';
  test.each<[string, () => [list: string, table: string, where: string]]>([
    [
      'calls of an agent',
      () => [
        `calls(filter: { agentId: "${agents.INBOUND}" })`,
        'call_logs',
        `agent_id = '${agents.INBOUND}'`,
      ],
    ],
    [
      'calls of an agent, its id in capitals',
      () => [
        `calls(filter: { agentId: "${agents.INBOUND.toUpperCase()}" })`,
        'call_logs',
        `agent_id = '${agents.INBOUND}'`,
      ],
    ],
    [
      'calls of a number',
      () => [
        `calls(filter: { phoneNumberId: "${numbers[1]}" })`,
        'call_logs',
        `phone_number_id = '${numbers[1]}'`,
      ],
    ],
    [
      'calls of a direction',
      () => ['calls(filter: { direction: OUTBOUND })', 'call_logs', `direction = 'OUTBOUND'`],
    ],
    ['calls of an outcome', () => ['calls(filter: { outcomes: [BUSY] })', 'call_logs', `outcome = 'BUSY'`]],
    [
      'calls of two outcomes',
      () => [
        'calls(filter: { outcomes: [BUSY, VOICEMAIL] })',
        'call_logs',
        `outcome in ('BUSY', 'VOICEMAIL')`,
      ],
    ],
    [
      'calls of an outcome that is named twice',
      () => ['calls(filter: { outcomes: [BUSY, BUSY] })', 'call_logs', `outcome = 'BUSY'`],
    ],
    [
      'appointments of a status that is named twice',
      () => [
        'appointments(filter: { statuses: [CANCELLED, CANCELLED] })',
        'appointments',
        `status = 'CANCELLED'`,
      ],
    ],
    ['calls of no outcome', () => ['calls(filter: { outcomes: [] })', 'call_logs', 'false']],
    [
      'calls of a time: from its begin, before its end',
      () => [
        `calls(filter: { startedFrom: "${from}", startedBefore: "${to}" })`,
        'call_logs',
        `started_at >= '${from}' and started_at < '${to}'`,
      ],
    ],
    [
      'calls since the year 0',
      () => ['calls(filter: { startedFrom: "0000-01-01T00:00:00Z" })', 'call_logs', 'true'],
    ],
    [
      'calls until the year 9999',
      () => ['calls(filter: { startedBefore: "9999-12-31T23:59:59Z" })', 'call_logs', 'true'],
    ],
    [
      'all of it at once',
      () => [
        `calls(filter: { agentId: "${agents.INBOUND}", direction: OUTBOUND, outcomes: [COMPLETED], startedFrom: "${from}" })`,
        'call_logs',
        `agent_id = '${agents.INBOUND}' and direction = 'OUTBOUND' and outcome = 'COMPLETED' and started_at >= '${from}'`,
      ],
    ],
    [
      'nothing but nulls',
      () => [
        'calls(filter: { agentId: null, direction: null, outcomes: null, startedFrom: null })',
        'call_logs',
        'true',
      ],
    ],
    [
      'appointments of a status',
      () => ['appointments(filter: { statuses: [CANCELLED] })', 'appointments', `status = 'CANCELLED'`],
    ],
    [
      'appointments of a time',
      () => [
        `appointments(filter: { startsFrom: "${to}", startsBefore: "2026-06-03T00:00:00Z" })`,
        'appointments',
        `starts_at >= '${to}' and starts_at < '2026-06-03'`,
      ],
    ],
    [
      'appointments of a call',
      () => [`appointments(filter: { callId: "${call}" })`, 'appointments', `call_id = '${call}'`],
    ],
    [
      'numbers of an agent',
      () => [
        `phoneNumbers(filter: { agentId: "${agents.OUTBOUND}" })`,
        'phone_numbers',
        `agent_id = '${agents.OUTBOUND}'`,
      ],
    ],
    [
      'numbers that are free',
      () => ['phoneNumbers(filter: { attached: false })', 'phone_numbers', 'agent_id is null'],
    ],
    [
      'numbers that are not',
      () => ['phoneNumbers(filter: { attached: true })', 'phone_numbers', 'agent_id is not null'],
    ],
    [
      'numbers of a state',
      () => ['phoneNumbers(filter: { states: [BLOCKED, MISSING] })', 'phone_numbers', `state = 'BLOCKED'`],
    ],
    [
      'numbers of a state that are not free',
      () => [
        'phoneNumbers(filter: { attached: true, states: [ACTIVE] })',
        'phone_numbers',
        `agent_id is not null and state = 'ACTIVE'`,
      ],
    ],
    [
      'documents of a state',
      () => [
        'knowledgeBaseDocuments(filter: { states: [FAILED, UPLOADING] })',
        'knowledge_base_documents',
        `state in ('FAILED', 'UPLOADING')`,
      ],
    ],
  ])('%s', async (_what, filter) => {
    const [list, table, where] = filter();
    const expected = await idsIn(
      `select id from public.${table} where org_id = '${caller.orgId}' and (${where})`,
    );
    const found = await walk(caller.client, list, 7, 'forward');
    expect(found.toSorted()).toEqual(expected.toSorted());
    if (where !== 'true') {
      const [all] = await sql.unsafe(
        `select count(*)::int as n from public.${table} where org_id = '${caller.orgId}'`,
      );
      expect(found.length).toBeLessThan(all?.['n']);
      if (where !== 'false') expect(found.length).toBeGreaterThan(0);
    }
  });

  test('loads related objects with as many database calls for a hundred rows as for one', async () => {
    const query = gql`
      query ($first: Int!) {
        organization {
          name
          calls(first: $first) {
            nodes { id durationSeconds outcome agent { id role name } phoneNumber { id number agent { role } } }
          }
          appointments(first: $first) {
            nodes { id call { id direction agent { name } phoneNumber { number } } }
          }
          phoneNumbers(first: $first) { nodes { number agent { name } } }
        }
        agents { role }
        agent(role: INBOUND) { id }
      }
    `;
    const costs: string[][] = [];
    for (const first of [1, 60]) {
      lockstep.supabase.requests.reset();
      const answer = await caller.client.request<{
        organization: {
          calls: { nodes: { agent: object | null; phoneNumber: { number: string } }[] };
          appointments: { nodes: { call: { phoneNumber: { number: string } } }[] };
        };
      }>(query, { first });
      expect(answer.organization.calls.nodes).toHaveLength(first);
      expect(answer.organization.appointments.nodes).toHaveLength(first);
      expect(
        answer.organization.calls.nodes.every(({ phoneNumber }) => phoneNumber.number.startsWith('+49')),
      ).toBe(true);
      costs.push(
        lockstep.supabase.requests.all
          .map(({ method, path }) => `${method} ${path.slice('/rest/v1/'.length)}`)
          .sort(),
      );
    }
    const once = [
      'GET agents',
      'GET call_logs', // those of the appointments, together
      'GET organizations',
      'GET phone_numbers', // those of the calls, together
      ...Array.from({ length: 3 }, () => 'POST rpc/list_page'), // the lists
    ];
    expect(costs[1]).toEqual(once);
    // With one row each, the appointment's call may bring a number that the list of calls did not.
    expect(costs[0]?.filter((cost) => cost !== 'GET phone_numbers')).toEqual(
      once.filter((cost) => cost !== 'GET phone_numbers'),
    );
    expect(costs[0]?.length).toBeLessThanOrEqual(once.length + 1);
    console.log(
      `lists: a dashboard page of 60 + 60 rows with their agents, numbers and calls: ${once.length} database calls`,
    );
  });

  test('reads single objects together, and makes no database call for a malformed id', async () => {
    const [one, two] = await idsIn(
      `select id from public.call_logs where org_id = '${caller.orgId}' limit 2`,
    );
    lockstep.supabase.requests.reset();
    const answer = await caller.client.request(
      gql`
      query ($one: ID!, $two: ID!, $number: ID!) {
        one: call(id: $one) { id } two: call(id: $two) { id } again: call(id: $one) { id } nothing: call(id: "x") { id }
        phoneNumber(id: $number) { id number provider label agent { role } }
        appointment(id: $one) { id } knowledgeBaseDocument(id: "00000000") { id }
      }
    `,
      { one, two, number: numbers[0] },
    );
    expect(answer).toEqual({
      one: { id: one },
      two: { id: two },
      again: { id: one },
      nothing: null,
      phoneNumber: {
        id: numbers[0],
        number: '+4989000001',
        provider: 'vapi',
        label: null,
        agent: { role: 'INBOUND' },
      },
      appointment: null,
      knowledgeBaseDocument: null,
    });
    expect(lockstep.supabase.requests.all.map(({ path }) => path).sort()).toEqual([
      '/rest/v1/agents',
      '/rest/v1/appointments',
      '/rest/v1/call_logs',
      '/rest/v1/phone_numbers',
    ]);
  });
});

describe('page sizes', () => {
  test.each([
    ['first: 0', 'first must be from 1 to 100; it was 0.'],
    ['first: -1', 'first must be from 1 to 100; it was -1.'],
    ['first: 101', 'first must be from 1 to 100; it was 101.'],
    ['last: 0', 'last must be from 1 to 100; it was 0.'],
    ['last: -1', 'last must be from 1 to 100; it was -1.'],
    ['last: 101', 'last must be from 1 to 100; it was 101.'],
    ['first: 1000', 'first must be from 1 to 100; it was 1000.'],
    ['first: 5, last: 5', 'Give first or last, not both.'],
  ])('%s is refused: %s', async (page, message) => {
    for (const list of ['calls', 'appointments', 'phoneNumbers', 'knowledgeBaseDocuments']) {
      lockstep.supabase.requests.reset();
      const error = await north
        .request(`{ ${list}(${page}) { nodes { id } } }`)
        .catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(ClientError);
      if (!(error instanceof ClientError)) return;
      expect(error.response.status).toBe(400);
      expect(error.response.errors).toMatchObject([{ message, extensions: { code: 'BAD_USER_INPUT' } }]);
      expect(lockstep.supabase.requests.all).toEqual([]);
    }
  });

  test('returns the largest page completely', async () => {
    expect((await pageOf(north, 'calls', { first: 100 })).edges).toHaveLength(100);
  });
});

/** What each combination of filters reads is in test/fairness/plans.test.ts. */
describe('reads each list in index order, from the start of the page', () => {
  // Four hours from either end of the rows below.
  const early = '2025-01-01T04:00:00Z';
  const late = '2025-01-05T00:00:00Z';
  let orgId: string;
  beforeAll(async () => {
    orgId = await lockstep.supabase.createOrganization('Large');
    const other = await lockstep.supabase.createOrganization('Larger');
    await sql.unsafe(`
      insert into public.call_logs (org_id, direction, started_at, ended_at, outcome)
        select o::uuid, case when i % 200 > 0 then 'INBOUND' else 'OUTBOUND' end, t, t, (array['COMPLETED', 'BUSY'])[1 + i % 2]
        from unnest(array['${orgId}', '${other}']) as o cross join generate_series(1, 6000) as i
        cross join lateral (select '2025-01-01'::timestamptz + i * interval '1 minute' as t) as x;
      insert into public.appointments (org_id, customer_name, starts_at, ends_at, status)
        select o::uuid, 'Someone', t, t + interval '1 minute', (array['SCHEDULED', 'CANCELLED'])[1 + i % 2]
        from unnest(array['${orgId}', '${other}']) as o cross join generate_series(1, 6000) as i
        cross join lateral (select '2025-01-01'::timestamptz + i * interval '1 minute' as t) as x;
      insert into public.knowledge_base_documents (org_id, name, content_type, size_bytes, state, created_at)
        select o::uuid, 'Document', 'text/plain', 1, (array['UPLOADING', 'READY'])[1 + i % 2], '2025-01-01'::timestamptz + i * interval '1 minute'
        from unnest(array['${orgId}', '${other}']) as o cross join generate_series(1, 6000) as i;
      insert into public.phone_numbers (org_id, number, provider, state)
        select o.id::uuid, '+1' || o.digit || lpad(i::text, 8, '0'), 'vapi', 'ACTIVE'
        from (values ('${orgId}', '7'), ('${other}', '8')) as o (id, digit) cross join generate_series(1, 6000) as i;
      analyze public.call_logs, public.appointments, public.knowledge_base_documents, public.phone_numbers`);
  });

  test.each(['NEWEST_FIRST', 'OLDEST_FIRST'])(
    '%s: a page from within the list reads its own rows, not those before it',
    async (order) => {
      const user = await lockstep.supabase.createUser({ orgId });
      const { accessToken } = await lockstep.supabase.signIn(user.email, user.password);
      const client = lockstep.clientFor(accessToken);
      const within = order === 'NEWEST_FIRST' ? `startedBefore: "${late}"` : `startedFrom: "${early}"`;
      const [edge] = (await pageOf(client, `calls(order: ${order}, filter: { ${within} })`, { first: 1 }))
        .edges;
      // What Postgres counts of the index, of the statement that REST really makes. A connection hands its counts in when it ends.
      const rowsRead = async () => {
        await sql`
          select pg_terminate_backend(pid, 5000) from pg_stat_activity
          where usename = 'authenticator' and datname = current_database()`;
        const [row] = await sql<{ rows: number }[]>`
          select idx_tup_read::int as rows from pg_stat_user_indexes where indexrelname = 'call_logs_by_time'`;
        return row?.rows ?? 0;
      };
      const before = await rowsRead();
      const page = await pageOf(client, `calls(order: ${order})`, { first: 20, after: edge?.cursor });
      expect(page.edges).toHaveLength(20);
      const read = (await rowsRead()) - before;
      // The page, the row that tells of the next page, and the cursor's own.
      expect(read).toBeGreaterThanOrEqual(21);
      expect(read).toBeLessThanOrEqual(22);
    },
  );
});
