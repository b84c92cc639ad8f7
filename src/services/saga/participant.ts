import type { JsonObject } from '../../domain/json.ts';
import type { PartImage } from '../../domain/saga.ts';
import type { ProviderReply, VoiceProvider } from '../../ports/voice-provider.ts';
import type { PartPlan } from './protocol.ts';

/**
 * The engine knows parts; a participant knows how one kind of resource lives in Vapi. There is one participant for each kind,
 * and it opens every part of a saga that is such a resource.
 */

/** What a stamp and a document say about the saga that wrote them. */
export interface SagaIdentity {
  deployment: string;
  orgId: string;
  sagaId: string;
  mappingVersion: number;
}

/** What a resource contains: after a write, as Vapi answered, or when it was read. */
export interface Written {
  remoteId: string;
  /** The normal form of the answer, for later comparison. It does not contain the stamp. */
  observed: JsonObject;
  /** The paths at which the answer is not what was sent; empty if it matches. */
  differing: string[];
}

/** A remote resource that was looked at. */
export interface Found {
  remoteId: string;
  /** ISO-8601; empty where Vapi gave none. */
  createdAt: string;
  /** It has the stamp of this saga for this part. What an answer called it is not enough: it may be somebody else's. */
  stamped: boolean;
  /** What it contains, compared with the new content; null unless it is stamped. */
  holds: Written | null;
}

/** A page of a list, newest first. The bounds are inclusive ISO-8601 times. */
export interface Page {
  limit: number;
  createdAtGe: string;
  createdAtLe?: string;
}

/** A remote resource as it is now, for whoever settles a saga: compared with both images, without the stamp. */
export interface Inspected {
  remoteId: string;
  observed: JsonObject;
  differsFromAfter: string[];
  differsFromBefore: string[];
}

/** One part of a saga. Each method sends one request and throws for nothing that Vapi or the network does. */
export interface Part extends Pick<PartPlan, 'stage' | 'pivot' | 'lookOnly'> {
  /** The time limit of one request, milliseconds. */
  readonly timeoutMs: number;
  /** The saga wants the resource to be gone; `replace` and `create` are not called then. */
  readonly removes: boolean;
  create(): Promise<ProviderReply<Written>>;
  /** Puts the new content into the resource. */
  replace(remoteId: string): Promise<ProviderReply<Written>>;
  /** Puts the committed content back. */
  restore(remoteId: string): Promise<ProviderReply<Written>>;
  remove(remoteId: string): Promise<ProviderReply<unknown>>;
  look(remoteId: string): Promise<ProviderReply<Found>>;
  list(page: Page): Promise<ProviderReply<Found[]>>;
  inspect(remoteId: string): Promise<ProviderReply<Inspected>>;
}

/** What the caller is told where the words depend on the kind of saga. */
export interface SagaWords {
  /** Begins every failure. */
  notMade: string;
  /** The remote resource is gone, and there is no permission to create a new one. */
  gone: string;
  /** The error of a part that failed only because another part failed. */
  otherFailed: string;
  /** A part could not be undone, or it is not known what became of it. */
  needsAttention: string;
}

/** Knows one kind of resource. Throws where an image cannot be read, such as one of a mapping version that this build lacks. */
export interface Participant {
  open(saga: SagaIdentity, image: PartImage): Part;
}

/** A kind of saga: the participants of its parts, and its words. */
export interface SagaKind extends Participant {
  readonly words: SagaWords;
}

/** How sagas of one kind are carried out, whoever does it: the request, recovery or an operator. */
export interface SagaDefinition<Voice = VoiceProvider> {
  /** Names the functions of the kind in the database. */
  readonly name: string;
  /** Further fields of the line in the log, of a saga that was taken over. */
  about?(images: PartImage[]): Record<string, unknown>;
  open(voice: Voice): SagaKind;
}
