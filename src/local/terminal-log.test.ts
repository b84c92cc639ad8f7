import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { createLogger } from '../adapters/system/logger.ts';
import { Secret } from '../domain/secret.ts';
import { isForTerminal, terminalLog } from './terminal-log.ts';

test.each([
  ['a terminal', { isTTY: true }, {}, true],
  ['a terminal in development', { isTTY: true }, { NODE_ENV: 'development' }, true],
  ['a terminal in production', { isTTY: true }, { NODE_ENV: 'production' }, false],
  ['a pipe', {}, {}, false],
  ['a pipe in development', { isTTY: false }, { NODE_ENV: 'development' }, false],
])('is decided by where the log goes: %s', (_where, output, env, readable) => {
  expect(isForTerminal(output, env)).toBe(readable);
});

test('a terminal shows the message and its fields on one line of text, without a secret', () => {
  const lines: string[] = [];
  const output = new Writable({
    write: (chunk, _encoding, done) => {
      lines.push(String(chunk));
      done();
    },
  });
  const log = createLogger('info', [new Secret('canary-master-key')], terminalLog(output));
  log.info({ event: 'save.ended', told: 'Bearer canary-master-key' }, 'save committed');
  expect(lines.join('')).toMatch(/^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: save committed \{.*"save\.ended".*\}\n$/);
  expect(lines.join('')).not.toContain('canary-master-key');
});
