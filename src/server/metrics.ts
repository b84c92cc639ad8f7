import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Meter } from '../ports/telemetry.ts';

export interface Metrics {
  meter: Meter;
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
  return {
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
