import { type Checked, checkIdempotencyKey } from '../domain/input.ts';
import { ValidationError } from './errors.ts';

/** The input. Throws a `ValidationError` with all its problems. */
export function validInput<T>(checked: Checked<T>): T {
  if ('issues' in checked) throw new ValidationError(checked.issues);
  return checked.input;
}

/** The key, or null if there is none. Throws a `ValidationError`. */
export function parseIdempotencyKey(key: string | null | undefined): string | null {
  return validInput(checkIdempotencyKey(key));
}
