import { boundedText } from '../../domain/text.ts';
import type { ProviderReply } from '../../ports/voice-provider.ts';
import type { SagaWords, Written } from './participant.ts';
import type { Answer } from './protocol.ts';

/** What a reply of Vapi means to the protocol, and what the caller is told about it. */

/** Begins the error of a part that Vapi refused; Vapi's messages follow. */
export const REFUSED = 'Vapi refused it: ';

/** Why a part was not made if no answer says why. */
export const NO_TIME = 'Vapi could not be reached in time.';

/** What the database could not store. */
export const NOT_STORABLE = 'What Vapi answered cannot be stored.';

export interface Told {
  answer: Answer;
  /** Null: the part has no error. */
  error: string | null;
}

/** A reply to a request that goes forward. */
export function toldForward(reply: ProviderReply<Written | unknown>, words: SagaWords): Told {
  switch (reply.kind) {
    case 'ok': {
      const differing = differingOf(reply.value);
      return differing.length === 0
        ? { answer: 'matches', error: null }
        : { answer: 'differs', error: `Vapi answered with other content at ${paths(differing)}.` };
    }
    case 'refused':
      return { answer: 'refused', error: `${REFUSED}${messages(reply)}` };
    case 'gone':
      return { answer: 'gone', error: words.gone };
    case 'unauthorized':
      return { answer: 'unauthorized', error: 'Vapi refused our key.' };
    case 'rate_limited':
      return { answer: 'rate_limited', error: 'Vapi is limiting our requests.' };
    case 'not_sent':
      return { answer: 'not_sent', error: `Vapi cannot be reached (${reply.code}).` };
    case 'unknown':
      return {
        answer: 'unknown',
        error: `Vapi did not answer (${reply.code}); whether it took the change is not known yet.`,
      };
  }
}

/** A reply to a request that undoes. `error: null` leaves the error that the part has. */
export function toldUndo(reply: ProviderReply<Written | unknown>): Told {
  if (reply.kind === 'refused') {
    return {
      answer: 'refused',
      error: `Vapi refused to take the previous configuration back: ${messages(reply)}`,
    };
  }
  if (reply.kind !== 'ok') return { answer: reply.kind, error: null };
  const differing = differingOf(reply.value);
  if (differing.length === 0) return { answer: 'matches', error: null };
  return {
    answer: 'differs',
    error: `Vapi answered the previous configuration with other content at ${paths(differing)}.`,
  };
}

function differingOf(value: unknown): string[] {
  return (value as Partial<Written> | null)?.differing ?? [];
}

function messages(reply: { messages: string[] }): string {
  return boundedText(reply.messages.join('; '), 500);
}

function paths(differing: string[]): string {
  return boundedText(differing.join(', '), 500);
}
