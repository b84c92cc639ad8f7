/**
 * Plays calls: changes them, sends their messages and asks the tools. Its caller provides time and deliveries, so that the HTTP stand-in
 * and a deterministic simulation run the same code. What a call still has to play is kept with it, so a stand-in that was
 * killed goes on with it after its next start.
 */
import type { VapiAccount } from './account.ts';
import {
  type Envelope,
  envelope,
  heardOf,
  OUTCOMES,
  report,
  resolvedArguments,
  shaped,
  statusUpdate,
  type ToolCall,
  toolCalls,
  without,
} from './call-messages.ts';
import { analysisOf, artifactOf, costsOf } from './call-report.ts';
import {
  type CallFault,
  type CallScript,
  type CallScriptInput,
  type CallStep,
  callScript,
  type ToolCallStep,
} from './call-script.ts';
import { type Call, carrierOf, stateOf } from './calls.ts';
import { isObject, type Json, type JsonObject } from './json.ts';
import { chosenServer, type DeliveryAnswer } from './webhooks.ts';

export interface CallPorts {
  sleep(ms: number): Promise<void>;
  /** Sends a message. `onAttempted` is called after each attempt. */
  deliver(server: JsonObject, message: JsonObject, onAttempted: () => void): Promise<DeliveryAnswer>;
}

/** A tool call as it was asked and answered. */
export interface PlayedToolCall {
  readonly id: string;
  readonly name: string;
  readonly arguments: JsonObject;
  /** Null: the model heard "No result returned". */
  readonly answer: string | null;
}

export interface PlayedCall {
  readonly call: JsonObject;
  readonly toolCalls: readonly PlayedToolCall[];
}

/** A call while it is played. */
interface Playing {
  readonly id: string;
  readonly script: CallScript;
  readonly assistant: JsonObject | undefined;
  readonly messages: JsonObject[];
  readonly toolCalls: PlayedToolCall[];
  /** Messages that are sent after the end. */
  readonly held: (() => Promise<void>)[];
}

interface Line {
  readonly fill?: unknown;
  readonly otherwise?: string | undefined;
}

const NO_RESULT = 'No result returned';

export class CallRunner {
  readonly #account: VapiAccount;
  readonly #ports: CallPorts;
  readonly #running = new Map<string, Promise<PlayedCall>>();
  readonly #background = new Set<Promise<unknown>>();

  constructor(account: VapiAccount, ports: CallPorts) {
    this.#account = account;
    this.#ports = ports;
  }

  /** Dials a call that an API request made, if the settings say so. */
  created(call: Call): void {
    const { outboundCalls, outboundOutcome: outcome, outboundDelayMs } = this.#account.settings;
    if (call.type !== 'outboundPhoneCall' || outboundCalls === 'held') return;
    const script = callScript.parse({ callId: call.id, outcome });
    this.#begin(call, script, outboundDelayMs);
  }

  /** Starts to play a call, and returns its id. Throws for a script that cannot be played. */
  start(input: CallScriptInput): string {
    const script = callScript.parse(input);
    const call = script.callId === undefined ? this.#incoming(script) : this.#made(script.callId);
    this.#begin(call, script, 0);
    return call.id;
  }

  /** Plays a call to its end. Messages that are sent later are not waited for. */
  async play(input: CallScriptInput): Promise<PlayedCall> {
    return this.finished(this.start(input));
  }

  /** Resolves at the end of a call that is being played. */
  finished(id: string): Promise<PlayedCall> {
    return this.#running.get(id) ?? Promise.reject(new Error(`The stand-in does not play the call ${id}`));
  }

  /** What was said so far. */
  messages(id: string): readonly Json[] {
    const call = this.#account.callStore.find(id);
    const said = call && (stateOf(call)['messages'] ?? call['messages']);
    return Array.isArray(said) ? said : [];
  }

