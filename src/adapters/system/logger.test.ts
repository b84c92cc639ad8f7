import { Writable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Secret } from '../../domain/secret.ts';
import { createLogger, secretForms } from './logger.ts';

/** Its base64 has `+` and `/` at every alignment, and it has what URLs and JSON escape. */
const KEY = 'canary-7f3a/>>>>????"9c51+master~key?0b8e';

function logger(level = 'trace', ...secrets: string[]) {
  const lines: string[] = [];
  const destination = new Writable({
    write: (chunk, _encoding, done) => {
      lines.push(String(chunk));
      done();
    },
  });
  const log = createLogger(
    level,
    secrets.map((secret) => new Secret(secret)),
    destination,
  );
  return { log, text: () => lines.join(''), lines };
}

/** The line that these fields make, as text. */
function logged(fields: object, message = 'message', secrets: string[] = [KEY]): string {
  const { log, text } = logger('trace', ...secrets);
  log.info(fields, message);
  return text();
}

describe('by value', () => {
  const base64 = (prefix: string) => Buffer.from(`${prefix}${KEY}, and more`).toString('base64');
  const url = encodeURIComponent(KEY);
  const forms: [string, string][] = [
    ['plain', `Bearer ${KEY}`],
    ['base64, after no byte', base64('')],
    ['base64, after one', base64('x')],
    ['base64, after two', base64('xy')],
    ['base64, after three', base64('xyz')],
    ['base64, alone and padded', Buffer.from(KEY).toString('base64')],
    ...['', 'x', 'xy'].map((before): [string, string] => [
      `base64url, after ${before.length} bytes`,
      Buffer.from(`${before}${KEY}`).toString('base64url'),
    ]),
    ['HTTP Basic', `Basic ${Buffer.from(`user:${KEY}`).toString('base64')}`],
    ['URL-encoded', `https://x.example/?key=${url}&more`],
    ['URL-encoded, small digits', url.replace(/%../g, (digits) => digits.toLowerCase())],
    ['a field of a form', new URLSearchParams({ key: KEY }).toString()],
    ['URL-encoded base64', encodeURIComponent(base64('xy'))],
    ['hex', Buffer.from(KEY).toString('hex')],
    ['hex, large digits', Buffer.from(KEY).toString('hex').toUpperCase()],
    ['zero-width spaces inside', [...KEY].join('\u200b')],
    [
      'a mark of byte order and a soft hyphen inside',
      `${KEY.slice(0, 9)}\ufeff${KEY.slice(9, 20)}\u00ad${KEY.slice(20)}`,
    ],
    ['hex with zero-width characters inside', [...Buffer.from(KEY).toString('hex')].join('\u2060')],
    ['JSON inside', JSON.stringify({ key: KEY })],
    ['JSON inside JSON', JSON.stringify(JSON.stringify({ key: KEY }))],
  ];

  test('the key of these tests has a different text in every form', () => {
    for (const before of ['', 'x', 'xy']) expect(base64(before)).toMatch(/[+/].*[+/]/);
    expect(JSON.stringify(KEY)).not.toBe(`"${KEY}"`);
    expect(url).not.toBe(KEY);
  });

  /** What of the secret can be read out of a line, in any of its forms. */
  function expectNone(line: string, secret = KEY): void {
    expect(line).toContain('[redacted]');
    const visible = line.replace(/[\p{Default_Ignorable_Code_Point}\p{Cf}]/gu, '');
    const hex = [...visible.matchAll(/(?:[0-9a-f]{2}){8,}/gi)].map(([run]) =>
      Buffer.from(run, 'hex').toString(),
    );
    const decoded = [line, visible, ...hex, decodeURIComponent(line.replace(/%(?![0-9a-f]{2})/gi, '%25'))];
    for (const text of [...decoded]) {
      for (const [run] of text.matchAll(/[A-Za-z0-9+/_-]{4,}/g)) {
        for (const skip of [0, 1, 2, 3]) {
          decoded.push(Buffer.from(run.slice(skip), 'base64').toString('latin1'));
        }
      }
    }
    const all = decoded.join('\n');
    // Not even a part of it: six characters in a row are no accident.
    for (let at = 0; at + 6 <= secret.length; at += 1) expect(all).not.toContain(secret.slice(at, at + 6));
  }

  test.each(forms)(
    'redacts %s in the message, in a field, in a key, in an error and in its stack',
    (_name, text) => {
      expectNone(logged({}, text));
      expectNone(logged({ a: { b: { c: { d: { e: [text] } } } } }));
      expectNone(logged({ [text]: 1 }));
      expectNone(logged({ err: new Error(text) }));
      expectNone(logged({ err: new Error('outer', { cause: new Error(text) }) }));
      expectNone(logged({ err: Object.assign(new Error('refused'), { options: { headers: { x: text } } }) }));
      expectNone(logged({ err: new AggregateError([new Error(text)], 'several') }));
    },
  );

  test('redacts several secrets in one line', () => {
    const other = 'another-canary-1d2e3f';
    const line = logged({ a: `${KEY} ${KEY}`, b: other }, `${other}${KEY}`, [KEY, other]);
    expectNone(line);
    expectNone(line, other);
  });

  test('redacts the whole of a secret that starts with another secret', () => {
    const longer = `${KEY}-and-its-longer-sibling`;
    for (const secrets of [
      [KEY, longer],
      [longer, KEY],
    ]) {
      expect(logged({}, longer, secrets)).not.toContain('sibling');
    }
  });

  test('leaves no form of any secret at any position of the line', () => {
    const secrets = fc
      .string({ unit: 'grapheme', minLength: 8, maxLength: 64 })
      .filter((s) => s.trim() === s);
    fc.assert(
      fc.property(secrets, fc.string({ maxLength: 5 }), (secret, before) => {
        const encoded = Buffer.from(before + secret).toString('base64');
        const fields = { plain: before + secret, encoded, url: encodeURIComponent(secret) };
        const line = JSON.parse(logged(fields, secret, [secret])) as Record<string, string>;
        for (const text of [line['plain'], line['url'], line['msg']]) expect(text).toContain('[redacted]');
        expect(line['encoded']).toContain('[redacted]');
        expect(line['plain']).not.toContain(secret);
        expect(line['msg']).toBe('[redacted]');
      }),
    );
  });

  test('redacts a secret that is added later from then on', () => {
    const lines: string[] = [];
    const secrets = [new Secret(KEY)];
    const destination = new Writable({
      write: (chunk, _encoding, done) => done(void lines.push(String(chunk))),
    });
    const log = createLogger('info', secrets, destination);
    const next = 'canary-of-the-next-key';
    secrets.push(new Secret(next));
    log.info({ next, key: KEY }, 'rotated');
    expect(lines.join('')).not.toContain('canary');
  });

  test('does not change a line without a secret', () => {
    const line = JSON.parse(logged({ saveId: 'abc', path: 'a/b?c=d', n: 7 }, 'nothing to hide')) as object;
    expect(line).toMatchObject({ saveId: 'abc', path: 'a/b?c=d', n: 7, msg: 'nothing to hide' });
  });

  test('does not search for forms that are too short', () => {
    expect(secretForms([new Secret('short')])).toEqual([]);
    expect(Math.min(...secretForms([new Secret(KEY)]).map((form) => form.length))).toBeGreaterThanOrEqual(8);
  });
});

