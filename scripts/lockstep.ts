/**
 * For an operator, with the server's environment: `npm run lockstep -- COMMAND [options]`. Each command is a file of scripts/lockstep.
 * Exit codes: 0 done; 1 not done, and why; 64 wrong use; 78 wrong environment.
 */

import { DatabaseError } from '../src/ports/database.ts';
import { agentAdopt } from './lockstep/agent-adopt.ts';
import {
  type Command,
  EX_CONFIG,
  EX_USAGE,
  MissingVariableError,
  openOperator,
  UsageError,
} from './lockstep/operator.ts';
import { orgAllow } from './lockstep/org-allow.ts';

const COMMANDS: Readonly<Record<string, Command>> = {
  'agent adopt': agentAdopt,
  'org allow': orgAllow,
};

const [noun, verb, ...rest] = process.argv.slice(2);
const command = COMMANDS[`${noun} ${verb}`];
if (command === undefined) {
  console.error(
    `usage:\n${Object.values(COMMANDS)
      .map(({ usage }) => `  npm run lockstep -- ${usage}`)
      .join('\n')}`,
  );
  process.exit(EX_USAGE);
}
try {
  const act = command.parse(rest);
  const opened = openOperator(process.env);
  if ('problems' in opened) {
    for (const problem of opened.problems) console.error(problem);
    process.exit(EX_CONFIG);
  }
  process.exitCode = await act(opened, console.log);
} catch (error) {
  if (error instanceof UsageError) {
    console.error(`${error.message}\nusage: npm run lockstep -- ${command.usage}`);
    process.exitCode = EX_USAGE;
  } else if (error instanceof MissingVariableError) {
    console.error(error.message);
    process.exitCode = EX_CONFIG;
  } else if (error instanceof DatabaseError) {
    console.error(`The database did not answer (${error.code}). The same command may be repeated.`);
    process.exitCode = 1;
  } else {
    throw error;
  }
}
