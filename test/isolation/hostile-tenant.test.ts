/**
 * A tenant with the publishable key and a valid token attacks Supabase's REST and Auth directly, with every feature of these
 * APIs. The tables and columns come from the catalogue.
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
  // The embedded REST layer prints every refused request.
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
  /** The number of rows, if the request asked for it. */
  count: string | undefined;
}

/** Sends a request as B. It encodes the value of a parameter, but not the name. */
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

/** Data that only A knows: ids that no request contains, and texts. */
function leaksOfA({ text }: Answer): string[] {
  const ids = [a.orgId, a.save, ...Object.values(a.agents), ...a.assistants, ...a.phoneNumbers];
  return [...ids, ...a.documents, ...a.calls, ...a.appointments, ' of A'].filter((secret) =>
    text.includes(secret),
  );
}

/** The largest table has more rows of A than a page, so that estimates could reveal something. */
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

  test('an exact count includes only the own rows', async () => {
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

  /** The planner's statistics cover the rows of all organizations, and `count=planned` returns its estimates. */
  test('an estimate is the same for a value that only another organization has and for a value that nobody has', async () => {
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
            if (column !== organization && operator === 'eq') {
              const of = (orgId: string) => ({ ...filter, [organization]: `eq.${orgId}` });
              await compare(`${what} of A`, name, of(a.orgId), of(randomUUID()));
            }
          }
        }),
      );
    }
    // For more rows than a page, `estimated` returns the planned count too.
    const estimate = await rest(
      'HEAD',
      'call_logs',
      { org_id: `eq.${a.orgId}` },
      { prefer: 'count=estimated' },
    );
    expect(Number(estimate.count)).toBeLessThan(100);
    expect(told).toEqual([]);
    expect(asked).toBeGreaterThan(150);
    console.log(`isolation: ${asked} pairs of estimated counts, none tells of another organization's rows`);
  });
});