describe('by path', () => {
  const names = [
    'authorization',
    'Authorization',
    'apikey',
    'apiKey',
    'password',
    'secret',
    'token',
    'access_token',
  ];
  test.each([...names, 'refresh_token', 'cookie'])(
    '%s, whatever it holds, down to the headers of an error',
    (name) => {
      const value = 'Bearer of-some-user';
      for (const fields of [
        { [name]: value },
        { headers: { [name]: value } },
        { request: { headers: { [name]: value } } },
        { err: Object.assign(new Error('refused'), { options: { headers: { [name]: value } } }) },
      ]) {
        const line = logged(fields);
        expect(line).not.toContain(value);
        expect(line).toContain(`"${name}":"[redacted]"`);
      }
    },
  );

  test('a Secret is redacted by itself', () => {
    expect(
      JSON.parse(logged({ vapiKey: new Secret('something else'), deep: [new Secret('more')] })),
    ).toMatchObject({
      vapiKey: '[redacted]',
      deep: ['[redacted]'],
    });
  });
});

describe('lines', () => {
  test('are one JSON object each, with level, time and message, also if the message contains line breaks', () => {
    const { log, lines } = logger();
    log.warn({ saveId: 's' }, 'one\ntwo');
    log.child({ requestId: 'r' }).error({ err: new TypeError('broken') }, 'three');
    expect(lines).toHaveLength(2);
    const [first, second] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(first).toEqual({
      level: 40,
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      saveId: 's',
      msg: 'one\ntwo',
    });
    expect(second).toMatchObject({
      ...{ level: 50, requestId: 'r', msg: 'three' },
      err: { type: 'TypeError', message: 'broken', stack: expect.stringContaining('logger.test.ts') },
    });
  });

  test.each([
    ['trace', 4],
    ['debug', 4],
    ['info', 3],
    ['warn', 2],
    ['error', 1],
    ['silent', 0],
  ])('level %s lets %i of debug, info, warn and error pass', (level, passed) => {
    const { log, lines } = logger(level);
    log.debug({}, 'm');
    log.info({}, 'm');
    log.warn({}, 'm');
    log.error({}, 'm');
    expect(lines).toHaveLength(passed);
  });

  test('a child is redacted like its parent', () => {
    const { log, text } = logger('info', KEY);
    log.child({ key: KEY, authorization: 'Bearer of-some-user' }).info({}, KEY);
    expect(text()).not.toContain(KEY);
  });
});
