import fc from 'fast-check';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { payloads } from '../../../test/support/arbitraries.ts';
import type { Holds } from '../../../test/support/holds.ts';
import type { AgentPayload } from '../../domain/agents/agent-config.ts';
import type { Json } from '../../domain/json.ts';
import { Secret } from '../../domain/secret.ts';
import {
  type AgentMap,
  ANY_AGENTS,
  buildTransactionalUpdates,
  type TransactionalAgentUpdate,
} from './build.ts';

const ORG = '00000000-0000-4000-8000-00000000000a';
const NONE: AgentPayload = { config: {}, expectedRevision: null, recreateIfMissing: false };

describe('updates', () => {
  test('one for each payload, inbound first; a role without a payload is not named', () => {
    fc.assert(
      fc.property(
        fc.option(payloads),
        fc.option(payloads),
        fc.option(fc.uuid()),
        fc.option(fc.uuid()),
        (inbound, outbound, inboundId, outboundId) => {
          const map: AgentMap = { INBOUND: inboundId, OUTBOUND: outboundId };
          const expected = [
            { role: 'INBOUND', payload: inbound, agentId: inboundId },
            { role: 'OUTBOUND', payload: outbound, agentId: outboundId },
          ].flatMap(({ role, payload, agentId }) =>
            payload === null
              ? []
              : [
                  {
                    orgId: ORG,
                    agentId,
                    role,
                    payload: payload.config,
                    expectedRevision: payload.expectedRevision,
                    recreateIfMissing: payload.recreateIfMissing,
                  },
                ],
          );
          expect(buildTransactionalUpdates(ORG, map, inbound, outbound)).toStrictEqual(expected);
        },
      ),
    );
  });

  test('payloads are the partial change: what was left out stays out, null stays null', () => {
    const payload = { ...NONE, config: { firstMessage: null } };
    const [update] = buildTransactionalUpdates(ORG, ANY_AGENTS, payload, null);
    expect(update?.payload).toStrictEqual({ firstMessage: null });
    expect(update?.agentId).toBeNull();
  });
});

describe('the key has no way in (checked by the compiler)', () => {
  test('the check finds a Secret wherever one could be', () => {
    expectTypeOf<Holds<{ key: Secret }>>().toEqualTypeOf<true>();
    expectTypeOf<Holds<{ key?: Secret | null }>>().toEqualTypeOf<true>();
    expectTypeOf<Holds<{ a: { b: { c: Secret }[] } }>>().toEqualTypeOf<true>();
    expectTypeOf<Holds<{ a: unknown }>>().toEqualTypeOf<true>();
    expectTypeOf<Holds<{ a: object }>>().toEqualTypeOf<true>();
    expectTypeOf<Holds<{ a: Record<string, unknown> }>>().toEqualTypeOf<true>();
    expectTypeOf<Holds<{ a: () => string }>>().toEqualTypeOf<true>();
    expectTypeOf<Holds<{ a: string; b: number[]; c: { d: Json } }>>().toEqualTypeOf<false>();
  });

  test('no member of TransactionalAgentUpdate can hold one', () => {
    expectTypeOf<Holds<TransactionalAgentUpdate>>().toEqualTypeOf<false>();
    expectTypeOf<keyof TransactionalAgentUpdate>().toEqualTypeOf<
      'orgId' | 'agentId' | 'role' | 'payload' | 'expectedRevision' | 'expectedSaveId' | 'recreateIfMissing'
    >();
  });

  test('buildTransactionalUpdates has exactly its four parameters, and none takes one', () => {
    expectTypeOf(buildTransactionalUpdates).parameters.toEqualTypeOf<
      [string, AgentMap, AgentPayload | null, AgentPayload | null]
    >();
    expectTypeOf<Holds<Parameters<typeof buildTransactionalUpdates>[number]>>().toEqualTypeOf<false>();
    expect(buildTransactionalUpdates).toHaveLength(4);
  });

  test('a call that passes one does not compile', () => {
    const secret = new Secret('canary-key');
    const calls = [
      // @ts-expect-error a Secret is no organization
      () => buildTransactionalUpdates(secret, ANY_AGENTS, NONE, NONE),
      // @ts-expect-error a Secret is no agent
      () => buildTransactionalUpdates(ORG, { ...ANY_AGENTS, INBOUND: secret }, NONE, NONE),
      // @ts-expect-error a Secret is no payload
      () => buildTransactionalUpdates(ORG, ANY_AGENTS, secret, NONE),
      // @ts-expect-error a payload has no place for one
      () => buildTransactionalUpdates(ORG, ANY_AGENTS, NONE, { ...NONE, config: { name: secret } }),
      // @ts-expect-error there is no fifth parameter
      () => buildTransactionalUpdates(ORG, ANY_AGENTS, NONE, NONE, secret),
      // @ts-expect-error an update has no place for one
      (update: TransactionalAgentUpdate): TransactionalAgentUpdate => ({ ...update, secret }),
    ];
    expect(calls).toHaveLength(6);
  });
});
