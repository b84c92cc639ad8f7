import { createHash } from 'node:crypto';
import type { AgentConfigPatch } from '../../../domain/agents/agent-config.ts';
import type { SaveKind } from '../../../domain/agents/save.ts';
import { jsonbText } from '../../../domain/json.ts';
import type { ListedAgent, SweepAgent, SweepNote, SweepStore } from '../../../ports/agents/sweep-store.ts';
import type { Clock, Log } from '../../../ports/system.ts';
import type { Meter } from '../../../ports/telemetry.ts';
import type { Assistants, ProviderAssistant } from '../../../ports/voice-provider.ts';
import {
  leaseKeeper,
  readable,
  requireBelievable,
  type SweepStop,
  SweepStopped,
  unreadable,
} from '../../sweeping.ts';
import type { TransactionalAgentUpdate } from '../build.ts';
import { observedForm, stampOf } from '../compare.ts';
import type { SaveOutcome } from '../execute.ts';
import { isKnownMapping } from '../render.ts';
import { isCurrent, look, noteOf, type SeenAgent } from './look.ts';

/**
 * The sweep: one walk over the account's assistants that serves every organization. It finds what the protocol cannot exclude
 * (writes that came later than any bound, hands in the Vapi dashboard, deleted assistants, assistants that nobody kept), says
 * so, and repairs by ordinary saves: there is no other door.
 */

export interface SweepPorts {
  store: SweepStore;
  voice: Assistants;
  clock: Clock;
  /** Lets the other work of the process run before it resolves. */
  pause(): Promise<void>;
  /** The server ends: so does the sweep, after the agent that it is at. */
  stopping?: AbortSignal | undefined;
  log: Log;
  meter: Meter;
  /** Names this process; one replica sweeps at a time. */
  owner: string;
  /** How long the lease of the sweep lasts unless it is renewed, milliseconds. It is renewed after a quarter of that. */
  leaseMs: number;
  /** An ordinary save that always writes, even where nothing changes in the database. */
  save(update: TransactionalAgentUpdate, kind: SaveKind): Promise<SaveOutcome>;
  /** How long a closed save's assistants are left alone before they can be called orphans, milliseconds. */
  orphanAgeMs: number;
}

export interface SweepReport {
  /** Null: it went through to the end. */
  stopped: SweepStop | null;
  /** NOT_LEADER: when the lease of the other replica lapses unless it is renewed, in milliseconds. Otherwise null. */
  retryAfterMs: number | null;
  same: number;
  drifted: number;
  repaired: number;
  adopted: number;
  missing: number;
  orphansDeleted: number;
  /** Assistants that no agent refers to and that are not ours to delete. */
  unreferenced: number;
  /** When the walk began, on the database's clock. Null: it did not come to its end. */
  walkedAt: string | null;
}

/** Vapi's largest page (docs/vapi.md#list-limit), also the largest page of agents. */
const PAGE = 1_000;
/** The first page, before it is known how large assistants are; and the smallest, because pages overlap. */
const FIRST_PAGE = 100;
const LEAST_PAGE = 10;
/** A page is held in memory, and parsed in one turn of the event loop: of so many characters, judging by the page before it. */
const PAGE_CHARACTERS = 4_000_000;
/** So many characters are compared in one turn of the event loop: a few milliseconds. */
const TURN_CHARACTERS = 500_000;
/** One sweep. Throws `DatabaseError`; everything that Vapi does is in the report. */
export async function sweep(ports: SweepPorts): Promise<SweepReport> {
  const report: SweepReport = {
    stopped: null,
    retryAfterMs: null,
    same: 0,
    drifted: 0,
    repaired: 0,
    adopted: 0,
    missing: 0,
    orphansDeleted: 0,
    unreferenced: 0,
    walkedAt: null,
  };
  const walk: Walk = { ...ports, keepLease: leaseKeeper(ports), unjudged: [] };
  try {
    await walk.keepLease();
    const from = ports.clock.monotonic();
    const seen = await walkAssistants(walk, report);
    await findMissing(walk, seen, report);
    // Before the time of the walk counts for everybody else. A save that was committed meanwhile speaks for itself.
    await ports.store.note(walk.unjudged.map((agent) => ({ ...noteOf(agent), state: 'UNCONFIRMED' })));
    report.walkedAt = await ports.store.done(ports.clock.monotonic() - from);
    ports.meter.count('sweep.done');
  } catch (error) {
    if (!(error instanceof SweepStopped)) throw error;
    report.stopped = error.why;
    report.retryAfterMs = error.retryAfterMs;
    if (error.why !== 'NOT_LEADER' && error.why !== 'STOPPING') {
      ports.meter.count('sweep.stopped');
      ports.log.error(
        { event: 'sweep.stopped', why: error.why },
        'the sweep stopped; nothing was judged after that',
      );
    }
  }
  return report;
}

