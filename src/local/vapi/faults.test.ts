import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { FaultInput } from './faults.ts';
import { DEFAULT_VAPI_ORG_ID, startVapiStandIn, type VapiStandIn } from './server.ts';

const KEY = 'key-for-tests';
let standIn: VapiStandIn;
let id: string;
beforeAll(async () => {
  standIn = await startVapiStandIn({ key: KEY });
});
beforeEach(() => {
  standIn.reset();
  id = standIn.store.create(DEFAULT_VAPI_ORG_ID, { name: 'before' }).id;
});
afterAll(() => standIn.stop());

type Seen = { status: number; text: string; headers: Headers } | 'reset' | 'nothing';

/** One write as a client without retries sees it; 'nothing' = no answer within `patience` milliseconds. */
async function rename(name: string, patience = 10_000): Promise<Seen> {
  try {
    const response = await fetch(`${standIn.url}/assistant/${id}`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${KEY}` },
      body: JSON.stringify({ name, metadata: { a: { b: 1, c: [1, 2] } } }),
      signal: AbortSignal.timeout(patience),
    });
    return { status: response.status, text: await response.text(), headers: response.headers };
  } catch (problem) {
    return problem instanceof DOMException && problem.name === 'TimeoutError' ? 'nothing' : 'reset';
  }
}

const nameNow = () => standIn.store.all().find((assistant) => assistant.id === id)?.['name'];

describe('each kind, over HTTP', () => {
  const cases: [FaultInput, 'applied' | 'not applied', unknown][] = [
    [{ kind: 'latency', ms: 20 }, 'applied', { status: 200 }],
    [{ kind: 'reset-before' }, 'not applied', 'reset'],
    [{ kind: 'reset-after' }, 'applied', 'reset'],
    [{ kind: 'status-before', status: 429 }, 'not applied', { status: 429, text: '{}' }],
    [{ kind: 'status-before', status: 503, body: 'down' }, 'not applied', { status: 503, text: 'down' }],
    [
      { kind: 'status-after', status: 500, body: { statusCode: 500 } },
      'applied',
      { status: 500, text: '{"statusCode":500}' },
    ],
    [{ kind: 'html-502' }, 'not applied', { status: 502, text: expect.stringContaining('<html>') }],
    [
      { kind: 'html-502', when: 'after' },
      'applied',
      { status: 502, text: expect.stringContaining('<html>') },
    ],
    [{ kind: 'empty-body' }, 'applied', { status: 200, text: '' }],
    [{ kind: 'garbled-body' }, 'applied', { status: 200, text: expect.stringMatching(/^\{"id":.*[^}]$/) }],
    [{ kind: 'slow-body', ms: 20 }, 'applied', { status: 200, text: expect.stringMatching(/^\{"id":.*\}$/) }],
    [{ kind: 'slow-body', ms: 60_000 }, 'applied', 'nothing'],
    [{ kind: 'hang-before' }, 'not applied', 'nothing'],
    [{ kind: 'hang-after' }, 'applied', 'nothing'],
    [{ kind: 'late', ms: 60_000 }, 'not applied', 'nothing'],
    [{ kind: 'late', ms: 60_000, answer: 'reset' }, 'not applied', 'reset'],
    [{ kind: 'late', ms: 60_000, answer: 504 }, 'not applied', { status: 504 }],
    [
      { kind: 'wrong-body', path: 'metadata.a.b' },
      'applied',
      { status: 200, text: expect.stringContaining('{"a":{"c":[1,2]}}') },
    ],
    [
      { kind: 'reject', messages: ['name must not be rude', 'nor long'] },
      'not applied',
      {
        status: 400,
        text: '{"message":["name must not be rude","nor long"],"error":"Bad Request","statusCode":400}',
      },
    ],
    [
      { kind: 'reject', messages: 'You have too many numbers.' },
      'not applied',
      {
        status: 400,
        text: '{"message":"You have too many numbers.","error":"Bad Request","statusCode":400}',
      },
    ],
  ];
  test.each(cases)('%j: %s', async (fault, effect, expected) => {
    standIn.faults.add(fault);
    const seen = await rename('during', expected === 'nothing' ? 400 : undefined);
    if (typeof expected === 'string') expect(seen).toBe(expected);
    else expect(seen).toMatchObject(expected as object);
    expect(nameNow()).toBe(effect === 'applied' ? 'during' : 'before');
    expect(standIn.requests).toMatchObject([
      {
        method: 'PATCH',
        fault: fault.kind,
        status: typeof seen === 'string' ? null : seen.status,
        appliedAt: effect === 'applied' ? expect.any(Number) : null,
      },
    ]);
    expect(standIn.faults.list()).toEqual([]);
    // The fault is used up.
    expect(await rename('after')).toMatchObject({ status: 200 });
    expect(nameNow()).toBe('after');
  });

  test('429 with Retry-After', async () => {
    standIn.faults.add({ kind: 'status-before', status: 429, headers: { 'retry-after': '2' } });
    const seen = await rename('during');
    expect(typeof seen === 'object' && seen.headers.get('retry-after')).toBe('2');
  });

  test('latency: applies the write of a client that has disconnected', async () => {
    standIn.faults.add({ kind: 'latency', ms: 2_000 });
    expect(await rename('during', 300)).toBe('nothing');
    expect(nameNow()).toBe('before');
    await expect.poll(nameNow).toBe('during');
  });

  test('hold: applies and answers nothing until the test releases it', async () => {
    const reached = Promise.withResolvers<void>();
    const opened = Promise.withResolvers<void>();
    standIn.faults.add({
      kind: 'hold',
      until: () => {
        reached.resolve();
        return opened.promise;
      },
    });
    const seen = rename('during');
    await reached.promise;
    expect(nameNow()).toBe('before');
    opened.resolve();
    expect(await seen).toMatchObject({ status: 200 });
    expect(nameNow()).toBe('during');
    expect(standIn.requests).toMatchObject([{ fault: 'hold', status: 200 }]);
  });

  test('late: an old write overwrites a newer one', async () => {
    standIn.faults.add({ kind: 'late', ms: 2_000, answer: 504 });
    await rename('old');
    await rename('new');
    expect(nameNow()).toBe('new');
    await expect.poll(nameNow).toBe('old');
    expect(standIn.requests[0]?.appliedAt).toEqual(expect.any(Number));
  });

  test('late: a test with a virtual clock applies late writes itself, in order of arrival', async () => {
    standIn.faults.add({ kind: 'late', ms: 60_000, answer: 'reset', times: 2 });
    await rename('one');
    await rename('two');
    expect(standIn.applyLate()).toBe(2);
    expect(nameNow()).toBe('two');
    expect(standIn.applyLate()).toBe(0);
  });

  test('wrong-body: applies and returns another value', async () => {
    standIn.faults.add({ kind: 'wrong-body', path: 'name', value: 'changed' });
    expect(await rename('sent')).toMatchObject({ text: expect.stringContaining('"name":"changed"') });
    expect(nameNow()).toBe('changed');
    standIn.faults.add({ kind: 'wrong-body', path: 'metadata.a.c.0' });
    expect(await rename('sent')).toMatchObject({ text: expect.stringContaining('"c":[2]') });
  });

  test('a lost answer to a POST leaves an assistant that can be found only in a list', async () => {
    standIn.faults.add({ match: { method: 'POST' }, kind: 'reset-after' });
    const headers = { authorization: `Bearer ${KEY}` };
    await expect(
      fetch(`${standIn.url}/assistant`, { method: 'POST', headers, body: '{"name":"lost"}' }),
    ).rejects.toThrow();
    const list = await (await fetch(`${standIn.url}/assistant?limit=1`, { headers })).json();
    expect(list).toMatchObject([{ name: 'lost' }]);
  });
});

describe('the requests that a fault applies to', () => {
  const statuses = async (names: string[]) => {
    const found: unknown[] = [];
    for (const name of names) {
      const seen = await rename(name);
      found.push(typeof seen === 'string' ? seen : seen.status);
    }
    return found;
  };

  test('are limited by times and nth', async () => {
    standIn.faults.add({ kind: 'status-before', status: 500, times: 2, match: { nth: 2 } });
    expect(await statuses(['a', 'b', 'c', 'd'])).toEqual([200, 500, 500, 200]);
  });

  test('receive the first matching fault, while later ones wait; latencies add up', async () => {
    standIn.faults.add({ kind: 'status-before', status: 500 });
    standIn.faults.add({ kind: 'status-before', status: 503 });
    standIn.faults.add({ kind: 'latency', ms: 30, times: Number.POSITIVE_INFINITY });
    standIn.faults.add({ kind: 'latency', ms: 30 });
    const begun = performance.now();
    expect(await statuses(['a'])).toEqual([500]);
    expect(performance.now() - begun).toBeGreaterThan(55);
    expect(await statuses(['b', 'c'])).toEqual([503, 200]);
    expect(standIn.faults.list()).toMatchObject([{ kind: 'latency', left: 'Infinity', seen: 3 }]);
  });

  test('are selected by method, path and body', async () => {
    const add = (match: FaultInput['match']) =>
      standIn.faults.add({ kind: 'status-before', status: 500, match });
    for (const match of [
      { method: 'POST' },
      { path: /^\/call/ },
      { path: '/assistant$' },
      { bodyIncludes: '"nobody"' },
    ])
      add(match);
    add({ body: (body) => (body as { name: string }).name === 'b' });
    expect(await statuses(['a', 'b'])).toEqual([200, 500]);
    standIn.faults.clear();
    const idOfFault = add({ method: 'patch', path: `/assistant/${id}`, bodyIncludes: '"c"' });
    standIn.faults.remove(idOfFault);
    expect(await statuses(['c'])).toEqual([200]);
  });

  test('an invalid fault is refused', () => {
    const input = { kind: 'status-before', status: 200 } as const;
    expect(() => standIn.faults.add(input)).toThrow();
    expect(() => standIn.faults.add({ kind: 'nothing' } as unknown as FaultInput)).toThrow();
    expect(() => standIn.faults.add({ kind: 'hang-after', match: { path: '(' } })).toThrow(
      /regular expression/,
    );
  });
});

describe('from another process', () => {
  const control = async (method: string, path: string, body?: unknown) => {
    const response = await fetch(`${standIn.url}/__stand-in/${path}`, {
      method,
      body: body === undefined ? null : JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  };

  test('adds, lists and clears faults', async () => {
    const added = await control('POST', 'faults', {
      kind: 'reset-after',
      times: 'Infinity',
      match: { path: '^/assistant/' },
    });
    expect(added).toMatchObject({ status: 201, body: { id: expect.any(Number) } });
    expect(await rename('during')).toBe('reset');
    expect((await control('GET', 'faults')).body).toMatchObject([
      { kind: 'reset-after', left: 'Infinity', seen: 1 },
    ]);
    await control('DELETE', 'faults');
    expect(await rename('after')).toMatchObject({ status: 200 });
    expect((await control('POST', 'faults', { kind: 'x' })).status).toBe(400);
  });

  test('lists requests without keys', async () => {
    await rename('a');
    const { body } = await control('GET', 'requests');
    expect(body).toMatchObject([
      { method: 'PATCH', path: `/assistant/${id}`, key: 'key-1', status: 200, body: { name: 'a' } },
    ]);
    expect(JSON.stringify(body)).not.toContain(KEY);
    await control('DELETE', 'requests');
    expect(standIn.requests).toEqual([]);
  });

  test('edits and deletes like the dashboard, applies late writes, replaces keys and resets', async () => {
    expect((await control('POST', `dashboard/${id}`, { name: 'by hand', foreign: 1 })).body).toMatchObject({
      foreign: 1,
    });
    standIn.faults.add({ kind: 'late', ms: 60_000, answer: 'reset' });
    await rename('late');
    expect((await control('POST', 'late')).body).toEqual({ applied: 1 });
    expect(nameNow()).toBe('late');
    expect((await control('DELETE', `dashboard/${id}`)).body).toMatchObject({ id });
    expect((await control('DELETE', `dashboard/${id}`)).status).toBe(400);
    expect(await rename('gone')).toMatchObject({ status: 404 });
    await control('PUT', 'keys', [{ key: 'other' }]);
    expect(await rename('refused')).toMatchObject({ status: 401 });
    await control('PUT', 'keys', [{ key: KEY }]);
    await control('POST', 'reset');
    expect(standIn.requests).toEqual([]);
    expect((await control('GET', 'nothing')).status).toBe(404);
  });
});
