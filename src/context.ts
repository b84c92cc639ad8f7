import type { Secret } from './domain/secret.ts';
import type { DriftPolicy } from './ports/agents/sweep-store.ts';
import { RefusedTokenError, type TokenVerifier } from './ports/auth.ts';
import type { CallStore } from './ports/calls/call-store.ts';
import type { Ids, Log } from './ports/system.ts';
import type { TenantReads } from './ports/tenant-reads.ts';
import type { Verdict } from './services/agents/drift/look.ts';
import type { ExecutorPorts } from './services/agents/execute.ts';
import type { Appointments } from './services/appointments/change.ts';
import type { KnowledgeBase } from './services/knowledge-base/execute.ts';
import type { ChangePhoneNumber } from './services/phone-numbers/change.ts';
import { createLoaders, type Loaders } from './services/reads/loaders.ts';
import { type ReadGate, type SharedReads, shareReads } from './services/reads/share-reads.ts';

/** A signed-in user of one organization, and what they may see. */
export interface Tenant {
  userId: string;
  /** From the verified token's `app_metadata.org_id`, and from nowhere else. */
  orgId: string;
  /** Through a client of the caller's own: row-level security decides. Each read goes to the database once a request. */
  reads: SharedReads;
  /** The same, by id, each row once a request. */
  loaders: Loaders;
  /** Runs a read that does not go through `reads` in its turn among those of all organizations. */
  inTurn<T>(read: () => Promise<T>): Promise<T>;
}

/** Reconciliation on behalf of a caller: always for the organization of the caller's token. */
export interface Reconciliation {
  /** Reads an agent's assistant from Vapi now and notes what it found. Null: the server has no key. */
  look(orgId: string, assistantId: string): Promise<Verdict | null>;
  setDriftPolicy(orgId: string, policy: DriftPolicy): Promise<boolean>;
}

/** What every resolver gets. `Service` is the service role's database client: opaque here, for the executor only. */
export interface AppContext<Service = unknown> {
  requestId: string;
  log: Log;
  caller: Tenant | { problem: 'no_token' | 'no_organization' };
  /** For `executeTransactionalAgentUpdate` and for nothing else (a test holds that). */
  serviceClient: Service;
  /** For `executeTransactionalAgentUpdate` and for nothing else (a test holds that). Null: not configured. */
  vapiApiKey: Secret | null;
  executorPorts: ExecutorPorts<Service>;
  reconciliation: Reconciliation;
  /** With the active key, which this does not show. */
  changePhoneNumber: ChangePhoneNumber;
  knowledgeBase: Pick<KnowledgeBase<Service>, 'upload' | 'remove'>;
  callLedger: CallStore['ledger'];
  /** Vapi sends the events of calls to this server. */
  receivesEvents: boolean;
  appointments: Appointments;
}

export interface ContextDeps<Service> {
  verifier: TokenVerifier;
  /** Reads with the rights of this token. */
  openReads(token: string): TenantReads;
  /** Bounds the reads of each organization. */
  readGate: ReadGate;
  serviceClient: Service;
  vapiApiKey: Secret | null;
  executorPorts: ExecutorPorts<Service>;
  reconciliation: Reconciliation;
  changePhoneNumber: ChangePhoneNumber;
  knowledgeBase: Pick<KnowledgeBase<Service>, 'upload' | 'remove'>;
  callLedger: CallStore['ledger'];
  receivesEvents: boolean;
  appointments: Appointments;
  ids: Ids;
  log: Log;
}

/** The token of an Authorization header, if it is one of this form. */
export const bearerToken = (authorization: string): string | undefined =>
  /^Bearer ([^\s]+)$/i.exec(authorization.trim())?.[1];

/** The one factory of the request's context. Throws `RefusedTokenError`. */
export function createContextFactory<Service>(deps: ContextDeps<Service>) {
  return async (request: Request, requestId: string = deps.ids.uuid()): Promise<AppContext<Service>> => {
    const authorization = request.headers.get('authorization');
    const log = deps.log.child({ requestId });
    const rest = {
      requestId,
      log,
      serviceClient: deps.serviceClient,
      vapiApiKey: deps.vapiApiKey,
      executorPorts: { ...deps.executorPorts, log },
      reconciliation: deps.reconciliation,
      changePhoneNumber: deps.changePhoneNumber,
      knowledgeBase: deps.knowledgeBase,
      callLedger: deps.callLedger,
      receivesEvents: deps.receivesEvents,
      appointments: deps.appointments,
    };
    if (authorization === null) return { ...rest, caller: { problem: 'no_token' } };

    const token = bearerToken(authorization);
    const verdict =
      token === undefined ? { problem: 'bad_token' as const } : await deps.verifier.verify(token);
    if (!('problem' in verdict)) {
      const inTurn = <T>(read: () => Promise<T>) => deps.readGate.run(verdict.orgId, read);
      const reads = shareReads(() => deps.openReads(token ?? ''), inTurn);
      return {
        ...rest,
        caller: { ...verdict, reads, loaders: createLoaders(reads), inTurn },
      };
    }
    if (verdict.problem === 'no_organization') return { ...rest, caller: { problem: 'no_organization' } };
    log.info({ problem: verdict.problem }, 'token refused');
    throw new RefusedTokenError(verdict.problem === 'unavailable');
  };
}
