/** Asks the TypeScript compiler whether values, as they are at run time, have the types of Vapi's official SDK. */
import ts from 'typescript';

export interface Sample {
  readonly title: string;
  /** A type expression, for example `Vapi.Assistant`. */
  readonly type: string;
  readonly value: object;
  /** Top-level fields of the value that the SDK's type does not have, or does not have like this. They are left out of the check. */
  readonly beyond?: readonly string[];
}

const FILE = new URL('samples.generated.ts', import.meta.url).pathname;
const OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ESNext,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: ['node'],
};

/**
 * What the compiler says about each sample, in their order; an empty list means that its type fits. Each value is written into a program
 * as a literal, so that literal types such as a provider count, and a property that the type does not have is an error too.
 */
export function typeProblems(samples: readonly Sample[]): string[][] {
  const lines = samples.map(({ type, value, beyond = [] }, index) => {
    const kept = Object.entries(value).filter(([name]) => !beyond.includes(name));
    return `export const sample${index}: ${type} = ${JSON.stringify(Object.fromEntries(kept))};`;
  });
  const text = [`import type { Vapi } from '@vapi-ai/server-sdk';`, ...lines].join('\n');

  const host = ts.createCompilerHost(OPTIONS);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (path) => path === FILE || fileExists(path);
  host.readFile = (path) => (path === FILE ? text : readFile(path));
  host.getSourceFile = (path, ...rest) =>
    path === FILE
      ? ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true)
      : getSourceFile(path, ...rest);
  const program = ts.createProgram([FILE], OPTIONS, host);

  const problems = samples.map((): string[] => []);
  for (const { file, start = 0, messageText } of ts.getPreEmitDiagnostics(program)) {
    const message = ts.flattenDiagnosticMessageText(messageText, '\n');
    const line = file?.fileName === FILE ? file.getLineAndCharacterOfPosition(start).line - 1 : -1;
    const own = problems[line];
    // An SDK that cannot be found would otherwise make every type `any`.
    if (own === undefined) throw new Error(message);
    own.push(message);
  }
  return problems;
}
