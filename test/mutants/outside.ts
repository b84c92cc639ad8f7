import { type Mutant, plant } from './plant.ts';

/** Planted bugs of the adapters: tokens, the database client, Vapi over HTTP, its keys and the log. */

const AUTH = ['src/adapters/supabase/auth.test.ts'];
const JOURNAL = ['src/adapters/supabase/rpc-journal.test.ts'];
const VAPI = ['src/adapters/vapi/got-voice-provider.test.ts'];
const GUARD = ['src/adapters/vapi/guarded-voice-provider.test.ts'];
const KEYS = ['src/adapters/vapi/key-ring.test.ts'];
const LOGGER = ['src/adapters/system/logger.test.ts'];
const LISTS = ['test/e2e/organization-data.test.ts'];

export const OUTSIDE: readonly Mutant[] = [
  ...plant('src/adapters/supabase/auth.ts', AUTH, [
    [
      'token-without-expiry',
      'A token that never expires is accepted.',
      "typeof claims.exp !== 'number' ||",
      '',
    ],
    [
      'token-any-role',
      'A token of the service role is accepted as a user’s.',
      " ||\n    claims['role'] !== AUDIENCE",
      '',
    ],
    ['token-without-subject', 'A token without a user is accepted.', "claims.sub === '' ||", ''],
    [
      'token-user-metadata',
      'A user names the organization in metadata that users may write.',
      "const metadata = claims['app_metadata'];",
      "const metadata = claims['app_metadata'] ?? claims['user_metadata'];",
    ],
    [
      'token-any-organization',
      'Any text counts as an organization.',
      "if (!isUuid(orgId)) return { problem: 'no_organization' };",
      "if (typeof orgId !== 'string') return { problem: 'no_organization' };",
    ],

    [
      'token-organization-case',
      'One organization in capitals is another one.',
      'orgId: orgId.toLowerCase() };',
      'orgId };',
    ],
  ]),
  ...plant('src/adapters/supabase/clients.ts', JOURNAL, [
    [
      'database-redirects',
      'The service key is sent wherever a redirect points.',
      "redirect: 'manual' });",
      "redirect: 'follow' });",
    ],
    [
      'database-no-deadline',
      'A call of the database never ends.',
      'const deadline = AbortSignal.timeout(timeoutMs);',
      'const deadline = AbortSignal.timeout(1_000_000);',
    ],
    [
      'database-all-sent',
      'A call that never left this machine counts as one that may have been carried out.',
      'code: SETUP_ERRORS.has(code) ? NOT_SENT : NO_ANSWER,',
      'code: NO_ANSWER,',
    ],
    [
      'database-none-sent',
      'A call whose answer was lost counts as one that was not carried out.',
      'code: SETUP_ERRORS.has(code) ? NOT_SENT : NO_ANSWER,',
      'code: NOT_SENT,',
    ],
    ['database-retries', 'The library repeats calls behind our back.', 'db: { retry: false },', ''],
  ]),
  ...plant('src/adapters/supabase/rpc-journal.ts', JOURNAL, [
    [
      'journal-swapped-arguments',
      'The organization and the save change places.',
      '({ p_org_id: orgId, p_saga_id: sagaId, p_epoch: epoch });',
      '({ p_org_id: sagaId, p_saga_id: orgId, p_epoch: epoch });',
    ],
    [
      'journal-status-zero',
      'A lost answer is an error of the program.',
      'if (code === NO_ANSWER || status === 0) return',
      'if (status === 0) return',
    ],
    [
      'journal-transient',
      'A deadlock is an error of the program.',
      "if (TRANSIENT_SQLSTATE.test(code)) return new DatabaseError(code, code.startsWith('57P'));",
      '',
    ],
    [
      'journal-shutdown-not-sent',
      'A statement that a shutdown may have cut off after its commit counts as not carried out.',
      "new DatabaseError(code, code.startsWith('57P'))",
      'new DatabaseError(code, false)',
    ],
    [
      'journal-gateway',
      'An error of the gateway is an error of the program.',
      'if (status === 408 || status >= 500) return',
      'if (status === 408) return',
    ],
    [
      'journal-limited-sent',
      'A call that the gateway refused counts as one that may have been carried out.',
      'if (status === 429) return new DatabaseError(`HTTP_${status}`, false);',
      'if (status === 429) return new DatabaseError(`HTTP_${status}`, true);',
    ],
    [
      'journal-quotes-values',
      'An error quotes what an organization wrote.',
      'return new ValueRefusedError(`the database refused a value with ${code}`);',
      'return new ValueRefusedError(`the database refused a value with ${code}: ${error.message}`);',
    ],

    [
      'journal-no-connection',
      'A REST layer without a database counts as a call that may have been carried out.',
      'if (code === NOT_SENT || NO_CONNECTION.has(code)) return',
      'if (code === NOT_SENT) return',
    ],
  ]),
  ...plant('src/adapters/supabase/tenant-reads.ts', LISTS, [
    [
      'cost-as-text',
      'The cost of a call is a text.',
      'costUsd: row.cost_usd === null ? null : Number(row.cost_usd),',
      'costUsd: row.cost_usd,',
    ],
    [
      'agents-without-order',
      'Agents come in any order.',
      "select().order('role')",
      "select().order('role', { ascending: false })",
    ],
  ]),
  ...plant(
    'src/adapters/supabase/tenant-reads.ts',
    [
      'src/adapters/supabase/tenant-reads.test.ts',
      'test/isolation/tokens.test.ts',
      'test/e2e/settle.test.ts',
    ],
    [
      [
        'open-without-attention',
        'A save that needs attention does not show in the status of its agents.',
        "const OPEN: SaveStatus[] = ['APPLYING', 'ROLLING_BACK', 'NEEDS_ATTENTION'];",
        "const OPEN: SaveStatus[] = ['APPLYING', 'ROLLING_BACK'];",
      ],
      [
        'read-token-refused',
        'A token that expired on the way is an error of the program.',
        'status === 401 && TOKEN_REFUSED.has(error.code)',
        'status === 403 && TOKEN_REFUSED.has(error.code)',
      ],
      [
        'read-key-refused',
        'A publishable key that the gateway refuses is called the caller’s token.',
        'status === 401 && TOKEN_REFUSED.has(error.code)',
        'status === 401',
      ],
      [
        'agents-never-missing',
        'A missing agent is shown as in sync.',
        'missing: row.missing_since !== null,',
        'missing: false,',
      ],
    ],
  ),
  ...plant(
    'src/adapters/supabase/rpc-journal.ts',
    ['src/adapters/supabase/rpc-sweep-store.test.ts', 'test/e2e/sweep.test.ts'],
    [
      [
        'notes-first-batch',
        'Only the first twenty agents of a page are noted.',
        'from += NOTES_AT_ONCE) {',
        'from += notes.length) {',
      ],
      [
        'notes-overlap',
        'The notes of one call leave out what the next one begins with.',
        'notes.slice(from, from + NOTES_AT_ONCE)',
        'notes.slice(from, from + NOTES_AT_ONCE - 1)',
      ],
    ],
  ),
  ...plant('src/adapters/vapi/got-voice-provider.ts', VAPI, [
    [
      'vapi-redirects',
      'The master key is sent wherever a redirect points.',
      'followRedirect: false,',
      'followRedirect: true,',
    ],
    [
      'vapi-retries',
      'The library repeats requests behind the lease.',
      'retry: { limit: 0 },',
      'retry: { limit: 1, methods: ["GET", "PATCH", "DELETE"] },',
    ],
    ['vapi-path', 'An id may name another resource.', 'if (!ID.test(id)) {', 'if (id === "") {'],
    ['vapi-unbounded', 'A body of any size is read.', 'if (transferred > most) tooLarge.abort();', ''],
    [
      'vapi-list-bound',
      'A list of long prompts is cut off.',
      'const MAX_LIST_BYTES = 256 * 2 ** 20;',
      'const MAX_LIST_BYTES = MAX_BODY_BYTES;',
    ],
    [
      'vapi-post-gone',
      'A wrong address counts as a deleted assistant.',
      "if (status === 404 && method !== 'POST') return { kind: 'gone' };",
      "if (status === 404) return { kind: 'gone' };",
    ],
    [
      'vapi-forbidden',
      'A key that is refused with 403 counts as a refusal of the content.',
      'if (status === 401 || status === 403) return',
      'if (status === 401) return',
    ],
    [
      'vapi-timeout-refused',
      'A 408 counts as a refusal.',
      'status < 500 && status !== 408)',
      'status < 500)',
    ],
    [
      'vapi-unreadable-ok',
      'A success that cannot be read counts as a refusal.',
      "{ kind: 'unknown', code: 'UNREADABLE_BODY' };",
      "{ kind: 'refused', status, messages: [] };",
    ],
    [
      'vapi-too-large-refused',
      'An answer that is too large counts as not sent.',
      "return { kind: 'unknown', code: 'BODY_TOO_LARGE' };",
      "return { kind: 'not_sent', code: 'BODY_TOO_LARGE' };",
    ],
    [
      'vapi-reset-not-sent',
      'A reset after the request was sent counts as not sent.',
      'if (timings === undefined || timings.upload !== undefined) return false;',
      'if (timings === undefined) return false;',
    ],
    [
      'vapi-tls-sent',
      'A TLS handshake that failed counts as a request that may have been carried out.',
      '(secure ? timings.secureConnect : timings.connect) === undefined',
      'timings.connect === undefined',
    ],
    [
      'vapi-words-with-key',
      'A gateway that repeats the key shows it to a tenant.',
      '.map((line) => boundedText(redact(line), 300));',
      '.map((line) => boundedText(line, 300));',
    ],
    [
      'vapi-words-unbounded',
      'A refusal of any length is stored.',
      'boundedText(redact(line), 300)',
      'redact(line)',
    ],
    [
      'vapi-words-raw',
      'A field name with a NUL reaches the database.',
      'return storableJson(JSON.parse(body, reviver)) ?? null;',
      'return JSON.parse(body, reviver);',
    ],
    [
      'vapi-retry-after-seconds',
      'Retry-After counts as milliseconds.',
      'Number(text) * 1_000',
      'Number(text)',
    ],
    [
      'vapi-retry-after-cap',
      'Vapi can stop every save for a day.',
      'Math.min(Math.max(ms, 0), 600_000)',
      'Math.max(ms, 0)',
    ],
    ['vapi-deadline', 'A request may outlive its deadline.', 'read: ms,\n    request: ms,', 'read: ms,'],
  ]),
  ...plant('src/adapters/vapi/guarded-voice-provider.ts', GUARD, [
    [
      'circuit-for-refusals',
      'What one tenant’s content brings about stops everybody.',
      "return reply.kind === 'not_sent' && reply.code.startsWith('TIMEOUT');",
      "return reply.kind === 'refused' || (reply.kind === 'not_sent' && reply.code.startsWith('TIMEOUT'));",
    ],
    [
      'circuit-for-unreadable',
      'Answers that cannot be read count as an outage.',
      'return !/^(UNREADABLE_BODY|HTTP_3)/.test(reply.code);',
      'return true;',
    ],
    [
      'circuit-waits',
      'A write waits after its guard while one request tries.',
      'if (policy.state === CircuitState.HalfOpen) return null;',
      '',
    ],
    ['circuit-pace', 'The pace is not told that nothing is sent.', 'onOpen(openMs);', ''],
    [
      'key-refused-by-one',
      'One refusal of a tenant’s content stops the key.',
      'if (refusals >= breaker.keyRefusals) void suspect();',
      'void suspect();',
    ],
    [
      'key-refusals-kept',
      'Refusals that have nothing to do with each other add up.',
      "reply.kind === 'ok' || reply.kind === 'refused' || reply.kind === 'gone') {\n      refusals = 0;",
      "reply.kind === 'gone') {\n      refusals = 0;",
    ],
    [
      'key-suspected-only',
      'A key is given up without a read that shows it refused.',
      "if (reply?.kind !== 'unauthorized') return;",
      "if (reply?.kind === 'ok') return;",
    ],
    [
      'key-tried-after-rotation',
      'A key that was replaced is tried again.',
      'const reply = options.isActive() ? await look()',
      'const reply = true ? await look()',
    ],
    ['limited-not-told', 'The pace is not told of a 429.', 'options.onLimited(reply.retryAfterMs);', ''],
    [
      'account-of-single-only',
      'The account of a list is not told.',
      '[reply.value as ProviderAssistant | ProviderAssistant[]].flat();',
      '[reply.value as ProviderAssistant];',
    ],
  ]),
  ...plant(
    'src/adapters/vapi/key-ring.ts',
    [...KEYS, 'test/key/rotation.test.ts'],
    [
      [
        'rotate-any-account',
        'A key of another account becomes the active one.',
        "seen === 'ok' && ours !== undefined && ours === theirs",
        "seen === 'ok'",
      ],
      [
        'rotate-unread',
        'A key that was revoked becomes the active one because its account is known.',
        "if (seen === 'ok' && ours !== undefined && ours === theirs)",
        'if (ours !== undefined && ours === theirs)',
      ],
      [
        'foreign-stays',
        'A key of another account goes on.',
        "this.#first = { state: 'foreign', key };\n    this.#active = null;",
        "this.#first = { state: 'foreign', key };",
      ],
      [
        'foreign-open',
        'What began with a foreign key is still sent with it.',
        "this.#first = { state: 'foreign', key };",
        "this.#first = { state: 'decided' };",
      ],
      [
        'unchecked-open',
        'Requests are sent with a key that has not been compared yet.',
        "if (this.#first.state === 'unasked') this.#first = { state: 'withheld', key: this.#first.key };",
        '',
      ],
      [
        'rotate-side-by-side',
        'Of two rotations at once the earlier one stays.',
        'const changed = this.#changing.then(change);',
        'const changed = change();',
      ],
      [
        'rotate-without-turn',
        'The look at a new key takes no turn.',
        'return (await this.#ports.turn())\n      ?',
        'return true\n      ?',
      ],
      [
        'rotate-of-revoked',
        'A revoked key can never be replaced.',
        'const ours = this.#account ?? (active === null ? undefined : this.#accounts.get(active));',
        'const ours = active === null ? undefined : this.#accounts.get(active);',
      ],
      ['rotate-told-each-time', 'A verdict that stays is told again and again.', 'this.#told = verdict;', ''],
      [
        'new-provider-each-time',
        'Each save opens connections of its own.',
        'this.#voices.set(key, voices);',
        '',
      ],
    ],
  ),
  ...plant(
    'src/adapters/vapi/master-key.ts',
    ['src/env.test.ts'],
    [
      [
        'key-any-text',
        'A key with a line break is accepted.',
        '/^[\\x21-\\x7e]{1,512}$/.test(value)',
        '/^[^]{1,512}$/.test(value)',
      ],
      [
        'key-too-short',
        'A key is accepted that is too short to be cut out of the log.',
        ' || value.length < LEAST_SECRET',
        '',
      ],
      [
        'key-twice',
        'Of two keys one is used silently.',
        'if (value !== undefined && file !== undefined) return',
        'if (false) return',
      ],
      [
        'key-file-with-end',
        'A key file that ends with a line break is refused.',
        "readFileSync(file, 'utf8').trim()",
        "readFileSync(file, 'utf8')",
      ],
    ],
  ),
  ...plant('src/adapters/system/logger.ts', LOGGER, [
    [
      'log-no-hex',
      'A key in hexadecimal digits is logged.',
      '...[value, hex, hex.toUpperCase(), ...base64],',
      '...[value, ...base64],',
    ],
    ['log-no-upper-hex', 'A key in capital hexadecimal digits is logged.', 'hex.toUpperCase(), ', ''],
    [
      'log-no-base64url',
      'A key in base64url is logged.',
      "...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')),",
      '',
    ],
    [
      'log-one-alignment',
      'A key in the middle of base64 is logged.',
      'return [0, 1, 2].map((offset) =>',
      'return [0].map((offset) =>',
    ],
    ['log-no-url', 'A key in an address is logged.', '[...plain, ...plain.flatMap(urlForms)]', 'plain'],
    [
      'log-no-json',
      'A key inside JSON inside JSON is logged.',
      '[0, 1, 2, 3].map((depth)',
      '[0].map((depth)',
    ],
    [
      'log-invisible',
      'A key with an invisible character inside is logged.',
      'return left.search(INVISIBLE) < 0 ? left : redactSpread(left, visible);',
      'return left;',
    ],
    [
      'log-later-key',
      'A key that was read later is logged.',
      'if (secrets.length !== known) {',
      'if (false) {',
    ],
    [
      'log-shortest-first',
      'The rest of a key that holds another one is logged.',
      '.sort((a, b) => b.length - a.length);',
      '.sort((a, b) => a.length - b.length);',
    ],
    [
      'log-fields',
      'A header of an error is logged.',
      '[key, `*.${key}`, `*.*.${key}`, `*.*.*.${key}`]',
      '[key]',
    ],
  ]),
  ...plant(
    'src/domain/text.ts',
    ['src/domain/text.test.ts'],
    [
      [
        'text-half-pair',
        'A text is cut in the middle of an emoji.',
        ".slice(0, most).replace(/[\\uD800-\\uDBFF]$/, '')",
        '.slice(0, most)',
      ],
      ['text-nul', 'A NUL of Vapi reaches the database.', ".replaceAll('\\0', '\\uFFFD')", ''],
      [
        'text-names',
        'The name of a field reaches the database as it is.',
        '[wellFormed(key), walk(member, depth + 1)]',
        '[key, walk(member, depth + 1)]',
      ],
      ['text-depth', 'JSON of any depth is taken.', 'if (depth > MAX_DEPTH) throw tooDeep;', ''],
    ],
  ),
  ...plant(
    'src/domain/secret.ts',
    ['src/domain/secret.test.ts'],
    [
      [
        'secret-in-json',
        'A secret stands in JSON.',
        'toJSON(): string {\n    return REDACTED;',
        'toJSON(): string {\n    return this.#value;',
      ],
      [
        'secret-in-inspect',
        'A secret stands in what the console shows.',
        '[inspect.custom](): string {\n    return REDACTED;',
        '[inspect.custom](): string {\n    return this.#value;',
      ],
    ],
  ),
  ...plant('supabase/migrations/20261123000014_create_lists.sql', LISTS, [
    [
      'lists-any-agent',
      'The filter of calls and numbers by agent does nothing.',
      "    ' and agent_id = ' || quote_literal(p_filter ->> 'agentId'),\n",
      '',
    ],
    [
      'lists-any-number',
      'The filter of calls by number does nothing.',
      "    ' and phone_number_id = ' || quote_literal(p_filter ->> 'phoneNumberId'),\n",
      '',
    ],
    [
      'lists-any-call',
      'The filter of appointments by call does nothing.',
      "    ' and call_id = ' || quote_literal(p_filter ->> 'callId'),\n",
      '',
    ],
    [
      'lists-attached',
      'The filter of numbers by attachment is turned round.',
      "when true then ' and agent_id is not null' when false then ' and agent_id is null' end",
      "when false then ' and agent_id is not null' when true then ' and agent_id is null' end",
    ],
    [
      'lists-any-direction',
      'The filter of calls by direction does nothing.',
      "case when p_filter ->> 'direction' is null then '{INBOUND,OUTBOUND}' else array[p_filter ->> 'direction'] end",
      "'{INBOUND,OUTBOUND}'::text[]",
    ],
    [
      'lists-any-outcome',
      'The filter of calls by outcome does nothing.',
      'unnest(coalesce(v_values,',
      'unnest(coalesce(null::text[],',
    ],
    [
      'lists-no-open',
      'A filter of calls by agent leaves out the calls that are not over.',
      'BUSY,FAILED,OPEN}',
      'BUSY,FAILED}',
    ],
    [
      'lists-any-value',
      'The filter of appointments by status and of documents by state does nothing.',
      "select array_agg(distinct format(' and %I = %L', v_column, v)) into v_ranges from unnest(v_values) as v;",
      "v_ranges := array[''];",
    ],
    [
      'lists-repeated-value',
      'A value that is named twice lists its rows twice.',
      "select array_agg(distinct format(' and %I = %L', v_column, v))",
      "select array_agg(format(' and %I = %L', v_column, v))",
    ],
    [
      'lists-after-start',
      'Rows exactly at the lower bound are left out.',
      "format(' and %I >= ', v_key)",
      "format(' and %I > ', v_key)",
    ],
    [
      'lists-until-end',
      'Rows exactly at the upper bound are listed.',
      "format(' and %I < ', v_key)",
      "format(' and %I <= ', v_key)",
    ],
    [
      'page-above-turned',
      'The rows above a place of the order are those below it.',
      "format(' and (%I, id) > (', v_key)",
      "format(' and (%I, id) < (', v_key)",
    ],
    [
      'page-below-turned',
      'The rows below a place of the order are those above it.',
      "format(' and (%I, id) < (', v_key)",
      "format(' and (%I, id) > (', v_key)",
    ],
    [
      'page-order-without-id',
      'Rows of one moment have no order.',
      "' order by %1$I %2$s, id %2$s limit %3$s'",
      "' order by %1$I %2$s limit %3$s'",
    ],
    [
      'page-with-its-place',
      'A page begins with the row that the page before ended with.',
      "format(' and (%I, id) > (', v_key)",
      "format(' and (%I, id) >= (', v_key)",
    ],
    [
      'page-without-id',
      'Rows of one moment are lost between two pages.',
      "format(' and (%I, id) < (', v_key) || quote_literal(p_window -> 'below' ->> 'value') || ', '\n      || quote_literal(p_window -> 'below' ->> 'id') || ')'",
      "format(' and %I < ', v_key) || quote_literal(p_window -> 'below' ->> 'value')",
    ],
  ]),
  ...plant('src/adapters/supabase/tenant-reads.ts', LISTS, [
    [
      'page-after-turned',
      'The page after a cursor lies before it.',
      'descending ? [before, after] : [after, before]',
      'descending ? [after, before] : [before, after]',
    ],
    [
      'page-from-end',
      'The last rows are the first ones.',
      'ascending: descending === fromEnd,',
      'ascending: !descending,',
    ],
    [
      'calls-any-outcome',
      'The filter of calls by outcome does not reach the database.',
      'values: outcomes, ...bounds',
      '...bounds',
    ],
    [
      'calls-any-time',
      'The filter of calls by time does not reach the database.',
      'values: outcomes, ...bounds',
      'values: outcomes',
    ],
    [
      'appointments-any-time',
      'The filter of appointments by time does not reach the database.',
      'values: statuses, from: startsFrom, before: startsBefore',
      'values: statuses',
    ],
  ]),
  ...plant('src/adapters/supabase/rpc-journal.ts', JOURNAL, [
    [
      'journal-unparsed',
      'An answer of another form is taken for one.',
      "if (!answer.success) throw new DatabaseError('UNREADABLE_ANSWER', true);",
      'if (!answer.success) return data as never;',
    ],
  ]),
  ...plant(
    'src/adapters/supabase/auth.ts',
    [...AUTH, 'test/isolation/tokens.test.ts'],
    [
      [
        'token-any-algorithm',
        'A token of another algorithm is accepted.',
        "algorithms: ['HS256'] }",
        "algorithms: ['HS256', 'HS384', 'HS512'] }",
      ],
      [
        'token-any-audience',
        'A token for another audience is accepted.',
        'const expected = { issuer: `${url}/auth/v1`, audience: AUDIENCE };',
        'const expected = { issuer: `${url}/auth/v1` };',
      ],
      [
        'token-any-issuer',
        'A token of another project is accepted.',
        'const expected = { issuer: `${url}/auth/v1`, audience: AUDIENCE };',
        'const expected = { audience: AUDIENCE };',
      ],
      [
        'token-unexpected-secret',
        'Issuer and audience are not compared under a shared secret.',
        "jwtVerify(token, secret, { ...expected, algorithms: ['HS256'] })",
        "jwtVerify(token, secret, { algorithms: ['HS256'] })",
      ],
      [
        'token-unexpected-remote',
        'Issuer and audience are not compared under keys that are fetched.',
        'verify: (token) => payloadOf(jwtVerify(token, key, expected)),\n      // A new',
        'verify: (token) => payloadOf(jwtVerify(token, key)),\n      // A new',
      ],
      [
        'token-unexpected-local',
        'Issuer and audience are not compared under keys of the environment.',
        'return { verify: (token) => payloadOf(jwtVerify(token, key, expected)), current',
        'return { verify: (token) => payloadOf(jwtVerify(token, key)), current',
      ],
      [
        'token-keys-away',
        'A caller is told to sign in again where the keys cannot be fetched.',
        'throw isAboutToken\n        ? error',
        'throw isAboutToken || true\n        ? error',
      ],
      [
        'token-of-no-key',
        'A token that names no key is accepted.',
        'if (header.kid === undefined) throw new errors.JWKSNoMatchingKey();',
        '',
      ],
      [
        'token-kept-expired',
        'A verdict is kept after its token has expired.',
        '|| now >= kept.expires ||',
        '||',
      ],
      [
        'token-kept-early',
        'A verdict is given before its token holds.',
        '|| now >= kept.expires || now < kept.notBefore) return',
        '|| now >= kept.expires) return',
      ],
      [
        'token-kept-keys',
        'A token of a removed key is accepted as long as its verdict is kept.',
        'if (kept.keys !== keys.current() || now',
        'if (now',
      ],
      [
        'token-kept-all',
        'Every verdict of every token is kept.',
        'if (accepted.size <= mostKept) return;',
        'if (accepted.size > 0) return;',
      ],
    ],
  ),
];
