import { type Act, makePlan, type Plan } from './plan.ts';
import { type Run, simulate } from './simulate.ts';
import type { Planted } from './world.ts';

/**
 * The smallest plan that still breaks the same invariant: acts go one by one, then what is left of each is made simpler.
 * Everything else about the run comes from the seed, so a shrunk plan is told by the seed and the acts that it keeps.
 */
export async function shrink(
  failing: Run,
  planted?: Planted,
): Promise<{ run: Run; kept: number[]; tried: number }> {
  const invariant = failing.violation?.invariant;
  const whole = makePlan(failing.plan.seed).acts;
  let kept = whole.map((_, index) => index);
  let run = failing;
  let tried = 0;
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < kept.length; ) {
      const fewer = [...kept.slice(0, from), ...kept.slice(from + size)];
      const again = await simulate(keep(failing.plan.seed, fewer), planted === undefined ? {} : { planted });
      tried += 1;
      if (again.violation?.invariant === invariant) {
        kept = fewer;
        run = again;
        // What was needed with the others may not be needed any more.
        from = 0;
      } else {
        from += size;
      }
    }
  }
  const plan = keep(failing.plan.seed, kept);
  run = await simulate(plan, { keepLog: true, ...(planted === undefined ? {} : { planted }) });
  return { run, kept, tried };
}

/** The plan of a seed, with only these of its acts. */
export function keep(seed: number, kept: readonly number[]): Plan {
  const plan = makePlan(seed);
  return { ...plan, acts: kept.flatMap((index): Act[] => plan.acts.slice(index, index + 1)) };
}