  /** Resolves when nothing is played and nothing is to be sent. */
  async idle(): Promise<void> {
    while (this.#running.size + this.#background.size > 0) {
      await Promise.allSettled([...this.#running.values(), ...this.#background]);
    }
  }

  /** Goes on with the calls that an earlier process was playing. */
  resume(): void {
    for (const call of this.#account.callStore.all()) {
      const { script, blocked } = stateOf(call);
      if (script !== undefined && blocked !== true && !this.#running.has(call.id)) this.#run(call.id, 0);
    }
    this.#dialWaiting();
  }

  #made(callId: string): Call {
    const call = this.#account.callStore.find(callId);
    if (!call) throw new Error(`The stand-in has no call ${callId}`);
    if (this.#running.has(callId) || !['queued', 'scheduled'].includes(call.status)) {
      throw new Error(`The call ${callId} is ${call.status} and cannot be played again`);
    }
    return call;
  }

  #incoming({ phoneNumberId, assistantId, customer }: CallScript): Call {
    const { assistants, phoneNumbers, callStore } = this.#account;
    const number =
      phoneNumberId === undefined
        ? phoneNumbers.all().find((one) => assistantId !== undefined && one['assistantId'] === assistantId)
        : phoneNumbers.find(phoneNumberId);
    if (phoneNumberId !== undefined && !number)
      throw new Error(`The stand-in has no number ${phoneNumberId}`);
    if (number) {
      const attached = number['assistantId'] ?? null;
      return callStore.create(number.orgId, {
        ...{ type: 'inboundPhoneCall', status: 'ringing', phoneNumberId: number.id, cost: 0 },
        ...(attached === null ? {} : { assistantId: attached }),
        ...(customer === null ? {} : { customer: plain(customer) }),
        ...carrierOf(number),
      });
    }
    const assistant = assistants.find(assistantId ?? '');
    if (!assistant) throw new Error('A call needs the id of an assistant or of a phone number');
    return callStore.create(assistant.orgId, {
      ...{ type: 'webCall', status: 'queued', assistantId: assistant.id, cost: 0 },
      transport: { provider: 'daily', conversationType: 'voice' },
    });
  }

  #begin(call: Call, script: CallScript, delayMs: number): void {
    this.#account.callStore.advance(call.id, {}, { script: plain(script), step: 0 }, true);
    if (stateOf(call)['blocked'] !== true) this.#run(call.id, delayMs);
    else if (this.#account.settings.overConcurrency === 'fails') this.#run(call.id, delayMs);
  }

  #run(id: string, delayMs: number): void {
    const run = this.#ports
      .sleep(delayMs)
      .then(() => this.#play(id))
      .finally(() => {
        this.#running.delete(id);
        this.#dialWaiting();
      });
    this.#running.set(id, run);
    // The run of a deleted call is rejected. `finished` reports that; without a caller it must not end the process.
    run.catch(() => {});
  }

  #dialWaiting(): void {
    const { callStore, settings } = this.#account;
    for (const call of callStore.waiting()) {
      const { id } = call;
      if (stateOf(call)['script'] === undefined) continue;
      if (callStore.linesInUse() >= settings.concurrencyLimit || this.#running.has(id)) return;
      callStore.advance(id, {}, { blocked: false }, true);
      this.#run(id, 0);
    }
  }

  async #play(id: string): Promise<PlayedCall> {
    const begun = this.#call(id);
    const script = callScript.parse(stateOf(begun)['script']);
    if (begun.status === 'scheduled') await this.#untilEarliest(begun);
    const { blocked, messages, toolCalls: asked } = stateOf(begun);
    if (blocked === true) {
      const refused = this.#playing(id, script, undefined);
      return this.#end(refused, 'call.start.error-subscription-concurrency-limit-reached');
    }
    const isOver = begun.status === 'ended';
    const found = isOver ? stateOf(begun)['assistant'] : await this.#assistantOf(this.#call(id));
    const on: Playing = {
      ...this.#playing(id, script, isObject(found) ? found : undefined),
      messages: Array.isArray(messages) ? [...messages] : [],
      toolCalls: Array.isArray(asked) ? [...(asked as unknown as PlayedToolCall[])] : [],
    };
    if (isOver) return this.#finish(on);
    if (!isObject(found)) return this.#end(on, String(found));
    this.#advance(id, {}, { assistant: found });

    const isWeb = begun.type === 'webCall';
    if (!isWeb && this.#call(id).status !== 'in-progress') {
      await this.#status(on, { status: 'ringing' });
      await this.#ports.sleep(script.ringMs);
    }
    if (script.outcome !== 'answered' && script.outcome !== 'voicemail') {
      return this.#end(on, script.endedReason ?? OUTCOMES[script.outcome]);
    }
    if (this.#call(id).status !== 'in-progress') {
      await this.#status(on, { status: 'in-progress', startedAt: this.#iso() });
      await this.#extra(on);
      this.#say(on, { role: 'system', message: promptOf(found) });
    }
    if (script.outcome === 'voicemail') {
      const { voicemailMessage } = found;
      if (typeof voicemailMessage === 'string') await this.#line(on, 'bot', voicemailMessage);
      return this.#end(on, script.endedReason ?? OUTCOMES.voicemail);
    }
    for (;;) {
      const { step } = stateOf(this.#call(id));
      const next = script.steps[Number(step)];
      if (!next) break;
      await this.#step(on, next);
      this.#advance(id, {}, { step: Number(step) + 1 });
    }
    return this.#end(on, script.endedReason ?? 'customer-ended-call');
  }

  #playing(id: string, script: CallScript, assistant: JsonObject | undefined): Playing {
    return { id, script, assistant, messages: [], toolCalls: [], held: [] };
  }

