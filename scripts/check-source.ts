/**
 * Rules about our own source that no off-the-shelf linter has: what the master key and the service client may meet, where a
 * secret may be revealed, and that what is to be replayed from a seed reads no clock, no chance and no environment.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import ts from 'typescript';

export interface SourceText {
  /** From the repository's root, with forward slashes. */
  path: string;
  text: string;
}

export interface Finding {
  rule: 'executor-only' | 'reveal' | 'replayable';
  path: string;
  line: number;
  message: string;
}

/** The only function that may be given these members of the context, and as which argument. */
const EXECUTOR = 'executeTransactionalAgentUpdate';
const EXECUTOR_ARGUMENTS: ReadonlyMap<string, number> = new Map([
  ['serviceClient', 0],
  ['vapiApiKey', 2],
]);
/** Where the context is made. */
const CONTEXT = 'src/context.ts';

/** Who takes a secret's value out, and what for. Whoever else does is refused; so is an entry that no longer does. */
export const MAY_REVEAL: ReadonlyMap<string, string> = new Map([
  ['src/server/webhook.ts', 'compares what signed an event'],
  ['src/adapters/supabase/auth.ts', 'checks HS256 signatures'],
  ['src/adapters/supabase/clients.ts', 'hands the service key to supabase-js'],
  ['src/adapters/system/logger.ts', 'knows what to cut out of a log line'],
  ['src/adapters/vapi/got-voice-provider.ts', 'sets the authorization header'],
  [
    'src/services/phone-numbers/participant.ts',
    "puts the carrier's token into the one request that needs it",
  ],
  ['src/local/embedded.ts', 'tells the Vapi stand-in which key to accept'],
]);

/** What a seed must be able to decide lives here. */
const REPLAYABLE = /^src\/(domain|ports|services)\//;
/** Globals that read a clock, chance or the process, and those by which one gets at them. */
const WORLD = new Set([
  'performance',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'clearTimeout',
  'clearInterval',
  'queueMicrotask',
  'crypto',
  'process',
  'globalThis',
  'global',
  'fetch',
  'console',
]);
/** Of node:crypto, only what gives the same for the same. */
const PURE_CRYPTO = new Set(['createHash', 'createHmac', 'timingSafeEqual']);

