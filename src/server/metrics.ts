import { Counter, collectDefaultMetrics, Registry } from 'prom-client';
import type { Meter } from '../ports/telemetry.ts';

/** The process's metrics, in a registry of its own. No label holds an organization, an id or a word that a caller chose. */
export function createMetrics(): { meter: Meter; text(): Promise<{ contentType: string; body: string }> } {
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
    text: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  };
}
