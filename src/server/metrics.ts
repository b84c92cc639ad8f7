import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { AGENTS } from '../domain/agents/save.ts';
import type { CallsWaiting } from '../ports/calls/call-store.ts';
import {
  COUNTED,
  type Meter,
  SAVE_ENDED_BY,
  SAVE_ENDINGS,
  SAVE_PHASES,
  type SaveMeter,
} from '../ports/telemetry.ts';
import { SAGA_KINDS } from '../services/saga-kinds.ts';

export interface Metrics {
  meter: Meter;
  saves: SaveMeter;
  /** A value that is read when somebody asks. */
  gauge(name: string, help: string, read: () => number): void;
  text(): Promise<{ contentType: string; body: string }>;
}

/** The process's metrics, in a registry of its own. No label holds an organization, an id or a word that a caller chose. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const events = new Counter({
    name: 'lockstep_events_total',
    help: 'What the saves, recovery and the sweep met, by event.',
    labelNames: ['event'] as const,
    registers: [registry],
  });
  const saves = new Counter({
    name: 'lockstep_saves_total',
    help: 'Answers about saves, and ends after the answer, by who saw it and how it ended.',
    labelNames: ['by', 'outcome'] as const,
    registers: [registry],
  });
  const operations = new Counter({
    name: 'lockstep_operations_total',
    help: 'As lockstep_saves_total, for every kind of saga, by kind.',
    labelNames: ['kind', 'by', 'outcome'] as const,
    registers: [registry],
  });
  const seconds = new Histogram({
    name: 'lockstep_save_phase_seconds',
    help: 'What saves spend their time on. The phase "total" is the whole save.',
    labelNames: ['phase'] as const,
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    registers: [registry],
  });
  // From the start: an increase from nothing to one is none that an alert could see.
  for (const event of COUNTED) events.inc({ event }, 0);
  for (const by of SAVE_ENDED_BY) {
    for (const outcome of SAVE_ENDINGS) {
      saves.inc({ by, outcome }, 0);
      for (const { name: kind } of SAGA_KINDS) operations.inc({ kind, by, outcome }, 0);
    }
  }
  for (const phase of [...SAVE_PHASES, 'total']) seconds.zero({ phase });
  return {
    saves: {
      ended: ({ saga, by, ending, totalMs, phases }) => {
        operations.inc({ kind: saga, by, outcome: ending });
        if (saga !== AGENTS) return;
        saves.inc({ by, outcome: ending });
        for (const [phase, ms] of phases) seconds.observe({ phase }, ms / 1_000);
        seconds.observe({ phase: 'total' }, totalMs / 1_000);
      },
    },
    meter: { count: (event, by = 1) => events.inc({ event }, by) },
    gauge: (name, help, read) => {
      new Gauge({
        name,
        help,
        registers: [registry],
        collect() {
          this.set(read());
        },
      });
    },
    text: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  };
}

/** Adds the gauges of the calls. */
export function addCallGauges({ gauge }: Metrics, waiting: () => CallsWaiting): void {
  gauge(
    'lockstep_call_events_pending',
    'Events of calls that are stored and not applied yet; counts to 1,000.',
    () => waiting().pending,
  );
  gauge(
    'lockstep_call_events_oldest_seconds',
    'Age of the oldest event that is not applied yet.',
    () => waiting().oldestMs / 1_000,
  );
  gauge(
    'lockstep_call_events_quarantined',
    'Events of calls that could not be applied; counts to 1,000.',
    () => waiting().quarantined,
  );
  gauge(
    'lockstep_calls_held',
    'Calls whose organization is not known yet; counts to 1,000.',
    () => waiting().held,
  );
  gauge(
    'lockstep_calls_held_oldest_seconds',
    'How long the oldest of these has been held.',
    () => waiting().heldOldestMs / 1_000,
  );
}

/** Adds the gauges of the rate limiter, if there is one, and of the cleanup. */
export function addGauges(
  { gauge }: Metrics,
  pacer: { state: { requestsPerSecond: number; waiting: number } } | undefined,
  cleanupAgeMs: () => number,
): void {
  if (pacer !== undefined) {
    const rate = 'Requests a second that this replica may send to Vapi now.';
    gauge('lockstep_vapi_requests_per_second', rate, () => pacer.state.requestsPerSecond);
    const waiting = 'Saves and requests that wait for their turn at Vapi.';
    gauge('lockstep_vapi_waiting', waiting, () => pacer.state.waiting);
  }
  const cleanup = 'Seconds since the last complete cleanup, or since the start if there was none.';
  gauge('lockstep_cleanup_age_seconds', cleanup, () => cleanupAgeMs() / 1_000);
}
