/** Lets nobody pass until `n` have come; then everybody. */
export function barrier(n: number): () => Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let arrived = 0;
  return () => {
    arrived += 1;
    if (arrived === n) resolve();
    return promise;
  };
}

/** A point that something reaches and stays at, until it is let go: the middle of a save, for a test to act in. */
export function gate() {
  const reached = Promise.withResolvers<void>();
  const opened = Promise.withResolvers<void>();
  return {
    /** For a `hold` fault. */
    until: () => {
      reached.resolve();
      return opened.promise;
    },
    reached: reached.promise,
    open: () => opened.resolve(),
  };
}
