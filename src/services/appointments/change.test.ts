import { describe, expect, test } from 'vitest';
import type { Admission } from '../../ports/admission.ts';
import type { AppointmentStore } from '../../ports/appointments/appointment-store.ts';
import { DatabaseError } from '../../ports/database.ts';
import type { BeginSaga } from '../../ports/saga-journal.ts';
import type { Log } from '../../ports/system.ts';
import {
  IdempotencyConflictError,
  NoOrganizationError,
  OperationPendingError,
  RateLimitedError,
  SlotUnavailableError,
  UnavailableError,
} from '../errors.ts';
import { Appointments } from './change.ts';

const NOW = '2026-11-26T08:00:00Z';
const rules = {
  ...{ timeZone: 'UTC', slotMinutes: 30, capacity: 1, leadMinutes: 0, bufferMinutes: 0, revision: 4 },
  hours: [{ weekday: 1, opens: '09:00', closes: '17:00' }],
};
const caller = { orgId: 'organization', userId: 'user' };
const input = { startsAt: new Date('2026-11-30T09:00:00Z'), customerName: 'Anna' };

const thrown = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error);

/** The database answers one after the other; the last one again and again. */
function appointments(...answers: (Awaited<ReturnType<AppointmentStore['begin']>> | Error)[]) {
  const requests: (BeginSaga & object)[] = [];
  const sagaIds: string[] = [];
  const counted: string[] = [];
  const slept: number[] = [];
  const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  const store = {
    rules: async () => ({ now: NOW, rules }),
    begin: async (_orgId, sagaId, _owner, request) => {
      requests.push(request);
      sagaIds.push(sagaId);
      const answer = answers[Math.min(requests.length, answers.length) - 1];
      if (answer === undefined || answer instanceof Error) throw answer;
      return answer;
    },
  } as Partial<AppointmentStore> as AppointmentStore;
  let ids = 0;
  const service = new Appointments({
    ...{ store, log, owner: 'this process', admission: { savesPerMinute: 7 } as Admission },
    clock: { now: () => 0, monotonic: () => 0, sleep: async (ms) => void slept.push(ms) },
    ids: {
      uuid: () => {
        ids += 1;
        return `id ${ids}`;
      },
    },
    databaseTime: () => Date.parse(NOW),
    meter: { count: (event) => void counted.push(event) },
  });
  return { service, requests, sagaIds, counted, slept };
}

describe('a change of a user', () => {
  test('counts toward what an organization may begin in a minute, and begins in time or never', async () => {
    const { service, requests, counted } = appointments({ outcome: 'RATE_LIMITED', retryAfterMs: 5 });
    const error = await thrown(service.create(caller, input));
    expect(error).toBeInstanceOf(RateLimitedError);
    expect(error).toMatchObject({ retryAfterMs: 5 });
    expect(requests).toMatchObject([
      {
        limit: { saves: 7, perMs: 60_000 },
        actor: 'user',
        notAfter: '2026-11-26T08:00:04.000Z',
        rulesRevision: 4,
      },
    ]);
    expect(counted).toEqual(['appointment.failed']);
  });

  test('is asked for again under the same id if the answer is lost, and is pending if no answer comes', async () => {
    const lost = appointments(new DatabaseError('ECONNRESET', true));
    const error = await thrown(lost.service.create(caller, input));
    expect(error).toBeInstanceOf(OperationPendingError);
    expect(error).toMatchObject({ operation: { id: 'id 2', status: 'APPLYING' } });
    expect(lost.sagaIds).toEqual(['id 2', 'id 2', 'id 2']);
    expect(lost.slept).toEqual([100, 200]);
    const away = appointments(new DatabaseError('ECONNREFUSED', false));
    const id = '00000000-0000-4000-8000-000000000001';
    expect(await thrown(away.service.cancel(caller, { id }))).toBeInstanceOf(UnavailableError);
  });

  test('is computed again when the rules change meanwhile, but not for ever', async () => {
    const { service, requests } = appointments({ outcome: 'RULES_CHANGED' });
    expect(await thrown(service.create(caller, input))).toBeInstanceOf(UnavailableError);
    expect(requests).toHaveLength(3);
  });

  test.each([
    [{ outcome: 'NO_ORGANIZATION' as const }, NoOrganizationError],
    [{ outcome: 'TOO_LATE' as const }, UnavailableError],
    [{ outcome: 'IDEMPOTENCY_CONFLICT' as const, sagaId: 'other' }, IdempotencyConflictError],
    [{ outcome: 'UNAVAILABLE' as const, problem: 'A_NEW_ONE', alternatives: [] }, SlotUnavailableError],
  ])('that the database answers with %j throws the error of that name', async (answer, kind) => {
    expect(await thrown(appointments(answer).service.create(caller, input))).toBeInstanceOf(kind);
  });
});
