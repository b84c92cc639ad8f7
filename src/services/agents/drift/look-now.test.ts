import { expect, test } from 'vitest';
import type { Admission } from '../../../ports/admission.ts';
import type { SweepStore } from '../../../ports/agents/sweep-store.ts';
import type { Assistants } from '../../../ports/voice-provider.ts';
import { lookNow } from './look-now.ts';

/** A look at the assistant of the organization `owner`, by the organization `caller`. Vapi does not answer. */
async function run({ owner = 'org', caller = 'org', key = true, permit = true, limited = true } = {}) {
  const looked: string[] = [];
  const admitted: unknown[] = [];
  const agent = { orgId: owner, agentId: 'agent', assistantId: 'assistant', revision: 1, saveId: 'save' };
  const voice = {
    getAssistant: async (id: string) => {
      looked.push(id);
      return { kind: 'unknown', code: 'HTTP_503' };
    },
  } as unknown as Assistants;
  const admission = {
    admit: async (...given: unknown[]) => {
      admitted.push(given);
      return permit ? { admitted: true, done() {}, unused() {} } : { admitted: false, retryAfterMs: 5 };
    },
  } as unknown as Admission;
  const verdict = await lookNow(
    {
      store: { lookup: async () => [agent] } as unknown as SweepStore,
      voice: () => (key ? voice : null),
      limit: limited ? { admission, waitMs: 3_000 } : undefined,
    },
    caller,
    'assistant',
  );
  return { verdict, looked, admitted };
}

test('a look takes a permit of its own organization', async () => {
  expect(await run()).toEqual({
    verdict: { kind: 'unreadable', reply: { kind: 'unknown', code: 'HTTP_503' } },
    looked: ['assistant'],
    admitted: [['org', 1, 3_000]],
  });
});

test('without a permit, nothing is sent', async () => {
  const { verdict, looked } = await run({ permit: false });
  expect([verdict, looked]).toMatchObject([{ kind: 'unreadable', reply: { kind: 'rate_limited' } }, []]);
});

test('if the rate is not limited, a look needs no permit', async () => {
  expect(await run({ limited: false })).toMatchObject({ looked: ['assistant'], admitted: [] });
});

test('an assistant of another organization is never read', async () => {
  expect(await run({ owner: 'another' })).toEqual({ verdict: { kind: 'saving' }, looked: [], admitted: [] });
});

test('without a key there is no verdict', async () => {
  expect(await run({ key: false })).toEqual({ verdict: null, looked: [], admitted: [] });
});
