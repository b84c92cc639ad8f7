import type {
  HeldFile,
  HeldTool,
  KnowledgeBaseStore,
} from '../../ports/knowledge-base/knowledge-base-store.ts';
import type { Log } from '../../ports/system.ts';
import type { Meter } from '../../ports/telemetry.ts';
import type {
  ProviderReply,
  RemoteFiles,
  RemoteResource,
  RemoteResources,
} from '../../ports/voice-provider.ts';
import { listedPages, readable, type SweepStop, SweepStopped } from '../sweeping.ts';
import { fileStampOf } from './file.ts';
import { queryToolDifferences, queryToolStampOf, renderQueryTool } from './query-tool.ts';
import { noteFiles } from './work.ts';

/**
 * One walk over all files and tools of the account, for all organizations. It finds files and tools that somebody deleted or edited in
 * Vapi, and those that no saga kept. It costs the list calls, and a request for each difference. It repairs nothing by itself, except
 * that it deletes orphans: rows say what is to be made again, and jobs do it.
 */

export interface KnowledgeSweepPorts {
  store: KnowledgeBaseStore;
  files: Pick<RemoteFiles, 'list' | 'get' | 'remove'>;
  tools: Pick<RemoteResources, 'list' | 'get' | 'remove'>;
  log: Log;
  meter: Meter;
  /** How long what a closed saga has left is left alone before it is called an orphan, milliseconds. */
  orphanAgeMs: number;
}

export interface KnowledgeSweepReport {
  /** Null: it came to its end. */
  stopped: SweepStop | null;
  files: number;
  tools: number;
  /** Files that are made again, and tools that are written again. */
  missingFiles: number;
  repairedTools: number;
  orphansDeleted: number;
}

const PAGE = 1_000;
/** Of so few, all may be gone. */
const FEW = 3;

/** One sweep. Throws `DatabaseError`; everything that Vapi does is in the report. */
export async function sweepKnowledgeBase(
  ports: KnowledgeSweepPorts,
  stopping?: AbortSignal,
): Promise<KnowledgeSweepReport> {
  const report: KnowledgeSweepReport = {
    ...{ stopped: null, files: 0, tools: 0, missingFiles: 0, repairedTools: 0, orphansDeleted: 0 },
  };
  const proceed = () => {
    if (stopping?.aborted === true) throw new SweepStopped('STOPPING');
  };
  try {
    // First what Vapi has, then what it should have: whatever is made in between is not missing, because it is looked at again.
    const files = readable(await ports.files.list());
    const tools = new Map<string, RemoteResource>();
    for await (const page of listedPages(ports.tools, proceed))
      for (const tool of page) tools.set(tool.id, tool);
    const heldFiles = await pages(
      (after) => ports.store.files(after, PAGE),
      ({ documentId }) => documentId,
    );
    const heldTools = await pages(
      (after) => ports.store.tools(after, PAGE),
      ({ orgId }) => orgId,
    );
    report.files = heldFiles.length;
    report.tools = heldTools.length;

    const fileIds = new Set(files.map(({ id }) => id));
    const unseenFiles = heldFiles.filter(
      ({ fileId, wanted, busy }) => wanted && !busy && !fileIds.has(fileId),
    );
    const unseenTools = heldTools.filter(({ toolId }) => !tools.has(toolId));
    const seen = heldFiles.length + heldTools.length - unseenFiles.length - unseenTools.length;
    const unseen = unseenFiles.length + unseenTools.length;
    // A key of another Vapi organization shows nothing of ours.
    if (seen === 0 && unseen > FEW) throw new SweepStopped('TOO_MANY_MISSING');

    for (const file of unseenFiles) {
      proceed();
      report.missingFiles += await lookForFile(ports, file);
    }
    for (const tool of heldTools) {
      const listed = tools.get(tool.toolId);
      if (tool.busy || (listed !== undefined && holds(tool, listed))) continue;
      proceed();
      if (await repair(ports, tool)) report.repairedTools += 1;
    }
    proceed();
    const held = new Set([
      ...heldFiles.map(({ fileId }) => fileId),
      ...heldTools.map(({ toolId }) => toolId),
    ]);
    report.orphansDeleted = await deleteOrphans(ports, {
      files: files.filter(({ id }) => !held.has(id)),
      tools: [...tools.values()].filter(({ id }) => !held.has(id)),
    });
    ports.meter.count('knowledge.sweep_done');
    ports.log.info({ event: 'knowledge.sweep_done', ...report }, 'swept files and tools');
  } catch (error) {
    if (!(error instanceof SweepStopped)) throw error;
    report.stopped = error.why;
    if (error.why !== 'STOPPING') {
      ports.meter.count('knowledge.sweep_stopped');
      ports.log.error(
        { event: 'knowledge.sweep_stopped', why: error.why },
        'the sweep of files and tools stopped; nothing was judged after that',
      );
    }
  }
  return report;
}

