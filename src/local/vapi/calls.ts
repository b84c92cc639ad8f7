/**
 * Calls as Vapi keeps them, and the refusals of a call that cannot be made (docs/vapi.md#calls). `call-runner.ts` plays them.
 */
import type { Endpoint } from './endpoint.ts';
import { callCreate, callUpdate, webCallCreate } from './fields/call.ts';
import { isObject, type Json, type JsonObject } from './json.ts';
import { readListQuery } from './list-query.ts';
import type { PhoneNumber } from './phone-numbers.ts';
import { type Changes, type Resource, ResourceStore } from './resource-store.ts';
import { bodyProblems } from './rules.ts';
import type { Settings } from './settings.ts';

export interface Call extends Resource {
  readonly type: string;
  readonly status: string;
}

/** What the stand-in remembers of a call that it still has to play. It is in no answer. */
const PLAY = '$play';
const FILTERS = ['id', 'assistantId', 'phoneNumberId'];
const ON_A_LINE = new Set(['ringing', 'in-progress', 'forwarding']);
const E164 = /^\+[1-9]\d{1,14}$/;
const DAY_MS = 86_400_000;
const URL_LIFE_MS = 3_600_000;

export class CallStore extends ResourceStore<Call> {
  /** How many of the account's lines are in use, of all Vapi organizations. A browser call takes one when somebody joins. */
  linesInUse(): number {
    return this.stored().filter(isOnALine).length;
  }

  /** Calls that wait for a line, oldest first. */
  waiting(): Call[] {
    return this.stored().filter((call) => stateOf(call)['blocked'] === true);
  }

  /** How many calls this number has made since midnight UTC. */
  madeToday(phoneNumberId: string, now: number): number {
    const midnight = now - (now % DAY_MS);
    return this.stored().filter(
      (call) =>
        call['phoneNumberId'] === phoneNumberId &&
        call.type === 'outboundPhoneCall' &&
        Date.parse(call.createdAt) >= midnight,
    ).length;
  }

  /** Changes the call and what is remembered of it. */
  advance(id: string, changes: Changes, state?: JsonObject | null, quiet = false): Call | undefined {
    const current = this.find(id);
    if (!current) return undefined;
    const kept = state === null ? undefined : { ...stateOf(current), ...state };
    const isEmpty = kept === undefined || Object.keys(kept).length === 0;
    return this.amend(id, { ...changes, [PLAY]: isEmpty ? undefined : kept }, quiet);
  }
}

export function stateOf(call: Resource): JsonObject {
  const state = call[PLAY];
  return isObject(state) ? state : {};
}

function isOnALine(call: Call): boolean {
  const isDialled = call.status === 'queued' && call.type === 'outboundPhoneCall';
  return ON_A_LINE.has(call.status) || (isDialled && stateOf(call)['blocked'] !== true);
}

export interface CallContext {
  now(): number;
  settings(): Settings;
  assistantExists(orgId: string, id: string): boolean;
  phoneNumber(orgId: string, id: string): PhoneNumber | undefined;
  /** Called for every call that an API request made. */
  onCreated(call: Call): void;
}

export interface CallEndpoint extends Endpoint<Call> {
  webCallProblems(body: JsonObject): string[];
  refuseWebCall(orgId: string, body: JsonObject): string | undefined;
  /** The answer to `POST /call/web`. */
  createWebCall(orgId: string, body: JsonObject): JsonObject;
  shown(call: Resource): JsonObject;
  /** The call as a message carries it: with its content, even if no answer shows it (docs/vapi.md#call-content). */
  delivered(call: Resource): JsonObject;
}