/** One sweep that has begun. */
interface Walk extends SweepPorts {
  /** Before each step: ends the sweep where another replica sweeps now, or this one stops. Asks the database now and then. */
  keepLease(): Promise<void>;
  /** Agents that this walk did not find in step, drifted or missing: a save was in progress, or a repair did not work. */
  unjudged: SeenAgent[];
}

/** Walks back in time with an overlap, because a page has no cursor (docs/vapi.md#list-paging). Answers every id that was there. */
async function walkAssistants(ports: Walk, report: SweepReport): Promise<Set<string>> {
  const seen = new Set<string>();
  let before: string | undefined;
  let limit = FIRST_PAGE;
  for (;;) {
    const page = readable(
      await ports.voice.listAssistants({
        limit,
        ...(before === undefined ? {} : { createdAtLe: before }),
      }),
    );
    const fresh = page.filter((assistant) => !seen.has(assistant.id));
    for (const assistant of fresh) seen.add(assistant.id);
    const characters = await judge(ports, fresh, report);
    if (page.length < limit) return seen;
    if (fresh.length > 0) {
      before = page.map((assistant) => String(assistant['createdAt'])).sort()[0];
      limit = Math.floor((PAGE_CHARACTERS / characters) * fresh.length);
    } else {
      // More assistants were made in one millisecond than the page holds: only a larger page shows the others.
      if (limit === PAGE) return seen;
      limit *= 4;
    }
    limit = Math.min(PAGE, Math.max(LEAST_PAGE, limit));
    await ports.keepLease();
  }
}

/** Answers how many characters the assistants are, about. */
async function judge(ports: Walk, assistants: ProviderAssistant[], report: SweepReport): Promise<number> {
  const agents = await ports.store.listed(assistants.map((assistant) => assistant.id));
  const byAssistant = new Map(agents.map((agent) => [agent.assistantId, agent]));
  const news: SweepNote[] = [];
  const unreferenced: ProviderAssistant[] = [];
  let characters = 0;
  let paused = 0;
  for (const assistant of assistants) {
    characters += JSON.stringify(assistant).length;
    if (characters - paused >= TURN_CHARACTERS) {
      paused = characters;
      await ports.pause();
    }
    const agent = byAssistant.get(assistant.id);
    if (agent === undefined) unreferenced.push(assistant);
    // A newer build knows how to compare it.
    else if (agent.busy || !isKnownMapping(agent.mappingVersion)) ports.unjudged.push(agent);
    else if (holds(assistant, agent)) {
      report.same += 1;
      // Of an agent that is in step already, the time of the whole walk says the same without a write.
      if (agent.news) news.push({ ...noteOf(agent), state: 'SAME' });
    } else {
      await ports.keepLease();
      await lookAgain(ports, agent, report);
    }
  }
  await ports.store.note(news);
  await discard(ports, unreferenced, report);
  return characters;
}

/** Vapi holds what we last wrote, with the stamp of the save that wrote it. */
function holds(assistant: ProviderAssistant, agent: ListedAgent): boolean {
  if (!isCurrent(agent, stampOf(assistant))) return false;
  const hash = createHash('sha256')
    .update(jsonbText(observedForm(agent.mappingVersion, agent.context, assistant)))
    .digest('hex');
  return hash === agent.hash;
}

/** A verdict needs a second look: the list may be older than a save that has ended since. */
async function lookAgain(ports: Walk, listed: SeenAgent, report: SweepReport): Promise<void> {
  const { meter, log } = ports;
  const verdict = await look(ports, listed);
  switch (verdict.kind) {
    case 'saving':
      ports.unjudged.push(listed);
      return;
    case 'unreadable':
      return unreadable(verdict.reply);
    case 'missing':
      return countMissing(ports, listed, report);
    case 'same':
      report.same += 1;
      return;
    case 'stale': {
      const { agent, stamp, drift } = verdict;
      // Without any stamp this may be an edit, and REPORT changes no edit. Equal content only lacks the stamp.
      if (agent.policy === 'REPORT' && stamp === null && drift.length > 0) {
        report.drifted += 1;
        meter.count('sweep.drifted');
        return;
      }
      // Not an edit but a write of our own that came late, or a stamp that someone destroyed: repaired, never adopted.
      meter.count('vapi.late_write');
      log.warn(
        { event: 'vapi.late_write', agentId: agent.agentId, saveId: stamp?.saveId ?? null },
        'repairing a stale write',
      );
      if (await repair(ports, agent, {}, 'REVERT')) report.repaired += 1;
      else ports.unjudged.push(agent);
      return;
    }
    case 'drifted': {
      const { agent, drift, adoptable } = verdict;
      report.drifted += 1;
      meter.count('sweep.drifted');
      log.info(
        {
          event: 'sweep.drifted',
          agentId: agent.agentId,
          fields: drift.map((entry) => entry.path),
          policy: agent.policy,
        },
        'an assistant was edited outside Lockstep',
      );
      if (agent.policy === 'REVERT') {
        if (await repair(ports, agent, {}, 'REVERT')) report.repaired += 1;
      } else if (agent.policy === 'ADOPT' && adoptable !== null) {
        if (!(await repair(ports, agent, adoptable, 'ADOPT'))) return;
        report.adopted += 1;
        meter.count('sweep.adopted');
      }
    }
  }
}

