/** An unexpected error: the caller receives an id, and the log has the details under that id. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Log } from '../../src/ports/system.ts';
import { EDGE_DEFAULTS } from '../../src/server/edge.ts';
import { createGraphql } from '../../src/server/graphql.ts';
import { createTestApp, type TestApp } from '../support/app.ts';

let lockstep: TestApp;
beforeAll(async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  lockstep = await createTestApp();
});
afterAll(async () => {
  vi.restoreAllMocks();
  await lockstep?.stop();
});

interface Answer {
  data?: unknown;
  errors?: { message: string; path?: unknown; extensions?: Record<string, unknown> }[];
}

const lines = () => lockstep.log.map((line) => JSON.parse(line) as Record<string, unknown>);

describe('an unexpected error', () => {
  test('in a resolver is answered with an id; the log has the error and its stack under that id', async () => {
    const caller = await lockstep.newCaller();
    // Breaks the database.
    await lockstep.supabase.sql`alter table public.organizations rename column name to title`;
    await lockstep.supabase.reloadSchema();
    try {
      const response = await fetch(lockstep.url, {
        method: 'POST',
        headers: { authorization: `Bearer ${caller.token}`, 'content-type': 'application/json' },
        body: '{"query":"{ organization { id name } }"}',
      });
      const text = await response.text();
      const { data, errors } = JSON.parse(text) as Answer;
      expect(data ?? null).toBeNull();
      expect(errors).toEqual([
        {
          message: 'Unexpected error.',
          locations: [expect.anything()],
          path: ['organization'],
          extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId: expect.any(String) },
        },
      ]);
      expect(text).not.toMatch(/does not exist|42703|PGRST|\bat /);
      const id = errors?.[0]?.extensions?.['correlationId'];
      const [logged, ...others] = lines().filter((line) => line['correlationId'] === id);
      expect(others).toEqual([]);
      expect(logged).toMatchObject({
        msg: 'unexpected error',
        err: { message: expect.stringMatching(/42703/), stack: expect.stringMatching(/\.ts:\d+/) },
      });
    } finally {
      await lockstep.supabase.sql`alter table public.organizations rename column title to name`;
      await lockstep.supabase.reloadSchema();
    }
  });

  test.each<[string, unknown]>([
    ['an error', new TypeError('planted: secret words from inside')],
    ['several in one', new AggregateError([new Error('planted: one'), new Error('planted: two')], 'planted')],
    ['an abort', new DOMException('planted: secret words from inside', 'AbortError')],
    ['a string', 'planted: secret words from inside'],
    ['an object that looks like a GraphQL result', { errors: [{ message: 'planted' }], message: 'planted' }],
    ['a number', 0],
  ])('thrown before any field runs is a 500 for every accepted content type: %s', async (_what, thrown) => {
    const logged: object[] = [];
    const log: Log = {
      ...{ debug: () => {}, info: () => {}, warn: () => {} },
      error: (fields) => void logged.push(fields),
      child: () => log,
    };
    const createContext = () => Promise.reject(thrown as Error);
    const graphql = createGraphql({ createContext, corsOrigins: [], edge: EDGE_DEFAULTS, log });
    for (const accept of [
      ...['application/json', 'application/graphql-response+json', 'text/event-stream', 'multipart/mixed'],
    ]) {
      const request = new Request('http://localhost/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept },
        body: '{"query":"{ organization { id } }"}',
      });
      const response = await graphql.fetch(request, { requestId: 'r' });
      const text = await response.text();
      expect(response.status).toBe(500);
      expect(text).toContain('"Unexpected error."');
      expect(text).not.toMatch(/planted|\bat /);
      const correlationId = /"correlationId":"([^"]+)"/.exec(text)?.[1];
      expect(logged.splice(0)).toEqual([{ correlationId, err: expect.anything() }]);
    }
  });

  test('outside of GraphQL is answered with the id of the request', async () => {
    const broken = await createTestApp({ supabase: lockstep.supabase, vapi: lockstep.vapi });
    try {
      broken.app.server.prependListener('request', (_request, response) => {
        // The handler does not expect this error.
        response.writeHead = () => {
          Reflect.deleteProperty(response, 'writeHead');
          throw new TypeError('planted: secret words from inside');
        };
      });
      const response = await fetch(`${broken.origin}/health`);
      const text = await response.text();
      expect(response.status).toBe(500);
      const id = response.headers.get('x-request-id');
      expect(JSON.parse(text)).toEqual({
        errors: [
          {
            message: 'Unexpected error.',
            extensions: { code: 'INTERNAL_SERVER_ERROR', correlationId: id },
          },
        ],
      });
      const logged = broken.log.map((line) => JSON.parse(line) as Record<string, unknown>);
      expect(logged.filter((line) => line['requestId'] === id)).toMatchObject([
        { err: { message: expect.stringMatching(/planted/) } },
      ]);
    } finally {
      await broken.stop();
    }
  });
});

test('every answer has its own request id', async () => {
  const ids = await Promise.all(
    ['/graphql', '/health', '/ready', '/metrics', '/nothing', '/'].map(
      async (path) =>
        (await fetch(`${lockstep.origin}${path}`, { redirect: 'manual' })).headers.get('x-request-id') ?? '',
    ),
  );
  for (const id of ids) expect(id).toMatch(/^[0-9a-f-]{36}$/);
  expect(new Set(ids).size).toBe(ids.length);
});
