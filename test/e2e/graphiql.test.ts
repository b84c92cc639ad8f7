/** GraphiQL in a browser: it needs no other host, and its example works. */
import { createHash } from 'node:crypto';
import { runInNewContext } from 'node:vm';
import { type OperationDefinitionNode, parse } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Caller, createTestApp, type TestApp } from '../support/app.ts';
import { expectLockstep } from '../support/systems.ts';

interface PageOptions {
  defaultTabs: { query: string; headers: string }[];
  defaultHeaders: string;
}

let lockstep: TestApp;
beforeAll(async () => {
  lockstep = await createTestApp();
});
afterAll(() => lockstep.stop());

async function openPage(url: string): Promise<{ html: string; options: PageOptions }> {
  const response = await fetch(url, { headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' } });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toMatch(/^text\/html/);
  const html = await response.text();
  // What the page hands to GraphiQL: one line of JSON.
  const json = /YogaGraphiQL\.renderYogaGraphiQL\(\s*[^\n]+,\s*(\{.*\}),?\s*\);/.exec(html)?.[1];
  if (json === undefined) throw new Error('the page does not start GraphiQL');
  return { html, options: JSON.parse(json) as PageOptions };
}

test('the page needs nothing from another host', async () => {
  const { html } = await openPage(lockstep.url);
  // Outside of what is inline: the elements by which a page loads something.
  const elements = html
    .replace(/<script>[\s\S]*?<\/script>/g, '<script></script>')
    .replace(/<style>[\s\S]*?<\/style>/g, '<style></style>')
    .replace(/"data:[^"]*"/g, '"data:"');
  expect(elements).toContain('<div id="root">');
  expect(elements.length).toBeLessThan(2_000);
  const loaded = [...elements.matchAll(/\b(?:src|href|action|data)\s*=\s*["']?([^"'\s>]+)/gi)].map(
    ([, at]) => at ?? '',
  );
  expect(loaded.filter((at) => !at.startsWith('data:'))).toEqual([]);
  // And what is inline loads nothing by itself: no import, no worker, no style sheet or font of a known address.
  expect(html).not.toMatch(/(?:\bimport|importScripts|\bnew Worker|@import|url)\s*\(?\s*["'`]?https?:/i);
  expect(html).not.toMatch(/cdn\.jsdelivr|unpkg\.com|cdnjs|esm\.sh|fonts\.g(?:oogleapis|static)/);
});

test('the policy of the page allows its own script by hash, and no other host', async () => {
  const response = await fetch(lockstep.url, { headers: { accept: 'text/html' } });
  const html = await response.text();
  const script = html.slice(html.indexOf('<script>') + 8, html.lastIndexOf('</script>'));
  const hash = createHash('sha256').update(script).digest('base64');
  expect(response.headers.get('content-security-policy')?.split('; ')).toEqual([
    ...["default-src 'none'", `script-src 'sha256-${hash}'`, 'worker-src blob:', "connect-src 'self'"],
    ...["style-src 'unsafe-inline'", 'font-src data:', 'img-src data:'],
    ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
  ]);
});

test('its example saves both agents and reads them back unchanged', async () => {
  const caller = await lockstep.newCaller('North Dental');
  const { options } = await openPage(lockstep.url);
  const answers: unknown[] = [];
  for (const { query } of options.defaultTabs) {
    const operations = parse(query).definitions as OperationDefinitionNode[];
    expect(operations).toHaveLength(1);
    answers.push(await caller.client.request(query));
  }
  expect(answers).toMatchObject([
    {
      updateAgents: {
        __typename: 'UpdateAgentsSuccess',
        agents: [
          { role: 'INBOUND', revision: 1 },
          { role: 'OUTBOUND', revision: 1 },
        ],
      },
    },
    { organization: { name: 'North Dental' }, agents: [{ role: 'INBOUND' }, { role: 'OUTBOUND' }] },
    // A new organization has none; the demo's have some hundred.
    { calls: { nodes: [] }, appointments: { nodes: [] } },
  ]);
  await expectLockstep(lockstep, caller.orgId);
});

/** The page's own script, run as a browser would: with storage, an address, and a network that the test answers. */
function runPage(html: string, saved: Record<string, string> = {}, answer = () => new Response('{}')) {
  const script = /window\.lockstepPage = [\s\S]*?\n\}\)\(\);\n/.exec(html)?.[0];
  if (script === undefined) throw new Error('the page has no script of ours');
  const storage = new Map(Object.entries(saved));
  const sent: { url: string; authorization: string | null }[] = [];
  const buttons: { textContent: string; onclick: () => void; checked?: string }[] = [];
  const element = () => ({
    onclick: () => {},
    textContent: '',
    setAttribute(name: string, value: string) {
      if (name === 'aria-checked') Object.assign(this, { checked: value });
    },
    append: () => {},
  });
  const window = {
    fetch: async (url: string, init: RequestInit = {}) => {
      sent.push({ url, authorization: new Headers(init.headers).get('authorization') });
      const email = /user=(.*)$/.exec(url)?.[1];
      if (email === undefined) return answer();
      const at = sent.filter((one) => one.url === url).length;
      return Response.json({ authorization: `Bearer ${token(`${decodeURIComponent(email)} ${at}`)}` });
    },
  } as { fetch: typeof fetch; lockstepPage: { reopen(options: object): object; showMenu(): void } };
  runInNewContext(script, {
    ...{ window, Headers, URL, atob, Map, Date: Object.assign(() => '', { now: () => NOW }) },
    location: { href: 'http://127.0.0.1/graphql' },
    localStorage: {
      getItem: (key: string) => storage.get(key) ?? null,
      setItem: (key: string, value: string) => void storage.set(key, value),
      removeItem: (key: string) => void storage.delete(key),
    },
    document: {
      createElement: () => {
        const made = element();
        buttons.push(made);
        return made;
      },
      body: { append: () => {} },
    },
  });
  const { reopen, showMenu } = window.lockstepPage;
  showMenu();
  return { window, reopen, storage, sent, buttons: buttons.filter(({ textContent }) => textContent !== '') };
}

const NOW = Date.parse('2026-01-01T12:00:00Z');
/** Of this user, and valid for so many milliseconds more. */
function token(of: string, ms = 3_600_000): string {
  const claims = Buffer.from(JSON.stringify({ of, exp: (NOW + ms) / 1_000 })).toString('base64url');
  return `header.${claims}.signature`;
}
const userOf = (authorization: string | null | undefined) =>
  (JSON.parse(Buffer.from(authorization?.split('.')[1] ?? 'e30=', 'base64url').toString()) as { of: string })
    .of;

describe('where the server has demo users', () => {
  let demo: TestApp;
  const callers: Caller[] = [];
  let html: string;
  beforeAll(async () => {
    for (const name of ['North', 'South']) callers.push(await lockstep.newCaller(name));
    const users = ['North', 'South'].map((organization) => ({
      organization,
      email: `owner@${organization.toLowerCase()}.example`,
    }));
    demo = await createTestApp({
      supabase: lockstep.supabase,
      vapi: lockstep.vapi,
      config: {
        demo: {
          users,
          headersOf: async (email) => ({
            authorization: `Bearer ${callers[users.findIndex((user) => user.email === email)]?.token}`,
          }),
        },
      },
    });
    ({ html } = await openPage(demo.url));
  });
  afterAll(() => demo.stop());

  test('signs in each of them; the page contains no token, and no other user is accepted', async () => {
    for (const { token } of callers) expect(html).not.toContain(token);
    const headersOf = (query: string) => fetch(`${demo.origin}/graphiql/demo-headers${query}`);
    for (const [query, name] of [
      ['', 'North'],
      ['?user=owner%40north.example', 'North'],
      ['?user=owner%40south.example', 'South'],
    ] as const) {
      const response = await fetch(demo.url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...((await (await headersOf(query)).json()) as object),
        },
        body: JSON.stringify({ query: '{ organization { name } }' }),
      });
      expect(await response.json()).toEqual({ data: { organization: { name } } });
    }
    expect((await headersOf('?user=stranger')).status).toBe(404);
    expect((await fetch(`${lockstep.origin}/graphiql/demo-headers`)).status).toBe(404);
  });

  test('a click on an organization sends the next requests as its user, also after a reload', async () => {
    const page = runPage(html);
    expect(page.buttons.map(({ textContent, checked }) => [textContent, checked])).toEqual([
      ['North', 'true'],
      ['South', 'false'],
    ]);
    await page.window.fetch('/graphql');
    page.buttons[1]?.onclick();
    expect(page.buttons.map(({ checked }) => checked)).toEqual(['false', 'true']);
    await page.window.fetch('/graphql');
    await page.window.fetch('/graphql');
    const queries = page.sent.filter(({ url }) => url === '/graphql');
    expect(queries.map(({ authorization }) => userOf(authorization))).toEqual([
      'owner@north.example 1',
      'owner@south.example 1',
      'owner@south.example 1',
    ]);
    const again = runPage(html, Object.fromEntries(page.storage));
    expect(again.buttons.map(({ checked }) => checked)).toEqual(['false', 'true']);
    // The choice is all that is kept.
    expect([...page.storage]).toEqual([['lockstep:user', 'owner@south.example']]);
  });

  test('a token that the server refuses is renewed once, and one that the user has written is left alone', async () => {
    let status = 401;
    const page = runPage(html, {}, () => new Response('{}', { status }));
    expect((await page.window.fetch('/graphql')).status).toBe(401);
    const queries = () =>
      page.sent.filter(({ url }) => url === '/graphql').map((one) => userOf(one.authorization));
    expect(queries()).toEqual(['owner@north.example 1', 'owner@north.example 2']);
    status = 200;
    const own = { headers: { authorization: `Bearer ${token('me')}` } };
    await page.window.fetch('/graphql', own);
    const expired = { headers: { authorization: `Bearer ${token('me', -1)}` } };
    await page.window.fetch('/graphql', expired);
    expect(queries().slice(2)).toEqual(['me', 'owner@north.example 2']);
  });

  test('a reload opens the tab that was open, drops empty ones, and keeps no expired token', () => {
    const tab = (id: string, query: string | null, authorization: string) => ({
      ...{ id, query, variables: null, headers: JSON.stringify({ authorization, 'x-other': '1' }) },
    });
    const tabs = [
      tab('a', '{ a }', `Bearer ${token('me', -1)}`),
      tab('b', '{ b }', `Bearer ${token('me')}`),
      tab('c', null, ''),
    ];
    const state = (activeTabIndex: number) => ({
      'graphiql:tabState': JSON.stringify({ activeTabIndex, tabs }),
    });
    const page = runPage(html, state(1));
    const options = { defaultHeaders: '{}', endpoint: '/graphql' };
    expect(page.reopen(options)).toEqual({
      ...options,
      ...{ query: '{ b }', initialVariables: '', initialHeaders: tabs[1]?.headers },
    });
    const kept = JSON.parse(page.storage.get('graphiql:tabState') ?? '') as {
      tabs: { id: string; headers: string }[];
    };
    expect(kept.tabs.map(({ id }) => id)).toEqual(['a', 'b']);
    expect(JSON.parse(kept.tabs[0]?.headers ?? '')).toEqual({ 'x-other': '1' });
    // The open tab was the empty one.
    expect(runPage(html, state(2)).reopen(options)).toMatchObject({ query: '{ a }' });
    expect(runPage(html).reopen(options)).toEqual(options);
  });
});

test('without demo users the page asks for a token and has no menu', async () => {
  const { html, options } = await openPage(lockstep.url);
  expect(JSON.parse(options.defaultHeaders)).toEqual({ authorization: 'Bearer <access token>' });
  expect(runPage(html).buttons).toEqual([]);
});

test('a client that accepts JSON receives no page', async () => {
  const response = await fetch(`${lockstep.url}?query={__typename}`, {
    headers: { accept: 'application/json' },
  });
  expect(await response.json()).toEqual({ data: { __typename: 'Query' } });
});
