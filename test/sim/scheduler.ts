/** Virtual time: events in the order of (time, sequence), and between two of them every promise that can go on goes on. */

export interface Timer {
  cancel(): void;
}

interface Event {
  at: number;
  seq: number;
  run: (() => void) | null;
}

export class Scheduler {
  /** Milliseconds since 1970. */
  now: number;
  readonly #heap: Event[] = [];
  #seq = 0;
  #woke = false;

  constructor(start: number) {
    this.now = start;
  }

  /** Not before now; of two at the same time, the first scheduled runs first. */
  at(time: number, run: () => void): Timer {
    const event: Event = { at: Math.max(time, this.now), seq: ++this.#seq, run };
    this.#push(event);
    return {
      cancel: () => {
        event.run = null;
      },
    };
  }

  /** To be called by whatever resolves a promise: the code that waits for it runs before the next event. */
  woke(): void {
    this.#woke = true;
  }

  /** Runs events until none is left before `end`, or until `stop` says so. Leaves `now` at `end` in the first case. */
  async runUntil(end: number, stop: () => boolean = () => false): Promise<void> {
    await settled();
    while (!stop()) {
      const next = this.#heap[0];
      if (next === undefined || next.at > end) {
        this.now = Math.max(this.now, end);
        return;
      }
      this.#pop();
      if (next.run === null) continue;
      this.now = next.at;
      next.run();
      if (this.#woke) {
        this.#woke = false;
        await settled();
      }
    }
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let index = heap.push(event) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !earlier(event, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      const left = heap[child];
      if (left === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && earlier(right, left)) child += 1;
      const least = heap[child];
      if (least === undefined || !earlier(least, last)) break;
      heap[index] = least;
      index = child;
    }
    heap[index] = last;
  }
}

function earlier(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.seq < b.seq);
}

/** A macrotask later: every promise that was resolved until now has run what waits for it. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
