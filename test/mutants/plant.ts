/** A planted bug: one change of one file that a test must see. */
export interface Mutant {
  id: string;
  file: string;
  /** What goes wrong, in one sentence. */
  breaks: string;
  /** Must stand exactly once in the file. Short anchors survive more changes of the code around them. */
  find: string;
  replace: string;
  /** The tests that must fail. */
  tests: readonly string[];
}

export type Planted = readonly [id: string, breaks: string, find: string, replace: string];

export function plant(file: string, tests: readonly string[], planted: readonly Planted[]): Mutant[] {
  return planted.map(([id, breaks, find, replace]) => ({ id, file, breaks, find, replace, tests }));
}
