/** One result of a benchmark: a line of JSON on stdout. */
export interface Figure {
  name: string;
  value: number;
  unit: string;
  /** How often it was measured. */
  n?: number;
  /** 95th percentile, in the same unit. */
  p95?: number;
  /** What stands in for what, and whatever else one must know to read the figure. */
  note?: string;
}

export function report({ name, value, unit, n, p95, note }: Figure): void {
  const figures = { value: rounded(value), unit, n, p95: p95 === undefined ? undefined : rounded(p95) };
  console.log(JSON.stringify({ name, ...figures, note }));
}

/** Median and 95th percentile. */
export function distribution(samples: readonly number[]): { value: number; p95: number; n: number } {
  const sorted = samples.toSorted((a, b) => a - b);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return { value: at(0.5), p95: at(0.95), n: sorted.length };
}

/** Milliseconds that this takes. */
export async function timed<T>(work: () => Promise<T>): Promise<[ms: number, result: T]> {
  const start = performance.now();
  const result = await work();
  return [performance.now() - start, result];
}

/** Three significant digits: no more can be told from one run on one machine. */
function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

/** Text of this many characters, different for each number. */
export function prompt(characters: number, number: number): string {
  const sentence = `You answer the phone of practice ${number}. Be brief and kind, and never promise what you cannot keep. `;
  return sentence.repeat(Math.ceil(characters / sentence.length)).slice(0, characters);
}

/** What the prompts of every benchmark are as long as. */
export const PROMPT_CHARACTERS = 6_000;
