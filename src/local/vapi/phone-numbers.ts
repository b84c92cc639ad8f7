/**
 * Phone numbers as Vapi keeps them: a purchase (`provider: vapi`) is activated later, an import is active at once
 * (docs/vapi.md#phone-numbers). What nobody knows is in `settings.ts`.
 */
import type { Endpoint } from './endpoint.ts';
import { phoneNumberCreate, phoneNumberUpdate } from './fields/phone-number.ts';
import { isObject, type Json, type JsonObject } from './json.ts';
import {
  type Changes,
  type ListQuery,
  type Resource,
  ResourceStore,
  type StoreOptions,
} from './resource-store.ts';
import { bodyProblems, caseOf, withoutNulls } from './rules.ts';
import type { Settings } from './settings.ts';

export interface PhoneNumber extends Resource {
  readonly provider: string;
  readonly status: string;
}

const E164 = /^\+[1-9]\d{1,14}$/;
/** The exchange of numbers that are never assigned, so that nobody real is called. */
const EXCHANGE = '555';
const FIRST_LINE = 100;

export class PhoneNumberStore extends ResourceStore<PhoneNumber> {
  readonly #settings: () => Settings;

  constructor(settings: () => Settings, options: StoreOptions = {}) {
    super(options);
    this.#settings = settings;
  }

  /** The number of any Vapi organization that has these digits. */
  withDigits(digits: Json): PhoneNumber | undefined {
    return this.stored().find((number) => number['number'] === digits);
  }

  /** How many numbers this Vapi organization bought and has. */
  bought(orgId: string): number {
    return this.stored().filter((number) => number.orgId === orgId && number.provider === 'vapi').length;
  }

