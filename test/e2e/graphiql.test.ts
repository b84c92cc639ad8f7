/** GraphiQL in a browser: it needs no other host, and its example works. */
import { createHash } from 'node:crypto';
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
    const { html } = await openPage(demo.url);
    expect(html).not.toContain(caller.token);
    const headers = await fetch(`${demo.origin}/graphiql/demo-headers`);
    expect((await fetch(`${lockstep.origin}/graphiql/demo-headers`)).status).toBe(404);
    const response = await fetch(demo.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...((await headers.json()) as object) },
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
