import { type Field, Layout, Numbers, StateSet } from './states.ts';

/** Breadth first through everything that a world allows: the first violation found is one with the fewest steps. */

export interface Exploration {
  name: string;
  states: number;
  steps: number;
  /** States in which nothing more happens unless somebody asks for something or something goes wrong. */
  terminals: number;
  violation: { problem: string; trace: string[] } | null;
  /** All states were seen. */
  complete: boolean;
}

export interface Limits {
  /** Stop, incomplete, at so many states. */
  states?: number;
}

/** One step: `good` if nothing is wrong with it; a world of only such steps must come to rest. */
export type Emit = (good: boolean, kind: string, who: number, part: number, what: string) => void;

/** What can be explored: states of small numbers, the steps from each, and what must never be true of one. */
export interface Explorable {
  /** `without`: the safeguard that is switched off. */
  readonly scope: { readonly name: string; readonly without?: string };
  readonly fields: readonly Field[];
  initial(): Uint8Array;
  /** Emits every step from this state; `next` is the state after the last emitted one. */
  expand(state: Uint8Array, emit: Emit): void;
  readonly next: Uint8Array;
  /** What is wrong with a state; null: nothing. */
  problem(state: Uint8Array): string | null;
  isAtRest(state: Uint8Array): boolean;
  /** A step in words. */
  tell(kind: string, who: number, part: number, what: string): string;
}

export function explore(world: Explorable, limits: Limits = {}): Exploration {
  const layout = new Layout(world.fields);
  const set = new StateSet(layout.words);
  const f = new Uint8Array(layout.size);
  const packed = new Uint32Array(layout.words);
  // Good steps only, as (from, to): a world of those must come to rest.
  const from = new Numbers();
  const to = new Numbers();
  let steps = 0;
  let terminals = 0;
  let bad = -1;
  let problem: string | null = null;
  let current = -1;
  let goodSteps = 0;
  // Without a safeguard it is divergence that is looked for, and not whether everything ends.
  const mustEnd = world.scope.without === undefined;

  const see = (state: Uint8Array, parent: number): number => {
    layout.pack(state, packed);
    const index = set.add(packed, parent);
    if (index < 0) return -index - 1;
    const found = world.problem(state);
    if (found !== null && problem === null) {
      problem = found;
      bad = index;
    }
    return index;
  };
  see(world.initial(), -1);

  for (current = 0; current < set.count && problem === null; current += 1) {
    if (limits.states !== undefined && set.count > limits.states) {
      return result(false);
    }
    layout.unpack(set.states, current * layout.words, f);
    goodSteps = 0;
    world.expand(f, (good) => {
      steps += 1;
      const next = see(world.next, current);
      if (good && next !== current) {
        goodSteps += 1;
        from.push(current);
        to.push(next);
      }
    });
    if (goodSteps === 0) {
      terminals += 1;
      if (mustEnd && !world.isAtRest(f) && problem === null) {
        problem = 'nothing more can happen, and it is not at rest';
        bad = current;
      }
    }
  }
  if (problem === null && mustEnd) {
    const stuck = onCycle(set.count, from, to);
    if (stuck >= 0) {
      problem = 'it may go round in circles for ever, though nothing goes wrong any more';
      bad = stuck;
    }
  }
  return result(problem === null);

  function result(complete: boolean): Exploration {
    return {
      name: world.scope.name,
      states: set.count,
      steps,
      terminals,
      violation: problem === null ? null : { problem, trace: trace(bad) },
      complete,
    };
  }

  /** The steps from the beginning to a state, in words: each is found again by expanding its parent. */
  function trace(index: number): string[] {
    const path: number[] = [];
    for (let at = index; at >= 0; at = set.parent(at)) path.unshift(at);
    const told: string[] = [];
    for (const [position, at] of path.entries()) {
      const next = path[position + 1];
      if (next === undefined) break;
      layout.unpack(set.states, at * layout.words, f);
      let words: string | null = null;
      world.expand(f, (_good, kind, who, agent, what) => {
        if (words !== null) return;
        layout.pack(world.next, packed);
        for (let word = 0; word < layout.words; word += 1)
          if (packed[word] !== set.states[next * layout.words + word]) return;
        words = world.tell(kind, who, agent, what);
      });
      told.push(words ?? '?');
    }
    return told;
  }
}

/** A state on a cycle of these steps, or -1: what cannot be taken away layer by layer from the ends goes round. */
function onCycle(states: number, from: Numbers, to: Numbers): number {
  const out = new Int32Array(states);
  const head = new Int32Array(states).fill(-1);
  const link = new Int32Array(from.length);
  for (let step = 0; step < from.length; step += 1) {
    const start = from.at(step);
    const end = to.at(step);
    out[start] = (out[start] as number) + 1;
    link[step] = head[end] as number;
    head[end] = step;
  }
  const ready = new Int32Array(states);
  let count = 0;
  for (let state = 0; state < states; state += 1) {
    if (out[state] === 0) {
      ready[count] = state;
      count += 1;
    }
  }
  for (let index = 0; index < count; index += 1) {
    for (let step = head[ready[index] as number] as number; step >= 0; step = link[step] as number) {
      const start = from.at(step);
      out[start] = (out[start] as number) - 1;
      if (out[start] === 0) {
        ready[count] = start;
        count += 1;
      }
    }
  }
  if (count === states) return -1;
  for (let state = 0; state < states; state += 1) if ((out[state] as number) > 0) return state;
  return -1;
}
