/** `org allow`: sets what an organization may have. What is not named stays as it is; without options, the command only shows it. */
import { parseArgs } from 'node:util';
import { setAllowance } from '../../src/adapters/supabase/rpc-allowances.ts';
import { isUuid } from '../../src/domain/uuid.ts';
import { type Command, UsageError } from './operator.ts';

export const orgAllow: Command = {
  usage: 'org allow ORG [--numbers N] [--documents N] [--bytes N] [--json]',
  parse: (args) => {
    const { positionals, values } = argumentsOf(args);
    const [org, ...more] = positionals;
    if (!isUuid(org) || more.length > 0) throw new UsageError('ORG must be the UUID of an organization');
    const wanted = {
      numbers: count('numbers', values.numbers),
      documents: count('documents', values.documents),
      bytes: count('bytes', values.bytes),
    };
    return async ({ client }, print) => {
      const allowance = await setAllowance(client, org, wanted);
      if (allowance === null) {
        console.error(`There is no organization ${org}.`);
        return 1;
      }
      const { numbers, documents, bytes } = allowance;
      print(
        values.json
          ? JSON.stringify({ org, ...allowance })
          : `Organization ${org} may have ${numbers} phone numbers, ${documents} documents and ${bytes} bytes.`,
      );
      return 0;
    };
  },
};

function argumentsOf(args: string[]) {
  try {
    const text = { type: 'string' } as const;
    return parseArgs({
      args,
      allowPositionals: true,
      options: { numbers: text, documents: text, bytes: text, json: { type: 'boolean', default: false } },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function count(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,12}$/.test(text)) throw new UsageError(`--${name} must be a whole number`);
  return Number(text);
}
