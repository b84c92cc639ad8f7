import { isUuid } from './uuid.ts';

/** A UUID in the 22 characters of base64url, for stamps in names that may have few characters. */
export function shortUuid(uuid: string): string {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex').toString('base64url');
}

/** The UUID behind 22 characters; null if they are not the one short form of a UUID. */
export function uuidOfShort(short: string): string | null {
  const hex = Buffer.from(short, 'base64url').toString('hex');
  const uuid = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  return isUuid(uuid) && shortUuid(uuid) === short ? uuid : null;
}
