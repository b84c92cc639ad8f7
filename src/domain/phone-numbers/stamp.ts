/**
 * The stamp of a phone number: its name in Vapi is the id of the saga that wrote it last, because a number has no other field for it
 * (docs/vapi.md#phone-number-fields). A saga's id is ours alone, so that it also names the deployment.
 */
const STAMP = /^ls1\.([A-Za-z0-9_-]{22})$/;

export function stampedName(sagaId: string): string {
  return `ls1.${Buffer.from(sagaId.replaceAll('-', ''), 'hex').toString('base64url')}`;
}

/** The id of the saga that a name was made of; null if it is not such a name. */
export function sagaOfName(name: unknown): string | null {
  const [, packed] = typeof name === 'string' ? (STAMP.exec(name) ?? []) : [];
  if (packed === undefined) return null;
  const hex = Buffer.from(packed, 'base64url').toString('hex');
  const sagaId = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  // Of 22 characters, the last one has four bits that mean nothing.
  return stampedName(sagaId) === name ? sagaId : null;
}
