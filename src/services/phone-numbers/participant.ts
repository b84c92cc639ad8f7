import type { JsonObject } from '../../domain/json.ts';
import { stampedName } from '../../domain/phone-numbers/stamp.ts';
import type { PartImage } from '../../domain/saga.ts';
import type { Secret } from '../../domain/secret.ts';
import {
  mapped,
  type ProviderReply,
  type RemoteResource,
  type VoiceProvider,
} from '../../ports/voice-provider.ts';
import type {
  Found,
  Inspected,
  Page,
  Part,
  SagaDefinition,
  SagaIdentity,
  SagaKind,
  SagaWords,
  Written,
} from '../saga/participant.ts';
import { type NumberContent, numberDifferences, renderNumber, shownOf, TAKEN } from './document.ts';

/** What the participant needs of the provider. */
export type Numbers = Pick<VoiceProvider, 'phoneNumbers'>;

/** The account at the carrier that an imported number is in. The token is used for one request, and stored nowhere. */
export interface Carrier {
  accountSid: string;
  token: Secret;
}

const WORDS: Readonly<Record<NumberContent['action'], SagaWords>> = {
  BUY: {
    notMade: 'The phone number was not bought.',
    gone: 'The number was deleted in Vapi.',
    otherFailed: 'Not bought.',
    needsAttention:
      'What became of the purchase is not certain, and another attempt could buy a second number. An operator must look into the ' +
      'Vapi account. If the number shows up there, it becomes yours by itself.',
  },
  IMPORT: {
    notMade: 'The phone number was not imported.',
    gone: 'The number was deleted in Vapi.',
    otherFailed: 'Not imported.',
    needsAttention: 'The number could not be removed from Vapi again. An operator must settle this import.',
  },
  UPDATE: {
    notMade: 'The phone number was not changed.',
    gone: 'The number was deleted in Vapi.',
    otherFailed: 'Not changed.',
    needsAttention:
      'Vapi refuses to restore what the number was attached to. An operator must settle this change.',
  },
  RELEASE: {
    notMade: 'The phone number was not released.',
    gone: 'The number was deleted in Vapi.',
    otherFailed: 'Not released.',
    needsAttention: 'Vapi refuses to delete the number. An operator must settle this release.',
  },
};

/** How sagas of phone numbers are carried out. `carrier`: of an import, for its first owner; every later owner only looks. */
export function phoneNumberSaga(carrier: Carrier | null): SagaDefinition<Numbers> {
  return {
    name: 'phone_numbers',
    about: (images) => ({ action: images[0]?.after.content['action'] }),
    open: (voice) => new NumberSaga(voice, carrier),
  };
}

/** For recovery and operators. */
export const PHONE_NUMBER_SAGA = phoneNumberSaga(null);

/** Of one saga, which has one part: that part decides the words. */
class NumberSaga implements SagaKind {
  words: SagaWords = WORDS.UPDATE;
  readonly #voice: Numbers;
  readonly #carrier: Carrier | null;

  constructor(voice: Numbers, carrier: Carrier | null) {
    this.#voice = voice;
    this.#carrier = carrier;
  }

  open(saga: SagaIdentity, image: PartImage): Part {
    const part = new NumberPart(this.#voice, this.#carrier, saga, image);
    this.words = WORDS[part.action];
    return part;
  }
}

class NumberPart implements Part {
  readonly stage = 0;
  readonly pivot: boolean;
  readonly lookOnly: boolean;
  readonly removes: boolean;
  readonly timeoutMs: number;
  readonly action: NumberContent['action'];
  readonly #numbers: VoiceProvider['phoneNumbers'];
  readonly #carrier: Carrier | null;
  readonly #saga: SagaIdentity;
  readonly #image: PartImage;
  readonly #content: NumberContent;
  /** The managed fields that the saga puts into Vapi. */
  readonly #after: JsonObject;

