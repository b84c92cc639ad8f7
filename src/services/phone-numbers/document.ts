import { isE164 } from '../../domain/input.ts';
import type { JsonObject } from '../../domain/json.ts';
import { stampedName } from '../../domain/phone-numbers/stamp.ts';
import type { RemoteResource } from '../../ports/voice-provider.ts';

/** From a row to the fields of a phone number that Lockstep manages in Vapi, and from Vapi's answer to what we know of it. */

/** The version that new sagas use. */
export const NUMBER_MAPPING_VERSION = 1;

/** What a saga wants of a number: the content of its images. */
export interface NumberContent {
  action: 'BUY' | 'IMPORT' | 'UPDATE' | 'RELEASE';
  provider: string;
  /** Null: nothing answers. */
  assistantId: string | null;
  /** Of a purchase. */
  areaCode?: string;
  /** Of an import. */
  number?: string;
}

/** The managed fields, complete. Throws on a mapping version that this build does not know. */
export function renderNumber(
  version: number,
  provider: string,
  { sagaId, assistantId }: { sagaId: string; assistantId: string | null },
): JsonObject {
  if (version !== 1) throw new Error(`unknown mapping version ${version}: a newer build wrote this saga`);
  // The provider may be required (docs/vapi.md#phone-number-provider). Null detaches (docs/vapi.md#phone-number-detach).
  return { provider, name: stampedName(sagaId), assistantId };
}

/** The paths at which Vapi does not hold what was sent. A field that Vapi leaves out is null. */
export function numberDifferences(sent: JsonObject, answered: JsonObject): string[] {
  return ['name', 'assistantId'].filter((field) => (sent[field] ?? null) !== (answered[field] ?? null));
}

/** What Vapi shows of a number, as the database takes it in. */
export interface Shown extends JsonObject {
  status: string;
  /** E.164; null: Vapi shows none, or masks them (docs/vapi.md#masked-digits). */
  digits: string | null;
}

export function shownOf(resource: RemoteResource): Shown {
  const { number, status } = resource;
  const digits = typeof number === 'string' && isE164(number) ? number : null;
  // The specification makes the status optional. A number that has its digits and no status is an old one, which is active.
  return { status: typeof status === 'string' ? status : digits === null ? 'activating' : 'active', digits };
}

/** A refusal of digits that Vapi has already, in its words or in ours (docs/vapi.md#phone-number-duplicate). */
export const TAKEN = /existing phone number|already in use/i;