export function callEndpoint(store: CallStore, context: CallContext): CallEndpoint {
  const { settings } = context;
  let links = 0;

  const limits = (blocked: boolean): JsonObject => {
    const { concurrencyLimit } = settings();
    const remaining = Math.max(0, concurrencyLimit - store.linesInUse());
    return {
      concurrencyBlocked: blocked,
      concurrencyLimit,
      remainingConcurrentCalls: remaining,
    };
  };

  const delivered = (call: Resource): JsonObject => {
    const { [PLAY]: _hidden, artifact, ...rest } = call;
    return isObject(artifact) ? { ...rest, artifact: withLinks(artifact) } : rest;
  };
  const shown = (call: Resource): JsonObject => {
    const known = delivered(call);
    if (!settings().zeroDataRetention) return known;
    const { artifact: _artifact, messages: _messages, analysis: _analysis, ...kept } = known;
    return kept;
  };
  /** Links to a recording are made for each answer, so two answers differ (docs/vapi.md#presigned-urls). */
  const withLinks = (artifact: JsonObject): JsonObject => {
    const { recordingUrl } = artifact;
    if (typeof recordingUrl !== 'string') return artifact;
    return {
      ...artifact,
      presignedMonoUrl: `${recordingUrl}?sig=${++links}`,
      presignedUrlsExpiresAt: new Date(context.now() + URL_LIFE_MS).toISOString(),
    };
  };

  /** The wording is ours, except for an unknown assistant. */
  const badSpeaker = (orgId: string, { assistantId, ...body }: JsonObject): string | undefined => {
    if (typeof assistantId === 'string') {
      return context.assistantExists(orgId, assistantId)
        ? undefined
        : `Couldn't Get Assistant. \`assistantId\` ${assistantId} Does Not Exist.`;
    }
    const has = ['assistant', 'squad', 'squadId', 'workflow', 'workflowId'].some((name) => name in body);
    return has ? undefined : "Couldn't Start Call. Need `assistantId`, `assistant`, `squadId` Or `squad`.";
  };

  const badNumber = (orgId: string, { phoneNumberId, ...body }: JsonObject): string | undefined => {
    const { freeNumberDailyCalls } = settings();
    // The wording of these three is ours.
    if (typeof phoneNumberId !== 'string') {
      return 'phoneNumber' in body
        ? undefined
        : "Couldn't Start Call. Need `phoneNumberId` Or `phoneNumber` For A Phone Call.";
    }
    const number = context.phoneNumber(orgId, phoneNumberId);
    if (!number) return `Couldn't Get Phone Number. \`phoneNumberId\` ${phoneNumberId} Does Not Exist.`;
    if (number.status !== 'active' || number['number'] === undefined) {
      return `Couldn't Start Call. Phone Number ${phoneNumberId} Is Not Active.`;
    }
    if (number.provider !== 'vapi') return undefined;
    if (customersOf(body).some(({ number: digits }) => !String(digits ?? '+1').startsWith('+1'))) {
      return 'Free Vapi numbers do not support international calls';
    }
    return store.madeToday(phoneNumberId, context.now()) >= freeNumberDailyCalls
      ? "Couldn't Start Call. Numbers Bought On Vapi Have A Daily Outbound Call Limit. Import Your Own Twilio Numbers To Scale Without Limits."
      : undefined;
  };

  /** Makes one outbound call. */
  const dial = (orgId: string, { customers: _all, ...body }: JsonObject, customer?: JsonObject) => {
    const { concurrencyLimit } = settings();
    const blocked = store.linesInUse() >= concurrencyLimit;
    const number = context.phoneNumber(orgId, String(body['phoneNumberId']));
    const call = store.create(orgId, {
      ...body,
      ...(customer ? { customer } : {}),
      ...carrierOf(number),
      type: 'outboundPhoneCall',
      status: isObject(body['schedulePlan']) ? 'scheduled' : 'queued',
      cost: 0,
      ...(blocked ? { [PLAY]: { blocked } } : {}),
    });
    const monitor = {
      listenUrl: `wss://monitor.example.test/${call.id}/listen`,
      controlUrl: `https://monitor.example.test/${call.id}/control`,
    };
    const kept = store.amend(call.id, { monitor }, true) ?? call;
    context.onCreated(kept);
    return { call: kept, blocked };
  };

  return {
    noun: 'Call',
    store,
    createProblems: (body) => [...bodyProblems(callCreate, body), ...badCustomers(body)],
    patchProblems: (body) => bodyProblems(callUpdate, body),
    refuseCreate: (orgId, body) => {
      const { concurrencyLimit, overConcurrency } = settings();
      // The wording is ours.
      if (customersOf(body).length === 0 && !('customerId' in body)) {
        return "Couldn't Start Call. Need `customer` Or `customers`.";
      }
      const isFull = overConcurrency === 'refused' && store.linesInUse() >= concurrencyLimit;
      return (
        badSpeaker(orgId, body) ?? badNumber(orgId, body) ?? (isFull ? 'Over Concurrency Limit' : undefined)
      );
    },
    create: (orgId, body) => {
      const { customers } = body;
      if (!Array.isArray(customers)) {
        const { call, blocked } = dial(orgId, body);
        return { ...shown(call), subscriptionLimits: limits(blocked) };
      }
      const made = customers.filter(isObject).map((customer) => dial(orgId, body, customer));
      return {
        results: made.map(({ call }) => shown(call)),
        errors: [],
        subscriptionLimits: limits(made.some(({ blocked }) => blocked)),
      };
    },
    list: (orgId, query) => {
      const filters = FILTERS.flatMap((name) => {
        const value = query.get(name);
        return value === null ? [] : [[name, value] as const];
      });
      const { query: bounds, problems } = readListQuery(
        new URLSearchParams([...query].filter(([name]) => !FILTERS.includes(name))),
      );
      if (problems.length > 0) return { problems };
      const { callRetentionDays } = settings();
      const oldest = callRetentionDays === null ? 0 : context.now() - callRetentionDays * DAY_MS;
      return store
        .list(orgId, { ...bounds, limit: Number.POSITIVE_INFINITY })
        .filter(
          (call) =>
            Date.parse(call.createdAt) >= oldest && filters.every(([name, value]) => call[name] === value),
        )
        .slice(0, bounds.limit ?? 100);
    },
    shown,
    delivered,
    webCallProblems: (body) => bodyProblems(webCallCreate, body),
    refuseWebCall: badSpeaker,
    createWebCall: (orgId, { roomDeleteOnUserLeaveEnabled: _room, ...body }) => {
      const call = store.create(orgId, {
        ...body,
        type: 'webCall',
        status: 'queued',
        cost: 0,
      });
      const webCallUrl = `https://web.example.test/${call.id}`;
      const transport = { provider: 'daily', conversationType: 'voice', callUrl: webCallUrl };
      const kept = store.amend(call.id, { transport }, true) ?? call;
      context.onCreated(kept);
      return { ...shown(kept), webCallUrl };
    },
  };
}