describe('reads no row of another organization', () => {
  /** The answer includes own rows, so the request was understood; a refusal shows in the status. */
  async function expectOwnOnly(what: string, answer: Promise<Answer>, status = 200): Promise<void> {
    const told = await answer;
    expect(told.status, `${what}: ${told.text.slice(0, 200)}`).toBe(status);
    expect(leaksOfA(told), what).toEqual([]);
  }

  test('through any reference in either direction, in any form of embedding', async () => {
    let asked = 0;
    for (const { from, to } of references) {
      for (const [outer, inner] of [
        [from, to],
        [to, from],
      ] as const) {
        const forms = [
          `*,${inner}(*)`,
          `*,${inner}!inner(*)`,
          `*,${inner}!left(*)`,
          `alias:${inner}(*)`,
          `*,${inner}(*,organizations(*,agents(*)))`,
        ];
        await Promise.all(
          forms.map(async (select) => {
            const answer = await rest('GET', outer, { select });
            asked += 1;
            // PostgREST reports two references between the same tables, or a missing one, as an error.
            expect([200, 300, 400], `${outer}: ${select}: ${answer.text}`).toContain(answer.status);
            expect(leaksOfA(answer), `${outer}: ${select}`).toEqual([]);
          }),
        );
        const filter = inner === 'organizations' ? 'id' : 'org_id';
        const answer = await rest('GET', outer, {
          select: `*,${inner}!inner(*)`,
          [`${inner}.${filter}`]: `eq.${a.orgId}`,
        });
        asked += 1;
        if (answer.status === 200) expect(answer.text, `${outer} of A's ${inner}`).toBe('[]');
      }
    }
    await expectOwnOnly(
      'control',
      rest('GET', 'call_logs', { select: 'id,phone_numbers(label,organizations(name))' }),
    );
    expect(asked).toBeGreaterThan(100);
    console.log(
      `isolation: ${references.length} references, ${asked} embeddings, none shows another organization's row`,
    );
  });

  test('with hostile filters, casts, orders, ranges and media types', async () => {
    const or = `(org_id.eq.${a.orgId},id.not.is.null)`;
    await expectOwnOnly('or', rest('GET', 'agents', { or }));
    await expectOwnOnly('not and', rest('GET', 'agents', { 'not.and': `(org_id.eq.${b.orgId},id.is.null)` }));
    await expectOwnOnly('in', rest('GET', 'agents', { org_id: `in.(${a.orgId},${b.orgId})` }));
    await expectOwnOnly('any', rest('GET', 'call_logs', { summary: 'like(any).{*A*,*B*}' }));
    await expectOwnOnly(
      'a path in JSON',
      rest('GET', 'agents', { 'config->>systemPrompt': 'like.*Secret*' }),
    );
    await expectOwnOnly('a pattern', rest('GET', 'call_logs', { summary: 'imatch.summary' }));
    await expectOwnOnly('CSV', rest('GET', 'call_logs', {}, { accept: 'text/csv' }));
    await expectOwnOnly('all of it', rest('GET', 'call_logs', {}, { range: '0-1000000' }));
    await expectOwnOnly(
      'a role in a header',
      rest('GET', 'agents', {}, { role: 'service_role', 'x-role': 'service_role' }),
    );
    await expectOwnOnly('no such cast', rest('GET', 'call_logs', { select: 'summary::int' }), 400);
    await expectOwnOnly('an order by a cast', rest('GET', 'call_logs', { order: 'summary::int' }), 400);
    await expectOwnOnly('an aggregate', rest('GET', 'call_logs', { select: 'cost_usd.sum()' }), 400);
    await expectOwnOnly('a function', rest('GET', 'call_logs', { select: 'id,pg_sleep(1)' }), 400);
    for (const accept of [
      'application/vnd.pgrst.plan',
      'application/vnd.pgrst.plan+json; options=analyze|verbose',
    ])
      await expectOwnOnly(accept, rest('GET', 'call_logs', {}, { accept }), 406);
  });

  test('in a private schema, under any name', async () => {
    const { sql } = lockstep.supabase;
    const schemas = await sql<
      { name: string }[]
    >`select nspname as name from pg_namespace where nspname <> 'public'`;
    // Schemas that only a hosted project has, and other spellings of ours.
    const more = [
      'storage',
      'realtime',
      'graphql',
      'graphql_public',
      'vault',
      'public, lockstep',
      '"lockstep"',
      'PUBLIC',
    ];
    for (const schema of [...schemas.map(({ name }) => name), ...more]) {
      const headers = { 'accept-profile': schema, 'content-profile': schema };
      for (const [method, path] of [
        ['GET', 'agents'],
        ['POST', 'rpc/saga_due'],
      ] as const) {
        const answer = await rest(method, path, {}, headers, method === 'POST' ? {} : undefined);
        expect(answer, `${method} in ${schema}`).toMatchObject({
          status: 406,
          text: expect.stringContaining('PGRST106'),
        });
      }
    }
  });

  test('at other paths than REST and Auth', async () => {
    for (const path of [
      '/_system/introspect',
      '/rest/v1/../../_system/introspect',
      '/auth/v1/..%2f..%2f_system/introspect',
      '/auth/v1/%2e%2e/%2e%2e/_system/config',
      '//rest/v1/agents',
      '/storage/v1/bucket',
      '/graphql/v1',
      '/realtime/v1',
      '/pg/query',
    ]) {
      const response = await fetch(`${lockstep.supabase.url}${path}`, {
        headers: { apikey: lockstep.supabase.publishableKey, authorization: `Bearer ${b.token}` },
      });
      expect(response.status, path).toBe(404);
    }
    // The root does not list the tables either.
    expect((await rest('GET', '')).status).toBe(403);
  });
});

