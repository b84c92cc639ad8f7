import { z } from 'zod';

/** The rules for input that features share. No message quotes a value that may be secret. */

/** One wrong value. `path` starts at the GraphQL argument, for example `input.inbound.voice.stability`. */
export interface ValidationIssue {
  path: string;
  message: string;
}

/** Text that JSON in Postgres can hold: no NUL, no half of a surrogate pair. */
const text = (max: number, what: string) =>
  z
    .string({
      error: (issue) =>
        issue.input === null
          ? `${what} cannot be null; leave it out to keep it as it is`
          : `${what} must be text`,
    })
    // zod's own max() counts code points; whether Vapi does is not documented, and the smaller reading is never refused.
    .refine((value) => value.length <= max, {
      error: (issue) => `${what} has ${String(issue.input).length} characters; at most ${max} are allowed`,
    })
    .refine((value) => value.isWellFormed() && !value.includes('\0'), {
      error: `${what} holds a character that cannot be stored (NUL or half of a surrogate pair)`,
    });

/** The same, and more than spaces. */
export const words = (max: number, what: string) =>
  text(max, what).refine((value) => value.trim() !== '', { error: `${what} cannot be empty` });

/** What makes a repeated request the same one. */
export const idempotencyKey = words(200, 'idempotencyKey');

export type Checked<T> = { input: T } | { issues: ValidationIssue[] };

/** The parsed input, or all its problems at once. Their paths begin with `input`. */
export function checked<T>(rule: z.ZodType<T>, input: unknown): Checked<T> {
  const parsed = rule.safeParse(input);
  if (parsed.success) return { input: parsed.data };
  const issues = parsed.error.issues.map(({ path, message }) => ({
    path: ['input', ...path].join('.'),
    message,
  }));
  return { issues };
}

/** Checks a key that comes without another input. */
export function checkIdempotencyKey(key: unknown): Checked<string | null> {
  const rule = z.object({ idempotencyKey: idempotencyKey.nullish() });
  const result = checked(rule, { idempotencyKey: key });
  return 'issues' in result ? result : { input: result.input.idempotencyKey ?? null };
}

/** Whether a text is a phone number in the form of E.164. */
export function isE164(value: string): boolean {
  return /^\+[1-9]\d{1,14}$/.test(value);
}
