/**
 * The database did not do what was asked. `sent: false` = it certainly did not; `true` = it may have.
 * Carries a code, never a statement, a row or a credential.
 */
export class DatabaseError extends Error {
  override readonly name = 'DatabaseError';
  readonly code: string;
  readonly sent: boolean;

  constructor(code: string, sent: boolean, message = `The database did not answer as expected (${code}).`) {
    super(message);
    this.code = code;
    this.sent = sent;
  }
}

/** The database refused a value of a call, such as text that it cannot hold; the same call will be refused again. */
export class ValueRefusedError extends Error {}

/** The database refuses a key of this server, so nothing happened. It passes when an operator corrects the key. */
export class KeyRefusedError extends DatabaseError {
  /** The environment variable that holds the key. */
  readonly variable: string;

  constructor(variable: string) {
    super('KEY_REFUSED', false, `The database refuses the key in ${variable}.`);
    this.variable = variable;
  }
}
