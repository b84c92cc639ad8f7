/** Which functions the compiler allows to receive the master key (`npm run check` runs it). */
import { describe, expectTypeOf, test } from 'vitest';
import type { Secret } from '../../src/domain/secret.ts';
import type { Admission, ReplicaRegistry } from '../../src/ports/admission.ts';
import type { SaveJournal } from '../../src/ports/agents/save-journal.ts';
import type { SweepStore } from '../../src/ports/agents/sweep-store.ts';
import type { TokenVerifier } from '../../src/ports/auth.ts';
import type { Ids, Log } from '../../src/ports/system.ts';
import type { Meter } from '../../src/ports/telemetry.ts';
import type { TenantReads } from '../../src/ports/tenant-reads.ts';
import type { VoiceProvider } from '../../src/ports/voice-provider.ts';
import type { buildTransactionalUpdates } from '../../src/services/agents/build.ts';
import type { adoptOrRevert } from '../../src/services/agents/drift/settle-drift.ts';
import type {
  ExecutorPorts,
  executeTransactionalAgentUpdate,
  SaveOptions,
} from '../../src/services/agents/execute.ts';
import type { renderAssistant } from '../../src/services/agents/render.ts';
import type { decide } from '../../src/services/saga/protocol.ts';
import type { HeldSaga, RunPorts } from '../../src/services/saga/run.ts';
import type { Holds, Takers } from '../support/holds.ts';

describe('the executor’s chain', () => {
  test('the executor receives the key as its third argument and as no other', () => {
    type Given = Parameters<typeof executeTransactionalAgentUpdate>;
    expectTypeOf<Given[2]>().toEqualTypeOf<Secret | null>();
    expectTypeOf<Holds<Given[1]>>().toEqualTypeOf<false>();
    expectTypeOf<Holds<SaveOptions>>().toEqualTypeOf<false>();
  });

  test('only the port that opens the provider receives the key', () => {
    expectTypeOf<Parameters<ExecutorPorts<never>['openVoiceProvider']>>().toEqualTypeOf<[Secret]>();
    type Others = Omit<ExecutorPorts<never>, 'openVoiceProvider' | 'track'>;
    expectTypeOf<Takers<Others>>().toEqualTypeOf<never>();
  });

  test('the updates and images that the executor passes on have no field for the key', () => {
    expectTypeOf<Holds<HeldSaga>>().toEqualTypeOf<false>();
    expectTypeOf<keyof RunPorts<never>>().toEqualTypeOf<
      'journal' | 'admission' | 'clock' | 'random' | 'log' | 'meter' | 'settings'
    >();
  });
});

describe('all other code', () => {
  test('no method of a port accepts the key', () => {
    expectTypeOf<Takers<VoiceProvider>>().toEqualTypeOf<never>();
    expectTypeOf<Takers<SaveJournal>>().toEqualTypeOf<never>();
    expectTypeOf<Takers<SweepStore>>().toEqualTypeOf<never>();
    expectTypeOf<Takers<TenantReads>>().toEqualTypeOf<never>();
    expectTypeOf<Takers<Admission>>().toEqualTypeOf<never>();
    expectTypeOf<Takers<ReplicaRegistry>>().toEqualTypeOf<never>();
    expectTypeOf<Takers<TokenVerifier>>().toEqualTypeOf<never>();
    expectTypeOf<Takers<Meter>>().toEqualTypeOf<never>();
    expectTypeOf<Takers<Ids>>().toEqualTypeOf<never>();
  });

  test('control: finds the log, which accepts any object; therefore a Secret prints as [redacted]', () => {
    expectTypeOf<Takers<Log>>().toEqualTypeOf<'debug' | 'info' | 'warn' | 'error' | 'child'>();
  });

  test('the functions that decide, render and build updates do not accept the key', () => {
    interface Pure {
      decide: typeof decide;
      render: typeof renderAssistant;
      build: typeof buildTransactionalUpdates;
      settle: typeof adoptOrRevert;
    }
    expectTypeOf<Takers<Pure>>().toEqualTypeOf<never>();
  });
});
