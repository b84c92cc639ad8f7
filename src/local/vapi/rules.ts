/**
 * Rules for a JSON value, as data. The check below applies them, and a test compares them with Vapi's own
 * description of its API. The messages have Vapi's wording (docs/vapi.md#message-paths).
 */

export type Rule =
  | { readonly is: 'any' }
  | { readonly is: 'boolean' }
  | { readonly is: 'number'; readonly min?: number | undefined; readonly max?: number | undefined }
  | {
      readonly is: 'string';
      readonly min?: number | undefined;
      readonly max?: number | undefined;
      readonly oneOf?: readonly string[] | undefined;
      readonly nullable?: true | undefined;
      readonly url?: true | undefined;
    }
  | { readonly is: 'list'; readonly of: Rule }
  /** An object with any content. */
  | { readonly is: 'free' }
  | Shape
  /** Objects that are distinguished by the value of one key. */
  | Tagged
  /** Any of these. The first of the right type provides the messages. */
  | { readonly is: 'either'; readonly rules: readonly Rule[] };

export interface Shape {
  readonly is: 'shape';
  readonly keys: Rules;
  readonly required: readonly string[];
}
export interface Tagged {
  readonly is: 'tagged';
  readonly tag: string;
  readonly cases: Readonly<Record<string, Shape>>;
}
export type Rules = Readonly<Record<string, Rule>>;

export const any: Rule = { is: 'any' };
export const bool: Rule = { is: 'boolean' };
export const free: Rule = { is: 'free' };
export const text: Rule = { is: 'string' };
export const url: Rule = { is: 'string', url: true };
export const num = (min?: number, max?: number): Rule => ({ is: 'number', min, max });
export const str = (max?: number, min?: number): Rule => ({ is: 'string', min, max });
export const oneOf = (...values: string[]): Rule => ({ is: 'string', oneOf: values });
export const list = (of: Rule): Rule => ({ is: 'list', of });
export const either = (...rules: Rule[]): Rule => ({ is: 'either', rules });
/** Keys that end in `!` are required. */
export function shape(keys: Rules): Shape {
  const required = Object.keys(keys).filter((key) => key.endsWith('!'));
  return {
    is: 'shape',
    keys: Object.fromEntries(Object.entries(keys).map(([key, rule]) => [key.replace(/!$/, ''), rule])),
    required: required.map((key) => key.slice(0, -1)),
  };
}
/** Each case gets the tag itself as a required key. */
export function tagged(tag: string, cases: Readonly<Record<string, Rules>>): Tagged {
  const shapes = Object.entries(cases).map(([value, keys]) => [
    value,
    shape({ [`${tag}!`]: oneOf(value), ...keys }),
  ]);
  return { is: 'tagged', tag, cases: Object.fromEntries(shapes) };
}

/** Adds every problem of `value` to `problems`. `at` is its position: the path of its owner, and its own name. */
function check(rule: Rule, value: unknown, at: { owner: string; name: string }, problems: string[]): void {
  const complain = (message: string) => problems.push(`${at.owner}${at.name} ${message}`);
  switch (rule.is) {
    case 'any':
      return;
    case 'boolean':
      if (typeof value !== 'boolean') complain('must be a boolean value');
      return;
    case 'number':
      if (typeof value !== 'number')
        return void complain('must be a number conforming to the specified constraints');
      if (rule.min !== undefined && value < rule.min) complain(`must not be less than ${rule.min}`);
      if (rule.max !== undefined && value > rule.max) complain(`must not be greater than ${rule.max}`);
      return;
    case 'string':
      if (value === null && rule.nullable) return;
      if (rule.oneOf && !rule.oneOf.includes(value as string)) {
        return void complain(`must be one of the following values: ${rule.oneOf.join(', ')}`);
      }
      if (typeof value !== 'string') return void complain('must be a string');
      if (rule.max !== undefined && value.length > rule.max) {
        complain(`must be shorter than or equal to ${rule.max} characters`);
      }
      if (rule.min !== undefined && value.length < rule.min) {
        complain(`must be longer than or equal to ${rule.min} characters`);
      }
      if (rule.url && !URL.canParse(value)) complain('must be a URL address');
      return;
    case 'list': {
      if (!Array.isArray(value)) return void complain('must be an array');
      const nested = !['string', 'number', 'boolean'].includes(rule.of.is);
      // Plain members share one message, as in Vapi's framework. Messages about objects have their index.
      const found = new Set<string>();
      value.forEach((item, index) => {
        const own: string[] = [];
        if (nested) check(rule.of, item, { owner: `${at.owner}${at.name}.`, name: String(index) }, own);
        else check(rule.of, item, { owner: `${at.owner}each value in `, name: at.name }, own);
        for (const problem of own) found.add(problem);
      });
      problems.push(...found);
      return;
    }
    case 'free':
      if (!isObject(value)) complain('must be an object');
      return;
    case 'shape':
      if (isObject(value)) checkShape(rule, value, `${at.owner}${at.name}.`, problems);
      else complain('must be an object');
      return;
    case 'tagged':
      if (isObject(value)) checkTagged(rule, value, `${at.owner}${at.name}.`, problems);
      else complain('must be an object');
      return;
    case 'either': {
      const passes = (option: Rule) => {
        const own: string[] = [];
        check(option, value, at, own);
        return own.length === 0;
      };
      if (rule.rules.some(passes)) return;
      const meant = rule.rules.find((option) => hasType(option, value)) ?? rule.rules[0];
      if (meant) check(meant, value, at, problems);
    }
  }
}

/** `owner` is empty, or ends in a dot. */
function checkShape(
  { keys, required }: Shape,
  value: Record<string, unknown>,
  owner: string,
  problems: string[],
): void {
  for (const key of Object.keys(value)) {
    if (!Object.hasOwn(keys, key)) problems.push(`${owner}property ${key} should not exist`);
  }
  for (const [name, rule] of Object.entries(keys)) {
    if (Object.hasOwn(value, name)) check(rule, value[name], { owner, name }, problems);
    else if (required.includes(name)) check(rule, undefined, { owner, name }, problems);
  }
}

function checkTagged(rule: Tagged, value: Record<string, unknown>, owner: string, problems: string[]): void {
  const tag = value[rule.tag];
  const found = caseOf(rule, tag);
  if (found) checkShape(found, value, owner, problems);
  else check(oneOf(...Object.keys(rule.cases)), tag, { owner, name: rule.tag }, problems);
}

export function caseOf({ cases }: Tagged, tag: unknown): Shape | undefined {
  return typeof tag === 'string' && Object.hasOwn(cases, tag) ? cases[tag] : undefined;
}

/** Every problem of a body; an empty list means that it is accepted. */
export function bodyProblems(rule: Shape | Tagged, body: Record<string, unknown>): string[] {
  const problems: string[] = [];
  if (rule.is === 'tagged') checkTagged(rule, body, '', problems);
  else checkShape(rule, body, '', problems);
  return problems;
}

/**
 * The body without the top-level fields that null unsets (docs/vapi.md#null-unsets). Nobody knows whether Vapi accepts null deeper,
 * so it stays there and is refused: a client must not depend on it.
 */
export function withoutNulls<Body extends Record<string, unknown>>(
  { keys }: Shape,
  body: Body,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(body).filter(([name, value]) => value !== null || !Object.hasOwn(keys, name)),
  );
}

function hasType(rule: Rule, value: unknown): boolean {
  if (Array.isArray(value)) return rule.is === 'list';
  if (isObject(value)) return rule.is === 'shape' || rule.is === 'tagged' || rule.is === 'free';
  return rule.is === typeof value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
