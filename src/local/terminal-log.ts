import type { DestinationStream } from 'pino';
import pretty from 'pino-pretty';

/** The log for a person at a terminal. A stream that reads lines must get JSON, so a pipe or a file never gets this one. */
export function isForTerminal(output: { isTTY?: boolean }, env: Readonly<NodeJS.ProcessEnv>): boolean {
  return output.isTTY === true && env['NODE_ENV']?.trim() !== 'production';
}

/** Default: standard output, in colour. A line is redacted before it comes here. */
export function terminalLog(destination: NodeJS.WritableStream | number = 1): DestinationStream {
  return pretty({
    destination,
    colorize: destination === 1,
    sync: true,
    translateTime: 'SYS:HH:MM:ss.l',
    // One event, one line; only what is long stands below it.
    singleLine: true,
  });
}