  async #untilEarliest({ id, schedulePlan }: Call): Promise<void> {
    const earliest = isObject(schedulePlan) ? Date.parse(String(schedulePlan['earliestAt'])) : Number.NaN;
    const wait = earliest - this.#account.now();
    if (wait > 0) await this.#ports.sleep(wait);
    this.#advance(id, { status: 'queued' });
  }

  /** The assistant that speaks, as it is when the call begins; or why the call ends without one. */
  async #assistantOf(call: Call): Promise<JsonObject | string> {
    const kept = stateOf(call)['assistant'];
    if (isObject(kept)) return kept;
    const { assistantId, assistant, assistantOverrides, phoneNumberId } = call;
    const overrides = isObject(assistantOverrides)
      ? without(assistantOverrides, ['variableValues', 'tools:append'])
      : {};
    if (typeof assistantId === 'string') return this.#configured(call, assistantId, overrides);
    if (isObject(assistant)) return { ...assistant, ...overrides };
    if (typeof phoneNumberId === 'string' && call.type === 'inboundPhoneCall') return this.#requested(call);
    return 'assistant-not-found';
  }

  #configured(call: Call, assistantId: string, overrides: JsonObject): JsonObject | string {
    const { id, orgId } = call;
    const found = this.#account.assistants.get(orgId, assistantId);
    if (!found) return 'assistant-not-found';
    const { assistantVersion: pinned } = call;
    const { latestVersion } = found;
    if (typeof pinned === 'string' && pinned !== latestVersion) {
      const content = this.#account.versions.contentOf(assistantId, pinned);
      if (!content) return 'call.start.assistant-version-error-validation';
      return { id: assistantId, orgId, ...content, ...overrides };
    }
    this.#advance(id, { assistantId, ...(latestVersion ? { assistantVersion: latestVersion } : {}) });
    const shown = without(found, ['createdAt', 'updatedAt', 'isServerUrlSecretSet', 'latestVersion']);
    return { ...shown, ...overrides };
  }

  /** Asks the server of a number without an assistant which one it shall be (docs/vapi.md#assistant-request). */
  async #requested(call: Call): Promise<JsonObject | string> {
    const on = this.#playing(call.id, callScript.parse({}), undefined);
    const { phoneNumber } = this.#envelope(on);
    const server = chosenServer('assistant-request', { phoneNumber });
    if (!server) return 'call-start-error-neither-assistant-nor-server-set';
    const message = envelope('assistant-request', this.#envelope(on), { assistantVersion: null });
    const { status, body } = await this.#deliver(server, without(message, ['artifact']));
    const answer = isObject(body) ? body : {};
    const isAnswer = status !== null && status >= 200 && status < 300 && isObject(body);
    const { error, destination, assistantId, assistant } = answer;
    if (isAnswer && error !== undefined) return 'assistant-request-returned-error';
    if (isAnswer && destination !== undefined) return 'assistant-request-returned-forwarding-phone-number';
    const overrides = isObject(answer['assistantOverrides']) ? answer['assistantOverrides'] : {};
    if (isAnswer && typeof assistantId === 'string') {
      const found = this.#configured(call, assistantId, overrides);
      return found === 'assistant-not-found' ? 'assistant-request-returned-invalid-assistant' : found;
    }
    if (isAnswer && isObject(assistant)) return { ...assistant, ...overrides };
    const fallback = phoneNumber?.['fallbackDestination'];
    if (isObject(fallback)) {
      this.#advance(call.id, { destination: fallback });
      return 'assistant-forwarded-call';
    }
    return isAnswer ? 'assistant-request-returned-no-assistant' : 'assistant-request-failed';
  }

  async #step(on: Playing, step: CallStep): Promise<void> {
    if ('waitMs' in step) return this.#ports.sleep(step.waitMs);
    if ('bot' in step) return this.#line(on, 'bot', this.#filled(on, step.bot, step));
    if ('user' in step) return this.#line(on, 'user', this.#filled(on, step.user, step));
    if ('tools' in step) return void (await this.#ask(on, step.tools));
    const { again, ...one } = step;
    const [answer = null] = await this.#ask(on, [one]);
    if (again === 'always' || (again === 'if-unanswered' && answer === null)) {
      const { id: _id, ...anew } = one;
      await this.#ask(on, [anew]);
    }
  }

  /** Undefined if there is nothing to say. */
  #filled(
    { assistant, toolCalls: asked }: Playing,
    text: string,
    { fill, otherwise }: Line,
  ): string | undefined {
    const answers = asked.flatMap((one) => one.answer ?? []);
    const found = resolvedArguments((fill ?? {}) as JsonObject, answers);
    const first = assistant?.['firstMessage'];
    const known: JsonObject = {
      ...found,
      firstMessage: typeof first === 'string' ? first : 'Hello.',
      answer: answers.at(-1) ?? NO_RESULT,
    };
    const template = found === undefined ? otherwise : text;
    return template?.replaceAll(/\{(\w+)\}/g, (whole, name: string) => String(known[name] ?? whole));
  }

  async #line(on: Playing, role: 'bot' | 'user', message: string | undefined): Promise<void> {
    if (message === undefined) return;
    await this.#ports.sleep(on.script.stepMs);
    this.#say(on, { role, message });
    const { messages } = on;
    await this.#emit(on, 'conversation-update', () =>
      envelope('conversation-update', this.#envelope(on), { messages: [...messages] }),
    );
  }

  #say(on: Playing, said: JsonObject): void {
    const at = this.#account.now();
    const { startedAt } = this.#call(on.id);
    const secondsFromStart = (at - Date.parse(String(startedAt))) / 1000;
    const isSpoken = said['role'] === 'bot' || said['role'] === 'user';
    const spoken = isSpoken ? { endTime: at + on.script.stepMs, duration: on.script.stepMs } : {};
    on.messages.push({ ...said, time: at, secondsFromStart, ...spoken });
    this.#advance(on.id, {}, { messages: [...on.messages], toolCalls: plain(on.toolCalls) });
  }

  /** What the model hears of each tool call. A tool that the assistant does not have, or whose arguments no answer gave, is not asked. */
  async #ask(on: Playing, steps: readonly ToolCallStep[]): Promise<(string | null)[]> {
    const answers = on.toolCalls.flatMap(({ answer }) => answer ?? []);
    // Also those that an earlier process asked, because a repeated question has a new id.
    const asked = on.messages.flatMap(({ toolCalls: list }) => (Array.isArray(list) ? list : [])).length;
    const calls = steps.flatMap(({ tool, arguments: given, id }, index): ToolCall[] => {
      const definition = this.#tool(on, tool);
      const resolved = resolvedArguments(given as JsonObject, answers);
      if (!definition || !resolved) return [];
      const made = `call_${on.id.replaceAll('-', '').slice(-12)}_${asked + index + 1}`;
      return [{ id: id ?? made, name: tool, arguments: resolved, definition }];
    });
    if (calls.length === 0) return steps.map(() => null);
    this.#say(on, { role: 'tool_calls', message: '', toolCalls: calls.map((call) => shaped(call)) });
    const heard = await this.#answers(on, calls);
    calls.forEach(({ id, name, arguments: given }, index) => {
      const answer = heard[index] ?? null;
      on.toolCalls.push({ id, name, arguments: given, answer });
      this.#say(on, { role: 'tool_call_result', toolCallId: id, name, result: answer ?? NO_RESULT });
    });
    return heard;
  }

  async #answers(on: Playing, calls: readonly ToolCall[]): Promise<(string | null)[]> {
    const faults = on.script.faults.filter((fault) => 'event' in fault && fault.event === 'tool-calls');
    const [first] = calls;
    const { assistant, phoneNumber } = this.#envelope(on);
    const server = chosenServer('tool-calls', { tool: first?.definition, assistant, phoneNumber });
    if (!server || faults.some(({ kind }) => kind === 'lost')) return calls.map(() => null);
    const send = () => this.#deliver(server, toolCalls(this.#envelope(on), calls, on.script.faults));
    const copies = faults.flatMap((fault) => (fault.kind === 'duplicated' ? [fault.copies - 1] : []));
    const answer = send();
    for (let copy = 0; copy < (copies[0] ?? 0); copy++) this.#later(send());
    const ids = calls.map(({ id }) => id);
    return heardOf(await answer, ids);
  }

  #tool({ assistant, id }: Playing, name: string): JsonObject | undefined {
    const { model } = assistant ?? {};
    const { tools = [], toolIds = [] } = isObject(model) ? model : {};
    const { orgId } = this.#call(id);
    const stored = Array.isArray(toolIds)
      ? toolIds.map((toolId) => this.#account.tools.get(orgId, String(toolId)))
      : [];
    return [...(Array.isArray(tools) ? tools : []), ...stored].filter(isObject).find((tool) => {
      const { function: described } = tool;
      return isObject(described) && described['name'] === name;
    });
  }

  async #end(on: Playing, endedReason: string): Promise<PlayedCall> {
    this.#advance(on.id, { status: 'ended', endedReason, endedAt: this.#iso() });
    return this.#finish(on);
  }

  async #finish(on: Playing): Promise<PlayedCall> {
    const { id, script } = on;
    const reportFirst = has(script, 'order')?.order === 'report-first';
    const ended = () =>
      this.#emit(on, 'status-update:ended', () => statusUpdate(this.#envelope(on), script.faults));
    if (!reportFirst) await ended();
    await this.#ports.sleep(script.reportMs);
    const isQuiet = this.#account.settings.lateCallFields === 'keep-updatedAt';
    const outcome = this.#outcome(on);
    const second = has(script, 'second-report');
    const late = has(script, 'late-fields') ?? (second && { fields: ['analysis', 'cost'], ms: second.ms });
    const lateNames = (late?.fields ?? []).flatMap((name) =>
      name === 'cost' ? ['cost', 'costs', 'costBreakdown'] : [name],
    );
    const lateFields = Object.fromEntries(
      Object.entries(outcome).filter(([name]) => lateNames.includes(name)),
    );
    this.#advance(id, without(outcome, lateNames), null, isQuiet);
    const send = (full: boolean) =>
      this.#emit(on, 'end-of-call-report', () => report(this.#envelope(on), script.faults, full));
    await send(false);
    if (reportFirst) await ended();
    await this.#release(on);
    if (late) {
      this.#later(
        this.#ports.sleep(late.ms).then(async () => {
          this.#account.callStore.advance(id, lateFields, undefined, isQuiet);
          if (second) await send(true);
          await this.#release(on);
        }),
      );
    }
    return { call: this.#account.calls.shown(this.#call(id)), toolCalls: on.toolCalls };
  }

  async #release({ held }: Playing): Promise<void> {
    for (const deliver of held.splice(0).toReversed()) await deliver();
  }

  /** What is known of a call once it is over. */
  #outcome({ id, messages, assistant, script }: Playing): JsonObject {
    const { startedAt, endedAt, transport } = this.#call(id);
    if (startedAt === undefined) {
      return { ...costsOf({ messages: [], durationMs: 0, transport: 'none', assistant: {} }), analysis: {} };
    }
    const spoken = {
      messages,
      durationMs: Date.parse(String(endedAt)) - Date.parse(String(startedAt)),
      transport: isObject(transport) ? String(transport['provider']) : 'vapi.sip',
      assistant: assistant ?? {},
      cost: script.cost,
      analysis: script.analysis as JsonObject | null | undefined,
    };
    return {
      ...costsOf(spoken),
      analysis: analysisOf(spoken),
      messages: [...messages],
      artifact: artifactOf(id, messages),
    };
  }

  async #status(on: Playing, fields: JsonObject & { status: string }): Promise<void> {
    this.#advance(on.id, fields);
    await this.#emit(on, `status-update:${fields.status}`, () =>
      statusUpdate(this.#envelope(on), on.script.faults),
    );
  }

  /** Messages that no client expects. */
  async #extra(on: Playing): Promise<void> {
    const server = chosenServer('assistant-request', this.#envelope(on));
    if (!server) return;
    const { faults } = on.script;
    for (const fault of faults) {
      const now = this.#envelope(on);
      if (fault.kind === 'unknown-kind') await this.#deliver(server, envelope(fault.type, now));
      if (fault.kind === 'unknown-call') {
        const call = { ...now.call, id: fault.callId };
        await this.#deliver(server, statusUpdate({ ...now, call }, faults));
      }
    }
  }

  /** Sends a message that needs no answer, or does to it what the faults say. Resolves after its first attempt. */
  async #emit(on: Playing, event: string, build: () => JsonObject): Promise<void> {
    const { script } = on;
    const [type = ''] = event.split(':');
    const server = chosenServer(type, this.#envelope(on));
    if (!server) return;
    const own = script.faults.filter(
      (fault) => 'event' in fault && (fault.event === event || fault.event === '*'),
    );
    if (own.some(({ kind }) => kind === 'lost')) return;
    // What a message says is as of now, also if it is sent later. Only the links to the recording are new in each.
    const built = build();
    const send = (message: JsonObject) => this.#attempted(server, message);
    if (has(script, 'order')?.order === 'reversed') {
      on.held.push(() => send(built));
      return;
    }
    const late = own.find((fault) => fault.kind === 'late');
    if (late?.kind === 'late') this.#later(this.#ports.sleep(late.ms).then(() => send(built)));
    else await send(built);
    const more = own.find((fault) => fault.kind === 'duplicated');
    if (more?.kind !== 'duplicated') return;
    const copies = Array.from({ length: more.copies - 1 }, build);
    const repeat = async () => {
      for (const copy of copies) {
        await this.#ports.sleep(more.apartMs);
        await send({ ...copy, timestamp: built['timestamp'] ?? 0 });
      }
    };
    if (more.apartMs > 0) this.#later(repeat());
    else await repeat();
  }

  /** Resolves after the first attempt; further attempts go on meanwhile, and may overtake later messages. */
  #attempted(server: JsonObject, message: JsonObject): Promise<void> {
    return new Promise((resolve) =>
      this.#later(this.#ports.deliver(server, message, resolve).finally(resolve)),
    );
  }

  #deliver(server: JsonObject, message: JsonObject): Promise<DeliveryAnswer> {
    return this.#ports.deliver(server, message, () => {});
  }

  #later(work: Promise<unknown>): void {
    const kept = work.catch(() => {}).finally(() => this.#background.delete(kept));
    this.#background.add(kept);
  }

  #envelope({ id, assistant, messages }: Playing): Envelope {
    const call = this.#call(id);
    const { phoneNumberId } = call;
    return {
      at: this.#account.now(),
      call: this.#account.calls.delivered(call),
      assistant,
      phoneNumber:
        typeof phoneNumberId === 'string' ? this.#account.phoneNumbers.find(phoneNumberId) : undefined,
      messages: [...messages],
    };
  }

  /** Throws if the call was deleted, which ends it. */
  #call(id: string): Call {
    const call = this.#account.callStore.find(id);
    if (!call) throw new Error(`The call ${id} was deleted`);
    return call;
  }

  #advance(id: string, changes: JsonObject, state?: JsonObject | null, quiet = false): void {
    this.#account.callStore.advance(id, changes, state, quiet || Object.keys(changes).length === 0);
  }

  #iso(): string {
    return new Date(this.#account.now()).toISOString();
  }
}

type FaultOf<K extends CallFault['kind']> = Extract<CallFault, { kind: K }>;

function has<K extends CallFault['kind']>({ faults }: CallScript, kind: K): FaultOf<K> | undefined {
  return faults.find((fault): fault is FaultOf<K> => fault.kind === kind);
}

function promptOf({ model }: JsonObject): string {
  const messages = isObject(model) ? model['messages'] : undefined;
  const system = Array.isArray(messages)
    ? messages.filter(isObject).find(({ role }) => role === 'system')
    : undefined;
  return typeof system?.['content'] === 'string' ? system['content'] : '';
}

/** JSON, without what is undefined. */
function plain(value: unknown): JsonObject {
  return JSON.parse(JSON.stringify(value));
}
