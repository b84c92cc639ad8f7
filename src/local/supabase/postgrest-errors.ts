import { inspect } from 'node:util';
import postgres from 'postgres';

/** Errors in the form of PostgREST. */

export const DATABASE_DOWN = {
  code: 'PGRST001',
  message: 'Database client error. Retrying the connection.',
  details: null,
  hint: null,
};

/** The errors that lite maps itself. It would answer all others with 500 `SUP`, without the SQLSTATE. */
const MAPPED_BY_LITE = /^(42|22|21|55|PT|PGRST|23502|23503|23505|25006)/;

/**
 * Converts errors that lite does not know to a raised `PGRST`, the only form in which lite keeps code, message, detail, hint and
 * status. Statuses: https://docs.postgrest.org/en/stable/references/errors.html
 */
export function toPostgrestError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = (error as { code?: unknown }).code;
  if (!(error instanceof postgres.PostgresError)) {
    // Errors of the driver: it could not connect, or lost the connection.
    if (typeof code === 'string' && /^(CONNECT|E[A-Z]{3,})/.test(code)) return raised(DATABASE_DOWN, 503);
    return error;
  }
  if (MAPPED_BY_LITE.test(error.code)) {
    const { code, message, detail, hint } = error;
    return { code, message, detail, hint, ...inOneLine(`${code} ${message}`) };
  }
  const body = {
    code: error.code,
    message: error.message,
    details: error.detail ?? null,
    hint: error.hint ?? null,
  };
  if (/^(57P0[123]|08)/.test(error.code)) return raised(DATABASE_DOWN, 503);
  if (/^53/.test(error.code)) return raised(body, 503);
  if (/^(28|0L|0P)/.test(error.code)) return raised(body, 403);
  const internal = /^(09|25|2D|38|39|3B|40|54|57|58|F0|HV|P0(?!001)|XX)/.test(error.code);
  return raised(body, internal ? 500 : 400);
}

function raised(body: object, status: number): object {
  const message = JSON.stringify(body);
  return { code: 'PGRST', message, detail: JSON.stringify({ status, headers: {} }), ...inOneLine(message) };
}

/** Lite prints every error with console.error. */
function inOneLine(text: string): object {
  return { [inspect.custom]: () => `REST error ${text}` };
}