  protected override changes(current: PhoneNumber | undefined, fields: JsonObject): Changes {
    const status = fields['provider'] === 'vapi' ? 'activating' : 'active';
    const changed = { ...(current ? {} : { status }), ...super.changes(current, fields) };
    if (this.#settings().numberNull !== 'removes') return changed;
    return Object.fromEntries(Object.entries(changed).map(([name, value]) => [name, value ?? undefined]));
  }

  protected override due(number: PhoneNumber, now: number): Changes | undefined {
    const { numberActivation, numberActivationMs } = this.#settings();
    const isOver = now >= Date.parse(number.createdAt) + numberActivationMs;
    if (number.status !== 'activating' || !isOver) return undefined;
    const area = number['numberDesiredAreaCode'];
    switch (numberActivation) {
      case 'never':
        return undefined;
      case 'blocked':
        return { status: 'blocked' };
      case 'half-provisioned':
        return { status: 'active' };
      case 'active':
        if (typeof area === 'string') return { status: 'active', ...this.#assigned(number.id, area) };
    }
    return { status: 'active', sipUri: number['sipUri'] ?? `sip:${number.id}@sip.example.test` };
  }

  #assigned(id: string, area: string): Changes {
    let line = FIRST_LINE;
    const digits = () => `+1${area}${EXCHANGE}${String(line).padStart(4, '0')}`;
    while (this.withDigits(digits())) line++;
    // Not in the specification, and seen in real answers.
    return { number: digits(), providerResourceId: `PN${id.replaceAll('-', '')}` };
  }
}

export function phoneNumberEndpoint(
  store: PhoneNumberStore,
  settings: () => Settings,
  assistantExists: (orgId: string, id: string) => boolean,
): Endpoint<PhoneNumber> {
  const problemsOf = (rule: typeof phoneNumberCreate, body: JsonObject): string[] => {
    const shape = caseOf(rule, body['provider']);
    const nullable = shape !== undefined && settings().numberNull !== 'refused';
    const problems = bodyProblems(rule, nullable ? withoutNulls(shape, body) : body);
    const { number, numberE164CheckEnabled } = body;
    if (typeof number === 'string' && !E164.test(number) && numberE164CheckEnabled !== false) {
      problems.push(
        'number must be a valid phone number in the E.164 format. Hot tip, you may be missing the country code (Eg. US: +1).',
      );
    }
    return problems;
  };
  const badAssistant = (orgId: string, { assistantId }: JsonObject): string | undefined => {
    if (settings().unknownAssistantId === 'accepted' || typeof assistantId !== 'string') return undefined;
    return assistantExists(orgId, assistantId)
      ? undefined
      : `Couldn't Get Assistant. \`assistantId\` ${assistantId} Does Not Exist.`;
  };
  const taken = (orgId: string, digits: Json): string | undefined => {
    const other = store.withDigits(digits);
    if (other === undefined) return undefined;
    return other.orgId === orgId
      ? `Existing Phone Number ${other.id} Has Identical \`number\` ${digits}.`
      : `The number ${digits} is already in use.`;
  };

  return {
    noun: 'Phone Number',
    store,
    createProblems: (body) => problemsOf(phoneNumberCreate, body),
    patchProblems: (body, current) => {
      if (body['provider'] === undefined && settings().numberProviderInPatch === 'optional') {
        return current ? problemsOf(phoneNumberUpdate, { provider: current.provider, ...body }) : [];
      }
      return problemsOf(phoneNumberUpdate, body);
    },
    refuseCreate: (orgId, body) => {
      const { areaCodesWithoutStock, suggestedAreaCodes, freeNumbers, numbersNotAtCarrier } = settings();
      const { provider, number, numberDesiredAreaCode: area } = body;
      if (typeof area === 'string' && areaCodesWithoutStock.includes(area)) {
        return `This area code is currently not available. Hint: Try one of ${suggestedAreaCodes.join(', ')}.`;
      }
      // The wording is ours: nobody has published it.
      if (provider === 'vapi' && store.bought(orgId) >= freeNumbers) {
        return `You have reached the limit of ${freeNumbers} free phone numbers.`;
      }
      if (typeof number === 'string' && numbersNotAtCarrier.includes(number)) {
        return 'Number Not Found on Twilio. Hot tip, check the credentials and the number.';
      }
      return (number === undefined ? undefined : taken(orgId, number)) ?? badAssistant(orgId, body);
    },
    refusePatch: (current, body) => {
      const { provider = current.provider, number = null } = body;
      // The wording is ours.
      if (provider !== current.provider) return `provider of this phone number is ${current.provider}`;
      const isMoved = number !== null && number !== current['number'];
      return (isMoved ? taken(current.orgId, number) : undefined) ?? badAssistant(current.orgId, body);
    },
    shown: (resource) => {
      const { number, server } = resource;
      const { maskDigits, numberServerHeaders } = settings();
      const shown: Record<string, Json> = { ...resource };
      if (maskDigits && typeof number === 'string') {
        shown['number'] = `${number.slice(0, 4)}****${number.slice(-4)}`;
      }
      if (numberServerHeaders === 'hidden' && isObject(server)) {
        const { headers: _hidden, ...rest } = server;
        shown['server'] = rest;
      }
      return shown;
    },
  };
}

export interface NumberSearch extends ListQuery {
  readonly search?: string;
  /** From 1. */
  readonly page?: number;
  readonly sortOrder?: string;
}

/** `GET /v2/phone-number`: the search is partial and ignores case (docs/vapi.md#phone-number-search). */
export function searchNumbers(
  { store, shown }: Endpoint<PhoneNumber>,
  orgId: string,
  { search = '', page = 1, sortOrder = 'DESC', limit = 100, ...bounds }: NumberSearch,
): JsonObject {
  const found = store
    .list(orgId, { ...bounds, limit: Number.POSITIVE_INFINITY })
    .filter(({ name, number, sipUri }) =>
      [name, number, sipUri].some((text) =>
        String(text ?? '')
          .toLowerCase()
          .includes(search.toLowerCase()),
      ),
    );
  if (sortOrder === 'ASC') found.reverse();
  const results = found.slice((page - 1) * limit, page * limit);
  const totalPages = limit > 0 ? Math.ceil(found.length / limit) : 0;
  return {
    results: results.map((number) => shown?.(number) ?? number),
    metadata: {
      itemsPerPage: limit,
      totalItems: found.length,
      currentPage: page,
      totalPages,
      hasNextPage: page < totalPages,
      sortOrder,
    },
  };
}