/** Every breach in these files. Tests are free. */
export function checkSource(files: readonly SourceText[]): Finding[] {
  const product = files.filter(({ path }) => path.startsWith('src/') && !path.endsWith('.test.ts'));
  return product.flatMap(({ path, text }) => {
    const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.TS);
    const found: Finding[] = [];
    let reveals = 0;
    const report = (rule: Finding['rule'], node: ts.Node, message: string) => {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
      found.push({ rule, path, line: line + 1, message });
    };
    const visit = (node: ts.Node): void => {
      const name = memberRead(node);
      if (name === 'reveal') {
        reveals += 1;
        if (!MAY_REVEAL.has(path)) report('reveal', node, 'a secret is revealed where none may be');
      }
      if (name !== undefined && EXECUTOR_ARGUMENTS.has(name) && !mayPass(node, name, path)) {
        report(
          'executor-only',
          node,
          `${name} may only be argument ${EXECUTOR_ARGUMENTS.get(name)} of ${EXECUTOR}`,
        );
      }
      // A name that is computed, or a rest that takes along whatever is left, could be either of them.
      if (isComputedOfContext(node))
        report('executor-only', node, 'a member of the context is read by a computed name');
      if (REPLAYABLE.test(path)) {
        const message = readsTheWorld(node);
        if (message !== undefined) report('replayable', node, message);
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
    if (reveals === 0 && MAY_REVEAL.has(path)) {
      report('reveal', source, 'reveals no secret any more: take it off the list');
    }
    return found;
  });
}

/** The member that this node takes out of an object: `a.name`, `a['name']`, `{ name } = a`, `{ name: b } = a`. */
function memberRead(node: ts.Node): string | undefined {
  if (ts.isPropertyAccessExpression(node)) return node.name.text;
  if (ts.isElementAccessExpression(node)) {
    return ts.isStringLiteralLike(node.argumentExpression) ? node.argumentExpression.text : undefined;
  }
  if (ts.isBindingElement(node) && ts.isObjectBindingPattern(node.parent)) {
    const name = node.propertyName ?? node.name;
    return ts.isIdentifier(name) || ts.isStringLiteralLike(name) ? name.text : undefined;
  }
  return undefined;
}

function mayPass(node: ts.Node, name: string, path: string): boolean {
  const { parent } = node;
  if (
    ts.isCallExpression(parent) &&
    ts.isIdentifier(parent.expression) &&
    parent.expression.text === EXECUTOR
  ) {
    return parent.arguments.indexOf(node as ts.Expression) === EXECUTOR_ARGUMENTS.get(name);
  }
  // The factory takes them from its dependencies and puts them into the context under the same name.
  return (
    path === CONTEXT &&
    ts.isPropertyAssignment(parent) &&
    parent.name.getText() === name &&
    parent.initializer === node
  );
}

function isComputedOfContext(node: ts.Node): boolean {
  const isContext = (expression: ts.Expression | undefined) =>
    expression !== undefined && ts.isIdentifier(expression) && /^(context|ctx)$/.test(expression.text);
  if (ts.isElementAccessExpression(node)) {
    return isContext(node.expression) && !ts.isStringLiteralLike(node.argumentExpression);
  }
  if (ts.isSpreadAssignment(node)) return isContext(node.expression);
  return (
    ts.isBindingElement(node) &&
    node.dotDotDotToken !== undefined &&
    ts.isVariableDeclaration(node.parent.parent) &&
    isContext(node.parent.parent.initializer)
  );
}

function readsTheWorld(node: ts.Node): string | undefined {
  if (ts.isImportDeclaration(node)) return importsTheWorld(node);
  if (!ts.isIdentifier(node) || !isValue(node)) return undefined;
  const { parent } = node;
  const member =
    ts.isPropertyAccessExpression(parent) && parent.expression === node ? parent.name.text : undefined;
  switch (node.text) {
    case 'Date':
      if (member === 'parse' || member === 'UTC') return undefined;
      // `new Date(x)` is a conversion; `new Date()` and `Date()` read the clock.
      if (ts.isNewExpression(parent) && parent.expression === node && (parent.arguments?.length ?? 0) > 0)
        return undefined;
      if (ts.isBinaryExpression(parent) && parent.operatorToken.kind === ts.SyntaxKind.InstanceOfKeyword)
        return undefined;
      return 'the time comes from the port Clock';
    case 'Math':
      return member !== undefined && member !== 'random' ? undefined : 'chance comes from the port Random';
    case 'Temporal':
      // The rest of it is arithmetic.
      return member !== undefined && member !== 'Now' ? undefined : 'the time comes from the port Clock';
    default:
      return WORLD.has(node.text)
        ? `${node.text} is the world's; what is needed of it is a port's`
        : undefined;
  }
}

function importsTheWorld(node: ts.ImportDeclaration): string | undefined {
  if (!ts.isStringLiteral(node.moduleSpecifier) || !/^(node:)?crypto$/.test(node.moduleSpecifier.text))
    return undefined;
  const bindings = node.importClause?.namedBindings;
  if (bindings === undefined || !ts.isNamedImports(bindings))
    return 'of node:crypto only named functions are imported';
  const impure = bindings.elements
    .map((one) => (one.propertyName ?? one.name).text)
    .filter((name) => !PURE_CRYPTO.has(name));
  return impure.length === 0
    ? undefined
    : `${impure.join(', ')} of node:crypto: chance comes from the ports Ids and Random`;
}

/** A use of a name as a value: no declaration, no key, no member, no type. */
function isValue(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node;
  if (ts.isPropertyAssignment(parent) || ts.isBindingElement(parent) || ts.isParameter(parent)) {
    return parent.initializer === node;
  }
  if (ts.isVariableDeclaration(parent)) return parent.initializer === node;
  return !(
    ts.isTypeNode(parent) ||
    ts.isQualifiedName(parent) ||
    ts.isPropertySignature(parent) ||
    ts.isMethodSignature(parent) ||
    ts.isMethodDeclaration(parent) ||
    ts.isPropertyDeclaration(parent) ||
    ts.isImportSpecifier(parent) ||
    ts.isExportSpecifier(parent)
  );
}

/** The product's source, tests included. */
export async function readSource(root: string): Promise<SourceText[]> {
  const names = await readdir(join(root, 'src'), { recursive: true });
  const paths = names
    .filter((name) => name.endsWith('.ts'))
    .map((name) => `src/${name.replaceAll('\\', '/')}`);
  return Promise.all(
    paths.sort().map(async (path) => ({ path, text: await readFile(join(root, path), 'utf8') })),
  );
}

if (import.meta.main) {
  const files = await readSource(resolve(import.meta.dirname, '..'));
  const found = checkSource(files);
  for (const { rule, path, line, message } of found) console.error(`${path}:${line} ${rule}: ${message}`);
  if (found.length > 0) process.exitCode = 1;
  else console.log(`${files.length} files keep the rules of scripts/check-source.ts`);
}
