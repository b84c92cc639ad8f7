/**
 * `agent adopt`: takes an existing assistant of the account into an organization, as its inbound or outbound agent. `--dry-run` shows what
 * the agent would say, what of the assistant would be lost, and changes nothing.
 */
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { createRpcJournal, databaseError } from '../../src/adapters/supabase/rpc-journal.ts';
import { leaseOf } from '../../src/adapters/supabase/rpc-lease.ts';
import { createRpcRenderStore, createRpcSweepStore } from '../../src/adapters/supabase/rpc-sweep-store.ts';
import { createRpcVapiAccount } from '../../src/adapters/supabase/rpc-vapi-account.ts';
import {
  systemClock as clock,
  systemIds as ids,
  systemRandom as random,
} from '../../src/adapters/system/system.ts';
import { isUuid } from '../../src/domain/uuid.ts';
import {
  type Adoption,
  type AdoptPorts,
  type AdoptWish,
  adoptAssistant,
} from '../../src/services/agents/adopt-assistant.ts';
import { executeTransactionalAgentUpdate } from '../../src/services/agents/execute.ts';
import { type Command, UsageError, type VapiOperator, withVapi } from './operator.ts';

/** Longer than a save can be open: two commands must not take the same assistant into two organizations. */
const CLAIM_MS = 1_800_000;

export const agentAdopt: Command = {
  usage: 'agent adopt --org ID --role INBOUND|OUTBOUND --assistant ID [--dry-run] [--json]',
  parse: (args) => {
    const { json, ...wish } = parse(args);
    return async (operator, print) => {
      const adoption = await adoptAssistant(adoptPorts(withVapi(operator)), wish);
      print(json ? JSON.stringify(adoption, null, 2) : inWords(adoption));
      return adoption.outcome === 'PLANNED' || adoption.outcome === 'ADOPTED' ? 0 : 1;
    };
  },
};

function parse(args: string[]): AdoptWish & { json: boolean } {
  const { org, role, assistant, ...flags } = optionsOf(args);
  if (!isUuid(org)) throw new UsageError('--org must be a UUID');
  if (role !== 'INBOUND' && role !== 'OUTBOUND') throw new UsageError('--role must be INBOUND or OUTBOUND');
  if (!isUuid(assistant)) throw new UsageError('--assistant must be a UUID');
  return { orgId: org, role, assistantId: assistant, dryRun: flags['dry-run'], json: flags.json };
}

function optionsOf(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        ...{ org: { type: 'string' }, role: { type: 'string' }, assistant: { type: 'string' } },
        'dry-run': { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** Of the real systems. */
export function adoptPorts({ client, vapi: { key, voice }, settings, log }: VapiOperator): AdoptPorts {
  const owner = randomUUID();
  const journal = createRpcJournal(client);
  return {
    voice,
    store: createRpcSweepStore(client),
    account: () => createRpcVapiAccount(client)(''),
    eventContext: () => createRpcRenderStore(client).eventContext(),
    hasAgent: async (orgId, role) => {
      const { data, error, status } = await client
        .from('agents')
        .select('id')
        .eq('org_id', orgId)
        .eq('role', role);
      if (error !== null) throw databaseError(error, status);
      return data.length > 0;
    },
    claim: async (assistantId) =>
      (await leaseOf(client, `adopt ${assistantId}`).takeLease(owner, CLAIM_MS)) === 0,
    save: (update, adopt) =>
      executeTransactionalAgentUpdate(client, [update], key, {
        adopt,
        kind: 'ADOPT',
        ports: {
          ...{ clock, ids, random, log, settings, owner },
          openJournal: () => journal,
          openVoiceProvider: () => voice,
          meter: { count: () => {} },
          // A save that outlasts the answer is ended by the recovery of a server.
          track: () => {},
        },
      }),
  };
}

function inWords(adoption: Adoption): string {
  if (adoption.outcome === 'REFUSED') return `Not adopted: ${adoption.reason}. Nothing was changed.`;
  const { config, lost, untouched } = adoption;
  const differences = lost.map(
    ({ path, ours, theirs }) => `  ${path}: ${JSON.stringify(theirs)} -> ${JSON.stringify(ours)}`,
  );
  return [
    headOf(adoption),
    `The agent's configuration:\n${JSON.stringify(config, null, 2)}`,
    lost.length === 0
      ? 'Nothing of the assistant is lost.'
      : `What a configuration has no field for, and what becomes of it:\n${differences.join('\n')}`,
    untouched.length === 0 ? '' : `Not managed by Lockstep, and left as it is: ${untouched.join(', ')}`,
  ]
    .filter((line) => line !== '')
    .join('\n');
}

function headOf(adoption: Exclude<Adoption, { outcome: 'REFUSED' }>): string {
  switch (adoption.outcome) {
    case 'PLANNED':
      return 'A dry run: nothing was changed.';
    case 'ADOPTED':
      return `Adopted by the save ${adoption.saveId}.`;
    case 'NOT_ADOPTED':
      return `Not adopted: the save is ${adoption.saved.kind}. ${'failure' in adoption.saved ? adoption.saved.failure.message : ''}`;
  }
}