function customersOf({ customer, customers }: JsonObject): JsonObject[] {
  return [customer, ...(Array.isArray(customers) ? customers : [])].filter(isObject);
}

function badCustomers({ customer, customers }: JsonObject): string[] {
  const named: (readonly [string, Json | undefined])[] = [
    ['customer', customer],
    ...(Array.isArray(customers) ? customers.map((one, index) => [`customers.${index}`, one] as const) : []),
  ];
  return named.flatMap(([name, one]) => {
    if (!isObject(one) || typeof one['number'] !== 'string' || one['numberE164CheckEnabled'] === false)
      return [];
    return E164.test(one['number'])
      ? []
      : [
          `${name}.number must be a valid phone number in the E.164 format. Hot tip, you may be missing the country code (Eg. US: +1).`,
        ];
  });
}

/** How a call goes over this number, with the account of its carrier as in real answers. */
export function carrierOf(number: PhoneNumber | undefined): JsonObject {
  if (!number) return {};
  const isTwilio = number.provider === 'twilio';
  const known = ['twilio', 'vonage', 'telnyx'].includes(number.provider);
  return {
    phoneCallProvider: known ? number.provider : 'vapi',
    phoneCallTransport: known ? 'pstn' : 'sip',
    transport: {
      provider: known ? number.provider : 'vapi.sip',
      conversationType: 'voice',
      ...(isTwilio ? { accountSid: number['twilioAccountSid'] ?? null } : {}),
    },
  };
}
