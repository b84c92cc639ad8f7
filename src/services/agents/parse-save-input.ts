import { checkIdempotencyKey, checkSaveInput, type SaveInput } from '../../domain/agents/agent-config.ts';
import { ValidationError } from '../errors.ts';

/** The canonical change. Throws a `ValidationError` with every problem at once. */
export function parseSaveInput(input: unknown): SaveInput {
  const checked = checkSaveInput(input);
  if ('issues' in checked) throw new ValidationError(checked.issues);
  return checked.input;
}

/** The key, or null if there is none. Throws a `ValidationError`. */
export function parseIdempotencyKey(key: string | null | undefined): string | null {
  const issues = checkIdempotencyKey(key);
  if (issues.length > 0) throw new ValidationError(issues);
  return key ?? null;
}
