import { readFileSync, writeFileSync } from 'node:fs';

const DOCUMENT = new URL('../../docs/correctness.md', import.meta.url);

/**
 * The figures that docs/correctness.md quotes under this name, between two comments that name it. Given the true ones, a test
 * sees whether they still stand there; with UPDATE_FIGURES=1 they do from then on.
 */
export function quoted(name: string, figures: readonly string[]): string[] {
  const [start, end] = [`<!-- ${name} -->\n`, `\n<!-- /${name} -->`];
  const text = readFileSync(DOCUMENT, 'utf8');
  const [from, to] = [text.indexOf(start) + start.length, text.indexOf(end)];
  if (from < start.length || to < from) throw new Error(`docs/correctness.md quotes no ${name}`);
  if (process.env['UPDATE_FIGURES'] === '1') {
    writeFileSync(DOCUMENT, `${text.slice(0, from)}${figures.join('\n')}${text.slice(to)}`);
    return [...figures];
  }
  return text.slice(from, to).split('\n');
}

/** Writes them there with UPDATE_FIGURES=1, and does nothing otherwise: tests assert invariants, and figures are generated. */
export function recordFigures(name: string, figures: readonly string[]): void {
  if (process.env['UPDATE_FIGURES'] === '1') quoted(name, figures);
}

/** A Markdown table, as lines. */
export function table(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): string[] {
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)];
}
