import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { createContextFactory } from './context.ts';
import { Secret } from './domain/secret.ts';
import { RefusedTokenError, type TokenVerdict } from './ports/auth.ts';
import type { Log } from './ports/system.ts';
import type { TenantReads } from './ports/tenant-reads.ts';
import type { ExecutorPorts } from './services/agents/execute.ts';
import { READ_LIMITS, ReadGate } from './services/reads/share-reads.ts';

const KEY = 'canary-master-key';
const TENANT = { userId: 'user', orgId: '00000000-0000-4000-8000-00000000000a' };

const unused = () => Promise.reject(new Error('not part of this test'));

/** A context for a request with this header, and what was asked on the way to it. */
async function contextFor(authorization: string | null, verdict: TokenVerdict = TENANT) {
  const verified: string[] = [];
  const opened: string[] = [];
  const logged: unknown[] = [];
  let openSaves = 0;
  const logAs = (bound: object): Log => ({
    ...{ debug: () => {}, warn: () => {}, error: () => {} },
    info: (fields, message) => void logged.push({ ...bound, ...fields, message }),
    child: (fields) => logAs({ ...bound, ...fields }),
  });
  const reads = {
    openSave: () => {
      openSaves += 1;
      return Promise.resolve(null);
    },
  } as TenantReads;
  const executorPorts = { owner: 'this process', log: logAs({}) } as ExecutorPorts<string>;
  const vapiApiKey = new Secret(KEY);
  const create = createContextFactory<string>({
    verifier: {
      verify: (token) => {
        verified.push(token);
        return Promise.resolve(verdict);
      },
    },
    readGate: new ReadGate(READ_LIMITS, { monotonic: () => 0 }),
    openReads: (token) => {
      opened.push(token);
      return reads;
    },
    ...{ serviceClient: 'service client', vapiApiKey, executorPorts, log: logAs({}) },
    reconciliation: { look: async () => null, setDriftPolicy: async () => false },
    changePhoneNumber: async () => ({ kind: 'not_configured' }),
    receivesEvents: false,
    appointments: {} as never,
    knowledgeBase: { upload: unused, remove: unused },
    callLedger: unused,
    ids: { uuid: () => 'a fresh id' },
  });
  const headers: Record<string, string> = authorization === null ? {} : { authorization };
  const request = new Request('http://localhost/graphql', { headers });
  const result = await create(request, 'request-1').catch((error: unknown) => error);
  return { result, create, request, verified, opened, logged, vapiApiKey, openSaves: () => openSaves };
}

async function acceptedContext() {
  const made = await contextFor('Bearer good.token.here');
  if (made.result instanceof Error) throw made.result;
  return { ...made, context: made.result as Awaited<ReturnType<typeof made.create>> };
}

describe('the caller', () => {
  test('of a good token: who, which organization, and reads with that very token', async () => {
    const { context, verified, opened } = await acceptedContext();
    expect(context.caller).toMatchObject(TENANT);
    if ('problem' in context.caller) throw new Error(context.caller.problem);
    await context.caller.reads.openSave();
    expect([verified, opened]).toEqual([['good.token.here'], ['good.token.here']]);
  });

  test.each(['Bearer t', 'bearer t', 'BEARER t', ' Bearer t '])('is read from %j', async (header) => {
    expect((await contextFor(header)).verified).toEqual(['t']);
  });

  test('without a header there is no token: nobody is asked, nothing is opened', async () => {
    const { result, verified, opened } = await contextFor(null);
    expect(result).toMatchObject({ caller: { problem: 'no_token' } });
    expect([verified, opened]).toEqual([[], []]);
  });

  test('of a good token without an organization: nothing is opened', async () => {
    const { result, opened } = await contextFor('Bearer t', { problem: 'no_organization' });
    expect(result).toMatchObject({ caller: { problem: 'no_organization' } });
    expect(opened).toEqual([]);
  });

  test.each([
    ...['', 'Bearer', 'Bearer ', 'Bearer a b', 'Bearer a, Bearer b', 'Basic dXNlcjpwYXNz', 'Token t', 't'],
    ...['Bearer\tt', 'BearerX t', 'Bearer  t'],
  ])('a header that holds no token is a bad one, never none: %j', async (header) => {
    const { result, verified, opened } = await contextFor(header);
    expect(result).toBeInstanceOf(RefusedTokenError);
    expect(result).toMatchObject({ unavailable: false });
    expect([verified, opened]).toEqual([[], []]);
  });

  test('a token that is refused, and one that cannot be checked now, are told apart', async () => {
    const bad = await contextFor('Bearer t', { problem: 'bad_token' });
    expect(bad.result).toMatchObject({
      unavailable: false,
      message: expect.stringContaining('not valid') as string,
    });
    const later = await contextFor('Bearer t', { problem: 'unavailable' });
    expect(later.result).toMatchObject({
      unavailable: true,
      message: expect.stringContaining('at the moment') as string,
    });
    expect(later.opened).toEqual([]);
  });

  test('a refusal is logged with its reason and its request, without the token', async () => {
    const { logged } = await contextFor('Bearer canary.token', { problem: 'bad_token' });
    expect(logged).toEqual([{ requestId: 'request-1', problem: 'bad_token', message: 'token refused' }]);
  });
});

describe('what a request has of its own', () => {
  test('an id, and a log that names it, for the executor too', async () => {
    const { context, create, request, logged } = await acceptedContext();
    expect(context.requestId).toBe('request-1');
    context.log.info({}, 'by the resolver');
    context.executorPorts.log.info({}, 'by the executor');
    expect(logged).toEqual([
      { requestId: 'request-1', message: 'by the resolver' },
      { requestId: 'request-1', message: 'by the executor' },
    ]);
    expect((await create(request)).requestId).toBe('a fresh id');
  });

  test('reads the open save once however many agents ask, and opens no client before', async () => {
    const { context, opened, openSaves } = await acceptedContext();
    if ('problem' in context.caller) throw new Error(context.caller.problem);
    expect([openSaves(), opened]).toEqual([0, []]);
    await Promise.all([context.caller.reads.openSave(), context.caller.reads.openSave()]);
    expect(openSaves()).toBe(1);
  });

  test('the key, which nothing that prints the context shows', async () => {
    const { context, vapiApiKey } = await acceptedContext();
    expect(context.vapiApiKey).toBe(vapiApiKey);
    expect(inspect(context, { depth: null, showHidden: true })).not.toContain(KEY);
    expect(JSON.stringify(context)).not.toContain(KEY);
  });
});

test('bounds the reads of an organization that run at the same time', async () => {
  const { caller } = (await acceptedContext()).context;
  if ('problem' in caller) throw new Error(caller.problem);
  let started = 0;
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  const reads = Array.from({ length: READ_LIMITS.perOrganization + 1 }, () =>
    caller.inTurn(() => {
      started += 1;
      return ended;
    }),
  );
  expect(started).toBe(READ_LIMITS.perOrganization);
  end();
  await Promise.all(reads);
  expect(started).toBe(READ_LIMITS.perOrganization + 1);
});
