/** GraphiQL in a browser: it needs no other host, and its example works. */
import { type OperationDefinitionNode, parse } from 'graphql';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestApp, type TestApp } from '../support/app.ts';
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
    .replace(/<script nonce="[^"]*">[\s\S]*?<\/script>/g, '<script></script>')
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

test('its policy: the one script of the page, by a word that is new each time, and no other host', async () => {
  const nonces = new Set<string>();
  for (const _time of [1, 2]) {
    const response = await fetch(lockstep.url, { headers: { accept: 'text/html' } });
    const policy = response.headers.get('content-security-policy') ?? '';
    const nonce = /script-src 'nonce-([0-9a-f-]{36})'/.exec(policy)?.[1] ?? '';
    nonces.add(nonce);
    expect(policy.split('; ').filter((part) => !part.startsWith('script-src'))).toEqual([
      ...["default-src 'none'", 'worker-src blob:', "connect-src 'self'", "style-src 'unsafe-inline'"],
      ...[
        'font-src data:',
        'img-src data:',
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
      ],
    ]);
    const html = await response.text();
    expect(html.split(`<script nonce="${nonce}">`)).toHaveLength(2);
  }
  expect(nonces.size).toBe(2);
});

test('its example runs as it stands: both agents are saved, and read back', async () => {
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

test('it opens signed in where the server says as whom, and nowhere else', async () => {
  const plain = await openPage(lockstep.url);
  expect(JSON.parse(plain.options.defaultHeaders)).toEqual({ authorization: 'Bearer <access token>' });

  const caller = await lockstep.newCaller('Demo');
  const demo = await createTestApp({
    supabase: lockstep.supabase,
    vapi: lockstep.vapi,
    config: { exampleHeaders: async () => ({ authorization: `Bearer ${caller.token}` }) },
  });
  try {
    const { options } = await openPage(demo.url);
    const [tab] = options.defaultTabs;
    const response = await fetch(demo.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(JSON.parse(tab?.headers ?? '{}') as object) },
      body: JSON.stringify({ query: '{ organization { name } }' }),
    });
    expect(await response.json()).toEqual({ data: { organization: { name: 'Demo' } } });
  } finally {
    await demo.stop();
  }
});

test('a client that asks for JSON gets no page', async () => {
  const response = await fetch(`${lockstep.url}?query={__typename}`, {
    headers: { accept: 'application/json' },
  });
  expect(await response.json()).toEqual({ data: { __typename: 'Query' } });
});
