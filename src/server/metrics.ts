import { Counter, collectDefaultMetrics, Registry } from 'prom-client';

/** The process's metrics, in a registry of its own. No label holds an organization, an id or a word that a caller chose. */
export function createMetrics() {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const saves = new Counter({
    name: 'lockstep_saves_total',
    help: 'Saves by what their caller was told.',
    labelNames: ['outcome'] as const,
    registers: [registry],
  });
  return {
    saves,
    text: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  };
}