async function pages<Row>(
  read: (after: string | null) => Promise<Row[]>,
  idOf: (row: Row) => string,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (;;) {
    const last = rows.at(-1);
    const page = await read(last === undefined ? null : idOf(last));
    rows.push(...page);
    if (page.length < PAGE) return rows;
  }
}

/** The list may be older than the file, or may not show it. Returns 1 if the file is to be made again. */
async function lookForFile(
  ports: KnowledgeSweepPorts,
  { orgId, documentId, fileId }: HeldFile,
): Promise<number> {
  const reply = await ports.files.get(fileId);
  if (reply.kind !== 'gone') {
    readable(reply);
    return 0;
  }
  return noteFiles(ports, [{ orgId, documentId, fileId, seen: 'MISSING' }]);
}

function holds(tool: HeldTool, found: RemoteResource): boolean {
  return (
    queryToolDifferences(renderQueryTool(tool.mappingVersion, tool.fileIds, tool.sagaId), found).length === 0
  );
}

/** The list may be older than the last saga. Returns true if the tool is to be written again. */
async function repair(ports: KnowledgeSweepPorts, tool: HeldTool): Promise<boolean> {
  const reply = await ports.tools.get(tool.toolId);
  if (reply.kind !== 'gone' && holds(tool, readable(reply))) return false;
  if (!(await ports.store.repairTool(tool.orgId, tool.sagaId))) return false;
  ports.meter.count('knowledge.tool_repaired');
  ports.log.warn(
    {
      event: 'knowledge.tool_repaired',
      orgId: tool.orgId,
      toolId: tool.toolId,
      gone: reply.kind === 'gone',
    },
    'a query tool was changed or deleted in Vapi; it is written again',
  );
  return true;
}

async function deleteOrphans(
  ports: KnowledgeSweepPorts,
  unheld: { files: RemoteResource[]; tools: RemoteResource[] },
): Promise<number> {
  const { store, orphanAgeMs } = ports;
  const files = unheld.files.flatMap((file) => {
    const stamp = fileStampOf(file);
    return stamp === null ? [] : [{ ...stamp, fileId: file.id }];
  });
  const tools = unheld.tools.flatMap((tool) => {
    const sagaId = queryToolStampOf(tool);
    return sagaId === null ? [] : [{ sagaId, toolId: tool.id }];
  });
  let deleted = 0;
  const remove = async (id: string, what: 'file' | 'tool', reply: ProviderReply<unknown>) => {
    if (reply.kind !== 'ok' && reply.kind !== 'gone') return;
    deleted += 1;
    ports.meter.count('knowledge.orphan_deleted');
    ports.log.info({ event: 'knowledge.orphan_deleted', what, id }, 'deleted what no saga kept');
  };
  for (const id of files.length === 0 ? [] : await store.fileOrphans(files, orphanAgeMs)) {
    await remove(id, 'file', await ports.files.remove(id));
  }
  for (const id of tools.length === 0 ? [] : await store.toolOrphans(tools, orphanAgeMs)) {
    await remove(id, 'tool', await ports.tools.remove(id));
  }
  return deleted;
}
