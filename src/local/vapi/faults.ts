/**
 * Faults that tests program into the stand-in.
 *
 * The stand-in checks them in the order in which they were added. All matching `latency` and `hold` faults add up. Of the others,
 * the first match applies. With `before`, the request has no effect, and not even its key is checked.
 * With `after`, the request is applied (or refused) as usual, but the client receives another answer.
 */
import { z } from 'zod';

const ms = z.number().min(0).max(3_600_000);
const reply = {
  status: z.int().min(400).max(599),
  /** A string is sent as plain text, anything else as JSON; absent: `{}`, as in a 429 of Vapi (docs/vapi.md#rate-limit). */
  body: z.json().default({}),
  headers: z.record(z.string(), z.string()).default({}),
};
const base = {
  /** The requests that the fault applies to. All given conditions must hold. */
  match: z
    .strictObject({
      method: z.string().optional(),
      /** Regular expression on path and query, such as `^/assistant/` or `^/file$`: faults apply to one resource by it. */
      path: z.union([z.instanceof(RegExp), z.string().transform(toRegExp)]).optional(),
      bodyIncludes: z.string().optional(),
      /** Receives the parsed body, the fields of a form, or text. In-process only. */
      body: z.custom<(body: unknown) => boolean>((value) => typeof value === 'function').optional(),
      /** Applies from the nth matching request on, counted from 1. */
      nth: z.int().min(1).default(1),
    })
    .prefault({}),
  /** How many requests the fault applies to. Over HTTP, the string 'Infinity' means no limit. */
  times: z
    .union([
      z.int().min(1),
      z.literal(Number.POSITIVE_INFINITY),
      z.literal('Infinity').transform(() => Number.POSITIVE_INFINITY),
    ])
    .default(1),
};

const faultSchema = z.discriminatedUnion('kind', [
  /** Waits, then applies and answers, even if the client has disconnected. */
  z.strictObject({ ...base, kind: z.literal('latency'), ms }),
  /** Waits until a promise settles: for tests that order events instead of timing them. In-process only. */
  z.strictObject({
    ...base,
    kind: z.literal('hold'),
    until: z.custom<() => Promise<unknown>>((value) => typeof value === 'function'),
  }),
  /** The socket is destroyed. */
  z.strictObject({ ...base, kind: z.literal('reset-before') }),
  z.strictObject({ ...base, kind: z.literal('reset-after') }),
  z.strictObject({ ...base, ...reply, kind: z.literal('status-before') }),
  z.strictObject({ ...base, ...reply, kind: z.literal('status-after') }),
  /** A gateway's HTML page with status 502. */
  z.strictObject({
    ...base,
    kind: z.literal('html-502'),
    when: z.enum(['before', 'after']).default('before'),
  }),
  /** 200 (or 201) with an empty body, after the effect. */
  z.strictObject({ ...base, kind: z.literal('empty-body') }),
  /** 200 (or 201) with truncated JSON, after the effect. */
  z.strictObject({ ...base, kind: z.literal('garbled-body') }),
  /** Sends the headers and half of the body, and the rest `ms` later, after the effect. */
  z.strictObject({ ...base, kind: z.literal('slow-body'), ms }),
  /** Never answers. The socket stays open until the client or `stop()` closes it. */
  z.strictObject({ ...base, kind: z.literal('hang-before') }),
  z.strictObject({ ...base, kind: z.literal('hang-after') }),
  /** A late write: the effect occurs `ms` after the request, and the client receives `answer` at once. */
  z.strictObject({
    ...base,
    kind: z.literal('late'),
    ms,
    /** A number is sent as an HTTP status with an HTML body. */
    answer: z.union([z.enum(['hang', 'reset']), z.int().min(400).max(599)]).default('hang'),
  }),
  /** Applies and returns other content than the request: the field at `path` becomes `value`, or is removed if there is none. */
  z.strictObject({
    ...base,
    kind: z.literal('wrong-body'),
    /** Dotted, such as `model.messages.0.content`. */
    path: z.string().min(1),
    value: z.json().optional(),
  }),
  /** 400 with these messages: a list as for a validation, or one string as for a policy. */
  z.strictObject({
    ...base,
    kind: z.literal('reject'),
    messages: z.union([z.string().min(1), z.array(z.string()).min(1)]),
  }),
]);

export type FaultInput = z.input<typeof faultSchema>;
type Fault = z.output<typeof faultSchema>;
export type FaultKind = Fault['kind'];
type Hold = Extract<Fault, { kind: 'hold' }>;
type Strike = Exclude<Fault, { kind: 'latency' | 'hold' }>;

/** The properties of a request that a fault can match. */
export interface FaultTarget {
  readonly method: string;
  readonly pathAndQuery: string;
  readonly text: string;
  readonly body: unknown;
}

interface Armed {
  readonly id: number;
  readonly fault: Fault;
  seen: number;
  left: number;
}

export class Faults {
  #armed: Armed[] = [];
  #lastId = 0;

  /** Returns the fault's id. Throws `ZodError` if the value is not a fault. */
  add(input: FaultInput): number {
    const fault = faultSchema.parse(input);
    this.#armed.push({ id: ++this.#lastId, fault, seen: 0, left: fault.times });
    return this.#lastId;
  }

  remove(id: number): void {
    this.#armed = this.#armed.filter((armed) => armed.id !== id);
  }

  clear(): void {
    this.#armed = [];
  }

  /** Faults that are not used up, in the order in which they are checked. */
  list(): { id: number; kind: FaultKind; left: number | 'Infinity'; seen: number }[] {
    return this.#armed.map(({ id, fault, left, seen }) => ({
      id,
      kind: fault.kind,
      left: Number.isFinite(left) ? left : 'Infinity',
      seen,
    }));
  }

  /** The faults that apply to this request. Counts one use of each. */
  take(target: FaultTarget): { delayMs: number; holds: Hold['until'][]; strike: Strike | undefined } {
    let delayMs = 0;
    const holds: Hold['until'][] = [];
    let strike: Strike | undefined;
    for (const armed of this.#armed) {
      const { fault } = armed;
      if (!matches(fault, target) || ++armed.seen < fault.match.nth) continue;
      if (strike && fault.kind !== 'latency' && fault.kind !== 'hold') continue;
      armed.left--;
      if (fault.kind === 'latency') delayMs += fault.ms;
      else if (fault.kind === 'hold') holds.push(fault.until);
      else strike = fault;
    }
    this.#armed = this.#armed.filter(({ left }) => left > 0);
    return { delayMs, holds, strike };
  }
}

function matches({ match }: Fault, { method, pathAndQuery, text, body }: FaultTarget): boolean {
  return (
    (match.method === undefined || match.method.toUpperCase() === method) &&
    // A RegExp with the g flag keeps its position; search() does not.
    (match.path === undefined || pathAndQuery.search(match.path) >= 0) &&
    (match.bodyIncludes === undefined || text.includes(match.bodyIncludes)) &&
    (match.body === undefined || match.body(body))
  );
}

function toRegExp(source: string, context: z.core.$RefinementCtx<string>): RegExp {
  try {
    return new RegExp(source);
  } catch {
    context.addIssue({ code: 'custom', message: 'not a regular expression' });
    return z.NEVER;
  }
}
