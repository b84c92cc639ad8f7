/**
 * A tenant with the publishable key, a good token of their own and no intention of using the API: straight at Supabase's REST
 * and Auth, with everything that these understand. What is asked of which table and column comes from the catalogue.
 */
import { randomUUID } from 'node:crypto';
import { decodeJwt } from 'jose';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createTestApp, type TestApp } from '../support/app.ts';
import { createOwner, digestOf, type Owner } from './organizations.ts';

let lockstep: TestApp;
let a: Owner;
let b: Owner;
let tables: { name: string; columns: { name: string; type: string; shared: boolean }[] }[];
let references: { from: string; to: string }[];

beforeAll(async () => {
  // The embedded REST layer prints every refusal.
  vi.spyOn(console, 'error').mockImplementation(() => {});
  lockstep = await createTestApp();
  [a, b] = await Promise.all([createOwner(lockstep, 'A'), createOwner(lockstep, 'B')]);
  const { sql } = lockstep.supabase;
  tables = await sql<typeof tables>`
    select c.relname as name, jsonb_agg(jsonb_build_object('name', x.attname, 'type', x.atttypid::regtype::text,
      -- Times, and words of a closed set: the same for everybody.
      'shared', x.atttypid = 'timestamptz'::regtype or exists (select from pg_constraint k where k.conrelid = c.oid
        and k.conkey = array[x.attnum] and pg_get_constraintdef(k.oid) like '%= ANY (ARRAY[%')) order by x.attnum) as columns
    from pg_class c join pg_attribute x on x.attrelid = c.oid and x.attnum > 0 and not x.attisdropped
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm') group by 1 order by 1`;
  references = await sql<typeof references>`
    select distinct c.relname as from, f.relname as to from pg_constraint k
    join pg_class c on c.oid = k.conrelid join pg_class f on f.oid = k.confrelid
    where k.contype = 'f' and c.relnamespace = 'public'::regnamespace and f.relnamespace = 'public'::regnamespace order by 1, 2`;
});
afterAll(async () => {
  vi.restoreAllMocks();
  await lockstep?.stop();
});

type Filter = Record<string, string>;

interface Answer {
  status: number;
  text: string;
  /** How many rows there are, as far as was asked. */
  count: string | undefined;
}

/** As B. A parameter's value is encoded; the name stays as it is. */
async function rest(
  method: string,
  path: string,
  query: Record<string, string> = {},
  headers: Record<string, string> = {},
  body?: unknown,
): Promise<Answer> {
  const { url, publishableKey } = lockstep.supabase;
  const response = await fetch(`${url}/rest/v1/${path}?${new URLSearchParams(query)}`, {
    method,
    headers: {
      apikey: publishableKey,
      authorization: `Bearer ${b.token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return {
    status: response.status,
    text: await response.text(),
    count: response.headers.get('content-range')?.split('/')[1],
  };
}

/** What only A can know: ids that are nowhere in a request, and texts. */
function leaksOfA({ text }: Answer): string[] {
  const ids = [a.orgId, a.save, ...Object.values(a.agents), ...a.assistants, ...a.phoneNumbers];
  return [...ids, ...a.documents, ...a.calls, ...a.appointments, ' of A'].filter((secret) =>
    text.includes(secret),
  );
}

/** The greatest table has more rows of A's than a page, so that estimates have something to tell. */
async function fill(): Promise<void> {
  const { sql } = lockstep.supabase;
  await sql`
    insert into public.call_logs (org_id, agent_id, direction, customer_number, customer_name, started_at, ended_at, outcome, ended_reason, cost_usd)
    select ${a.orgId}, ${a.agents.INBOUND}, 'INBOUND', '+12065550199', 'Customer of A', t, t, 'BUSY', 'customer-busy', 0.5
    from generate_series(1, 3000) as i cross join lateral (select '2026-01-01'::timestamptz + i * interval '1 second' as t) as x`;
  await sql`
    insert into public.appointments (org_id, customer_name, starts_at, ends_at, status)
    select ${a.orgId}, 'Customer of A', '2026-01-01', '2026-01-02', 'NO_SHOW' from generate_series(1, 500)`;
  await sql`
    insert into public.knowledge_base_documents (org_id, name, content_type, size_bytes, state)
    select ${a.orgId}, 'Document of A', 'text/plain', 77, 'READY' from generate_series(1, 500)`;
  await sql`analyze`;
}

describe('counts', () => {
  beforeAll(fill);

  test('exact ones are of the own rows', async () => {
    const { sql } = lockstep.supabase;
    for (const { name, columns } of tables) {
      const column = columns.some((each) => each.name === 'org_id') ? 'org_id' : 'id';
      const [own] = await sql.unsafe<{ n: string }[]>(
        `select count(*) as n from public.${name} where ${column} = '${b.orgId}'`,
      );
      const headers = { prefer: 'count=exact' };
      expect((await rest('HEAD', name, {}, headers)).count, name).toBe(own?.n);
      expect((await rest('HEAD', name, { [column]: `eq.${a.orgId}` }, headers)).count, name).toBe('0');
    }
  });

  /** The planner's statistics are of all organizations' rows together, and `count=planned` hands its estimates out. */
  test('estimates are the same for a value that fills the rows of another organization and for one that nobody has', async () => {
    const nobody: Record<string, string> = {
      uuid: randomUUID(),
      text: 'nobody has this',
      'timestamp with time zone': '1999-01-01T00:00:00+00:00',
      integer: '987654321',
      numeric: '987654.5',
      jsonb: '{"nobody": "has this"}',
    };
    const told: string[] = [];
    let asked = 0;
    const compare = async (what: string, table: string, theirs: Filter, nobodys: Filter) => {
      const [real, imaginary] = await Promise.all(
        [theirs, nobodys].map(
          async (filter) => (await rest('HEAD', table, filter, { prefer: 'count=planned' })).count,
        ),
      );
      asked += 1;
      expect(real, what).toMatch(/^\d+$/);
      if (real !== imaginary) told.push(`${what}: ${real}, not ${imaginary}`);
    };
    for (const { name, columns } of tables) {
      const organization = columns.some((each) => each.name === 'org_id') ? 'org_id' : 'id';
      await Promise.all(
        columns.map(async ({ name: column, type, shared }) => {
          const [theirs] = await lockstep.supabase.sql.unsafe<{ value: string }[]>(
            `select to_jsonb(${column}) #>> '{}' as value from public.${name}
             where ${organization} = '${a.orgId}' and ${column} is not null group by ${column} order by count(*) desc limit 1`,
          );
          if (theirs === undefined || type === 'boolean') return;
          expect(nobody[type], `a value of type ${type}, for ${name}.${column}`).toBeDefined();
          for (const operator of ['eq', 'lte', 'gte']) {
            const what = `${name}.${column} ${operator}`;
            const filter = { [column]: `${operator}.${theirs.value}` };
            if (!shared) await compare(what, name, filter, { [column]: `${operator}.${nobody[type]}` });
            if (column !== organization) {
              const of = (orgId: string) => ({ ...filter, [organization]: `eq.${orgId}` });
              await compare(`${what} of A`, name, of(a.orgId), of(randomUUID()));
            }
          }
        }),
      );
    }
    // Where it is more than a page holds, `estimated` is the same.
    const estimate = await rest('HEAD', 'call_logs', { org_id: `eq.${a.orgId}` }, { prefer: 'count=estimated' });
    expect(Number(estimate.count)).toBeLessThan(100);
    expect(told).toEqual([]);
    expect(asked).toBeGreaterThan(200);
    console.log(`isolation: ${asked} pairs of estimated counts, none tells of another organization's rows`);
  });
});