async function repair(
  ports: SweepPorts,
  agent: SweepAgent,
  payload: AgentConfigPatch,
  kind: SaveKind,
): Promise<boolean> {
  const outcome = await ports.save(
    {
      orgId: agent.orgId,
      agentId: agent.agentId,
      role: agent.role,
      payload,
      expectedRevision: agent.revision,
      expectedSaveId: agent.saveId,
      recreateIfMissing: false,
    },
    kind,
  );
  // Anything else: a user saved meanwhile, or Vapi is away; the next sweep looks again.
  if (outcome.kind !== 'committed') {
    ports.log.info({ agentId: agent.agentId, kind, outcome: outcome.kind }, 'not repaired this time');
    return false;
  }
  ports.meter.count('sweep.repaired');
  ports.log.info(
    {
      event: 'sweep.repaired',
      orgId: agent.orgId,
      agentId: agent.agentId,
      role: agent.role,
      kind,
      saveId: outcome.save.id,
    },
    kind === 'ADOPT' ? 'adopted an edit made in the Vapi dashboard' : 'reverted what Vapi held',
  );
  return true;
}

/** Deletes what the journal positively shows to be nobody's; counts the rest and leaves it alone. */
async function discard(ports: Walk, assistants: ProviderAssistant[], report: SweepReport): Promise<void> {
  const candidates = assistants.flatMap((assistant) => {
    const stamp = stampOf(assistant);
    return stamp === null ? [] : [{ ...stamp, assistantId: assistant.id }];
  });
  const orphans = new Set(
    candidates.length === 0 ? [] : await ports.store.orphans(candidates, ports.orphanAgeMs),
  );
  for (const id of orphans) {
    await ports.keepLease();
    const reply = await ports.voice.deleteAssistant(id);
    if (reply.kind === 'ok' || reply.kind === 'gone') {
      report.orphansDeleted += 1;
      ports.meter.count('sweep.orphan_deleted');
      ports.log.info(
        { event: 'sweep.orphan_deleted', assistantId: id },
        'deleted an assistant that no save kept',
      );
    }
  }
  report.unreferenced += assistants.length - orphans.size;
  if (assistants.length > orphans.size)
    ports.meter.count('sweep.unreferenced', assistants.length - orphans.size);
}

/** Agents whose assistant was nowhere in the walk. Many at once is no news about assistants but about the key. */
async function findMissing(ports: Walk, seen: Set<string>, report: SweepReport): Promise<void> {
  const unseen = [];
  let total = 0;
  let after: string | null = null;
  for (;;) {
    const page: Awaited<ReturnType<SweepStore['page']>> = await ports.store.page(after, PAGE);
    total += page.length;
    unseen.push(...page.filter((agent) => !agent.missing && !seen.has(agent.assistantId)));
    const last = page.at(-1);
    if (page.length < PAGE || last === undefined) break;
    after = last.agentId;
    await ports.keepLease();
  }
  requireBelievable(unseen.length, total);
  for (const agent of unseen) {
    await ports.keepLease();
    const found = await ports.voice.getAssistant(agent.assistantId);
    if (found.kind !== 'gone') {
      readable(found);
      ports.unjudged.push(agent);
    } else if ((await ports.store.note([{ ...noteOf(agent), state: 'MISSING' }])).length > 0)
      countMissing(ports, agent, report);
    else ports.unjudged.push(agent);
  }
}

function countMissing(ports: SweepPorts, { agentId }: { agentId: string }, report: SweepReport): void {
  report.missing += 1;
  ports.meter.count('sweep.missing');
  ports.log.warn(
    { event: 'sweep.missing', agentId },
    'an assistant was deleted in Vapi; only a save with recreateIfMissing makes a new one',
  );
}