  constructor(voice: Numbers, carrier: Carrier | null, saga: SagaIdentity, image: PartImage) {
    const content = image.after.content as unknown as NumberContent;
    if (!(content.action in WORDS)) throw new Error('the image of this saga cannot be read');
    this.#numbers = voice.phoneNumbers;
    this.#carrier = carrier;
    this.#saga = saga;
    this.#image = image;
    this.#content = content;
    this.action = content.action;
    this.timeoutMs = voice.phoneNumbers.timeoutMs;
    this.removes = content.action === 'RELEASE';
    // A purchase costs money and a deletion loses the digits for good.
    this.pivot = content.action === 'BUY' || content.action === 'RELEASE';
    // A second purchase could buy a second number, and an import needs a token that is not stored.
    this.lookOnly = content.action === 'BUY' || content.action === 'IMPORT';
    this.#after = renderNumber(saga.mappingVersion, content.provider, {
      sagaId: saga.sagaId,
      assistantId: content.assistantId ?? null,
    });
  }

  async create(): Promise<ProviderReply<Written>> {
    const { provider, name } = this.#after;
    const document = { provider, name, ...this.#asked() } as JsonObject;
    const reply = await this.#numbers.create(document);
    if (reply.kind === 'refused' && reply.messages.some((message) => TAKEN.test(message))) {
      // In place of Vapi's words, which name the number that has these digits: it may be another organization's.
      return { ...reply, messages: ['The number is already in use at Vapi.'] };
    }
    return this.#written(this.#after, reply);
  }

  /** What only the creation of a number says. */
  #asked(): JsonObject {
    const { areaCode, number } = this.#content;
    if (this.action === 'BUY' && areaCode !== undefined) return { numberDesiredAreaCode: areaCode };
    if (this.action !== 'IMPORT' || number === undefined || this.#carrier === null) {
      throw new Error('this owner of the saga cannot create the number');
    }
    const { accountSid, token } = this.#carrier;
    return { number, twilioAccountSid: accountSid, twilioAuthToken: token.reveal() };
  }

  async replace(remoteId: string): Promise<ProviderReply<Written>> {
    return this.#written(this.#after, await this.#numbers.update(remoteId, this.#after));
  }

  async restore(remoteId: string): Promise<ProviderReply<Written>> {
    const before = this.#before();
    if (before === null) throw new Error('a number that is new has nothing to go back to');
    return this.#written(before, await this.#numbers.update(remoteId, before));
  }

  #before(): JsonObject | null {
    const { before } = this.#image;
    if (before === null) return null;
    const { sagaId, mappingVersion, content } = before;
    const assistantId = (content['assistantId'] ?? null) as string | null;
    return renderNumber(mappingVersion, this.#content.provider, { sagaId, assistantId });
  }

  remove(remoteId: string): Promise<ProviderReply<unknown>> {
    // No code deletes a number that was bought, except the release that somebody asked for.
    if (this.action === 'BUY') {
      return Promise.resolve({ kind: 'refused', status: 409, messages: ['a purchase is not undone'] });
    }
    return this.#numbers.remove(remoteId);
  }

  async look(remoteId: string): Promise<ProviderReply<Found>> {
    return mapped(await this.#numbers.get(remoteId), (number) => this.#found(number));
  }

  async list(page: Page): Promise<ProviderReply<Found[]>> {
    const listed = mapped(await this.#numbers.list({ ...page }), (all) =>
      all.map((number) => this.#found(number)),
    );
    if (listed.kind !== 'ok' || this.action !== 'BUY') return listed;
    // At most one number was bought. Another one has our name from somebody's hand, and must not be deleted as a surplus.
    const stamped = listed.value.filter((one) => one.stamped);
    const oldest = stamped.reduce<Found | undefined>(
      (a, b) => (a === undefined || b.createdAt < a.createdAt ? b : a),
      undefined,
    );
    const value = listed.value.map((one) =>
      one.stamped && one !== oldest ? { ...one, stamped: false, holds: null } : one,
    );
    return { kind: 'ok', value };
  }

  async inspect(remoteId: string): Promise<ProviderReply<Inspected>> {
    // Not by name: a person who settles a saga writes no stamps.
    const assistant = (sent: JsonObject | null, number: RemoteResource) =>
      sent === null ? [] : numberDifferences({ ...sent, name: number['name'] ?? null }, number);
    return mapped(await this.#numbers.get(remoteId), (number) => ({
      remoteId: number.id,
      observed: shownOf(number),
      differsFromAfter: assistant(this.#after, number),
      differsFromBefore: assistant(this.#before(), number),
    }));
  }

  #found(number: RemoteResource): Found {
    const stamped = this.#isOurs(number);
    return {
      ...{ remoteId: number.id, createdAt: String(number['createdAt']), stamped },
      holds: stamped ? contentOf(this.#after, number) : null,
    };
  }

  /** The stamp decides. Digits never make a number ours; of an import, other ones make it somebody else's. */
  #isOurs(number: RemoteResource): boolean {
    if (number['name'] !== stampedName(this.#saga.sagaId)) return false;
    const { digits } = shownOf(number);
    return (
      this.action !== 'IMPORT' ||
      (number['provider'] === this.#content.provider && (digits === null || digits === this.#content.number))
    );
  }

  #written(sent: JsonObject, reply: ProviderReply<RemoteResource>): ProviderReply<Written> {
    return mapped(reply, (number) => contentOf(sent, number));
  }
}

function contentOf(sent: JsonObject, number: RemoteResource): Written {
  return { remoteId: number.id, observed: shownOf(number), differing: numberDifferences(sent, number) };
}
