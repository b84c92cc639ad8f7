import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DATABASE_TIMEOUT_MS, loadEnv } from '../../env.ts';
import { fitsLease, GUARD_MARGIN_MS, lateTimeMs, type SagaSettings, settingsProblems } from './settings.ts';

const SETTINGS: SagaSettings = {
  leaseMs: 17_000,
  deadlineMs: 120_000,
  answerMs: 12_000,
  lateMs: 22_000,
  requestTimeoutMs: 10_000,
};

const named = (settings: SagaSettings) => settingsProblems(settings).map(({ setting }) => setting);

describe('settings', () => {
  test('accepts the defaults', () => {
    const loaded = loadEnv({});
    expect('config' in loaded && settingsProblems(loaded.config.settings)).toEqual([]);
    expect('config' in loaded && loaded.config.settings).toEqual(SETTINGS);
  });

  test('the default lease has room for one request after the slowest answer of the database', () => {
    expect(fitsLease(DATABASE_TIMEOUT_MS + 999, SETTINGS)).toBe(true);
    expect(fitsLease(DATABASE_TIMEOUT_MS + 1_000, SETTINGS)).toBe(false);
  });

  test('refuses a lease that is not longer than one request and the margin', () => {
    const least = SETTINGS.requestTimeoutMs + GUARD_MARGIN_MS;
    expect(named({ ...SETTINGS, leaseMs: least + 1 })).toEqual([]);
    expect(named({ ...SETTINGS, leaseMs: least })).toEqual(['leaseMs']);
  });

  test('refuses a deadline that is not after the lease', () => {
    expect(named({ ...SETTINGS, deadlineMs: SETTINGS.leaseMs + 1 })).toEqual([]);
    expect(named({ ...SETTINGS, deadlineMs: SETTINGS.leaseMs })).toEqual(['deadlineMs']);
  });

  test('reports all problems together, each with its reason', () => {
    const problems = settingsProblems({ ...SETTINGS, leaseMs: 500, deadlineMs: 400 });
    expect(problems.map(({ setting }) => setting)).toEqual(['leaseMs', 'deadlineMs']);
    for (const { problem } of problems) expect(problem).toMatch(/^must be more than .+: .+/);
  });

  test('accepts a quarantine that is longer than the lease, because it is stored', () => {
    expect(named({ ...SETTINGS, lateMs: 10 * SETTINGS.deadlineMs })).toEqual([]);
  });

  test('the late time is the timeout of a request plus the time in which Vapi may still apply it', () => {
    expect(lateTimeMs(SETTINGS)).toBe(32_000);
  });

  test('accepted settings always leave room for one request, and for one lease before the deadline', () => {
    const ms = fc.integer({ min: 0, max: 86_400_000 });
    fc.assert(
      fc.property(ms, ms, ms, ms, (leaseMs, deadlineMs, requestTimeoutMs, lateMs) => {
        const settings = { ...SETTINGS, leaseMs, deadlineMs, requestTimeoutMs, lateMs };
        const works = requestTimeoutMs + GUARD_MARGIN_MS < leaseMs && leaseMs < deadlineMs;
        expect(settingsProblems(settings).length === 0).toBe(works);
      }),
    );
  });

  test('a request fits a lease only with its whole timeout and the margin', () => {
    const last = SETTINGS.leaseMs - SETTINGS.requestTimeoutMs - GUARD_MARGIN_MS;
    expect(fitsLease(last - 1, SETTINGS)).toBe(true);
    expect(fitsLease(last, SETTINGS)).toBe(false);
  });
});