describe('writes', () => {
  test('are refused with every verb and preference, and the answers reveal nothing', async () => {
    const { sql } = lockstep.supabase;
    const before = await digestOf(sql);
    const preferences = [
      'return=representation',
      'return=minimal',
      'resolution=merge-duplicates',
      'resolution=ignore-duplicates,return=representation',
      'missing=default',
      'tx=rollback',
      'tx=commit',
      'handling=strict',
      'handling=lenient,max-affected=1000',
      'params=single-object',
      'count=exact',
    ];
    let asked = 0;
    for (const { name, columns } of tables) {
      const organization = columns.some((each) => each.name === 'org_id') ? 'org_id' : 'id';
      const [taken] = await sql.unsafe<{ row: Record<string, unknown> }[]>(
        `select to_jsonb(t) as row from public.${name} t where ${organization} = '${a.orgId}' limit 1`,
      );
      // A's own row, sent by B: a unique value would conflict if the request got that far.
      const stolen = { ...taken?.row, [organization]: b.orgId };
      for (const prefer of preferences) {
        const attempts: [string, Filter, unknown][] = [
          ['POST', {}, stolen],
          ['POST', { on_conflict: columns[0]?.name ?? '' }, [stolen, stolen]],
          ['POST', { columns: columns[0]?.name ?? '', select: '*' }, stolen],
          ['PUT', { [columns[0]?.name ?? '']: `eq.${String(Object.values(stolen)[0])}` }, stolen],
          ['PATCH', { [organization]: `eq.${b.orgId}` }, stolen],
          ['PATCH', {}, stolen],
          ['DELETE', {}, undefined],
          ['DELETE', { limit: '1', order: columns[0]?.name ?? '' }, undefined],
        ];
        await Promise.all(
          attempts.map(async ([method, query, body]) => {
            const answer = await rest(method, name, query, { prefer }, body);
            asked += 1;
            const what = `${method} ${name} ${prefer}: ${answer.status} ${answer.text.slice(0, 200)}`;
            expect(answer.status, what).toBeGreaterThanOrEqual(400);
            expect(answer.status, what).toBeLessThan(500);
            expect(answer.text, what).not.toMatch(/already exists|violates|Key \(/);
            expect(leaksOfA(answer), what).toEqual([]);
          }),
        );
      }
      // An empty body is not an attempt: REST makes no statement of it.
      for (const [method, body] of [
        ['POST', []],
        ['PATCH', {}],
      ] as const)
        expect(leaksOfA(await rest(method, name, {}, { prefer: 'return=representation' }, body))).toEqual([]);
    }
    expect(await digestOf(sql)).toEqual(before);
    console.log(`isolation: ${asked} ways to write to ${tables.length} tables, all refused`);
  });
});

describe('Auth', () => {
  const secrets = () => ({
    org_id: a.orgId,
    app_metadata: { org_id: a.orgId },
    raw_app_meta_data: { org_id: a.orgId },
  });

  async function auth(method: string, path: string, body: unknown, token: string | null): Promise<Answer> {
    const { url, publishableKey } = lockstep.supabase;
    const response = await fetch(`${url}/auth/v1/${path}`, {
      method,
      redirect: 'manual',
      headers: {
        apikey: publishableKey,
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = `${response.headers.get('location') ?? ''}${await response.text()}`;
    return { status: response.status, text, count: undefined };
  }

  const usersOfA = () =>
    lockstep.supabase.sql`select to_jsonb(u) as row from auth.users u where id = ${a.userId}
      union all select to_jsonb(i) from auth.identities i where user_id = ${a.userId}
      union all select to_jsonb(s) from auth.sessions s where user_id = ${a.userId}`;

  test('the publishable key gives no access to the admin API', async () => {
    const before = await usersOfA();
    for (const token of [b.token, null]) {
      for (const [method, path, body] of [
        ['GET', 'admin/users', undefined],
        ['GET', `admin/users/${a.userId}`, undefined],
        ['POST', 'admin/users', { email: 'made@b.example', password: 'made-by-b', ...secrets() }],
        ['PUT', `admin/users/${b.userId}`, secrets()],
        ['DELETE', `admin/users/${a.userId}`, undefined],
        ['POST', 'admin/generate_link', { type: 'magiclink', email: a.email }],
        ['POST', 'invite', { email: 'invited@b.example', data: secrets() }],
      ] as const) {
        const answer = await auth(method, path, body, token);
        expect([401, 403, 404, 405], `${method} ${path}`).toContain(answer.status);
        expect(leaksOfA(answer)).toEqual([]);
      }
    }
    expect(await usersOfA()).toEqual(before);
  });

  test('sign-up, profile changes and sign-in never give a token of another organization', async () => {
    const before = await usersOfA();
    const email = `thief-${randomUUID()}@b.example`;
    const data = { ...secrets(), sub: a.userId, role: 'service_role' };
    const wish = {
      ...secrets(),
      role: 'service_role',
      aud: 'service_role',
      id: a.userId,
      sub: a.userId,
      data,
    };
    const tokens: { what: string; token: string }[] = [];
    const attempt = async (method: string, path: string, body: unknown, token: string | null = null) => {
      const answer = await auth(method, path, body, token);
      for (const [found] of answer.text.matchAll(/eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*/g))
        tokens.push({ what: `${method} ${path}`, token: found });
      return answer;
    };
    await attempt('POST', 'signup', { email, password: 'thief-password', ...wish });
    const thief = tokens.at(-1)?.token ?? '';
    expect(thief).not.toBe('');
    await attempt('POST', 'signup', { email: a.email, password: 'another-password', ...wish });
    await attempt('POST', 'signup', wish);
    await attempt('PUT', 'user', wish, thief);
    await attempt('PUT', 'user', { ...wish, user_metadata: secrets(), is_super_admin: true }, b.token);
    await attempt('PUT', 'user', { email: a.email }, thief);
    for (const path of ['otp', 'magiclink', 'recover', 'resend'])
      await attempt('POST', path, { type: 'signup', email: a.email, create_user: true, ...wish });
    for (const type of ['signup', 'magiclink', 'recovery', 'invite', 'email', 'email_change']) {
      for (const token of ['', '000000', '%', null])
        await attempt('POST', 'verify', { type, email: a.email, token, token_hash: token, ...wish });
      await attempt(
        'GET',
        `verify?type=${type}&token=&redirect_to=${encodeURIComponent(`http://x/#access_token=${thief}`)}`,
        undefined,
      );
    }
    for (const [grant, body] of [
      ['password', { email: a.email, password: '' }],
      ['password', { email: "' or true --", password: "' or true --" }],
      ['refresh_token', { refresh_token: '' }],
      ['refresh_token', { refresh_token: null }],
      ['id_token', { provider: 'google', id_token: thief }],
      ['pkce', { auth_code: '', code_verifier: '' }],
      ['web3', {}],
    ] as const)
      await attempt('POST', `token?grant_type=${grant}`, { ...wish, ...body });
    await attempt('POST', 'token?grant_type=password', { email, password: 'thief-password', ...wish });
    await attempt('POST', 'token?grant_type=password', { email: b.email, password: b.password, ...wish });

    // Their own users, twice each. The requested values reach user_metadata at most.
    expect(tokens.length).toBeGreaterThanOrEqual(3);
    for (const { what, token } of tokens) {
      const claims = decodeJwt(token);
      expect(claims.sub, what).not.toBe(a.userId);
      expect(claims['role'], what).toBe('authenticated');
      expect(claims.aud, what).toBe('authenticated');
      const metadata = claims['app_metadata'] as { org_id?: string };
      expect([undefined, b.orgId], what).toContain(metadata.org_id);
      const answer = await fetch(lockstep.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: JSON.stringify({ query: '{ organization { id name } agents { systemPrompt } }' }),
      });
      expect(await answer.text(), what).not.toMatch(/ of A|"name":"A"/);
    }
    // A sign-up creates a user without an organization, who may do nothing.
    expect(
      await lockstep
        .clientFor(thief)
        .request('{ agents { id } }')
        .catch((error: unknown) => String(error)),
    ).toContain('FORBIDDEN');
    const after = await usersOfA();
    const own = (rows: typeof before) =>
      rows.map(({ row }) => ({
        app: row['raw_app_meta_data'],
        password: row['encrypted_password'],
        email: row['email'],
      }));
    expect(own(after)).toEqual(own(before));
    console.log(`isolation: ${tokens.length} tokens out of Auth, each of who asked for it`);
  });
});
