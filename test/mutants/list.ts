import { ADMISSION } from './admission.ts';
import { APPOINTMENTS } from './appointments.ts';
import { COSTS } from './costs.ts';
import { DATABASE } from './database.ts';
import { EDGE } from './edge.ts';
import { KNOWLEDGE_BASE } from './knowledge-base.ts';
import { MAPPINGS } from './mapping.ts';
import { OUTSIDE } from './outside.ts';
import { PHONE_NUMBERS } from './phone-numbers.ts';
import type { Mutant } from './plant.ts';
import { RECONCILIATION } from './reconciliation.ts';
import { SAGA } from './saga.ts';
import { SAVES } from './saves.ts';

/**
 * Planted bugs. Each is one change of one file that a test must see; `npm run mutants` tries them (scripts/mutants.ts). Each
 * text must stand exactly once in its file, so a change of that place has to change its planted bug too.
 */
export const MUTANTS: readonly Mutant[] = [
  ...DATABASE,
  ...PHONE_NUMBERS,
  ...KNOWLEDGE_BASE,
  ...APPOINTMENTS,
  ...SAGA,
  ...MAPPINGS,
  ...SAVES,
  ...RECONCILIATION,
  ...ADMISSION,
  ...OUTSIDE,
  ...EDGE,
  ...COSTS,
];
