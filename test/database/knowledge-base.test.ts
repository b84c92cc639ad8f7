/**
 * Documents and query tools in a real Postgres, with a remote system in memory. Every saga of theirs dies at each of its requests and
 * transitions; recovery and the jobs must then bring both sides to the same state.
 */
import { createHash, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { createServiceClient } from '../../src/adapters/supabase/clients.ts';
import { createSagaJournal } from '../../src/adapters/supabase/rpc-journal.ts';
import { createRpcKnowledgeBaseStore } from '../../src/adapters/supabase/rpc-knowledge-base-store.ts';
import { systemClock } from '../../src/adapters/system/system.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import type { KnowledgeBaseStore } from '../../src/ports/knowledge-base/knowledge-base-store.ts';
import type { OpenSaga, SagaJournal } from '../../src/ports/saga-journal.ts';
import type { Log } from '../../src/ports/system.ts';
import type {
  ProviderReply,
  RemoteFiles,
  RemoteResource,
  RemoteResources,
} from '../../src/ports/voice-provider.ts';
import { type ContentSource, documentSaga, fileStampOf } from '../../src/services/knowledge-base/file.ts';
import { queryToolSaga, queryToolStampOf } from '../../src/services/knowledge-base/query-tool.ts';
import { sweepKnowledgeBase } from '../../src/services/knowledge-base/sweep.ts';
import { workOnKnowledgeBase } from '../../src/services/knowledge-base/work.ts';
import type { SagaKind } from '../../src/services/saga/participant.ts';
import { recoverAbandonedSagas } from '../../src/services/saga/recovery.ts';
import { instant, type RunPorts, SagaRun } from '../../src/services/saga/run.ts';
import { supabaseConfig } from '../support/app.ts';
import { Life } from '../support/life.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

const FAR = 3_600_000;
const SETTINGS = {
  ...{ leaseMs: FAR, deadlineMs: 2 * FAR, answerMs: FAR, lateMs: FAR, requestTimeoutMs: 10_000 },
};
const log: Log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
const meter = { count() {} };

let supabase: TestSupabase;
let journal: SagaJournal;
let store: KnowledgeBaseStore;
let orgId: string;
beforeAll(async () => {
  supabase = await createTestSupabase();
  const client = createServiceClient(supabaseConfig(supabase));
  journal = createSagaJournal(client, z.unknown());
  const all = createRpcKnowledgeBaseStore(client);
  // Only what is due in the organization of the test: others have left work behind.
  store = {
    ...all,
    due: async () => {
      const { documents: due, tools } = await all.due(10_000);
      return {
        documents: due.filter((one) => one.orgId === orgId),
        tools: tools.filter((id) => id === orgId),
      };
    },
    files: async (...page) => (await all.files(...page)).filter((one) => one.orgId === orgId),
    tools: async (...page) => (await all.tools(...page)).filter((one) => one.orgId === orgId),
  };
});
afterAll(() => supabase?.stop());
beforeEach(async () => {
  orgId = await supabase.createOrganization();
});

/** Files and tools in memory. A file is `done` as soon as somebody asks for it. */
class Remote {
  readonly files = new Map<string, RemoteResource>();
  readonly tools = new Map<string, RemoteResource>();
  readonly writes: string[] = [];
  /** Refuses such writes for good. */
  refuses: RegExp | null = null;
  status = 'done';
  /** So many updates of tools are answered with other content than Vapi has stored. */
  garbled = 0;

  write<T>(what: string, effect: () => ProviderReply<T>): ProviderReply<T> {
    this.writes.push(what);
    if (this.refuses?.test(what)) return { kind: 'refused', status: 400, messages: ['no'] };
    return effect();
  }

  make(of: Map<string, RemoteResource>, document: JsonObject): ProviderReply<RemoteResource> {
    const made = { ...document, id: randomUUID(), createdAt: new Date().toISOString() };
    of.set(made.id, made);
    return { kind: 'ok', value: made };
  }

  got(of: Map<string, RemoteResource>, id: string): ProviderReply<RemoteResource> {
    const found = of.get(id);
    return found === undefined ? { kind: 'gone' } : { kind: 'ok', value: found };
  }

  removed(of: Map<string, RemoteResource>, id: string): ProviderReply<RemoteResource> {
    const found = this.got(of, id);
    of.delete(id);
    return found;
  }
}

function voiceOf(remote: Remote, life: Life): { files: RemoteFiles; tools: RemoteResources } {
  const { files, tools } = remote;
  const write = <T>(what: string, effect: () => ProviderReply<T>) =>
    life.do(what, () => remote.write(what, effect));
  return {
    files: {
      ...{ timeoutMs: 10_000, uploadTimeoutMs: 10_000 },
      upload: ({ name, content, metadata }) =>
        write('POST file', () =>
          remote.make(files, {
            ...{ name, metadata, bytes: content.length, status: 'processing' },
            sha256: createHash('sha256').update(content).digest('hex'),
          }),
        ),
      get: async (id) => {
        const found = remote.got(files, id);
        return found.kind === 'ok' ? { kind: 'ok', value: { ...found.value, status: remote.status } } : found;
      },
      remove: (id) => write('DELETE file', () => remote.removed(files, id)),
      list: async () => ({ kind: 'ok', value: [...files.values()] }),
    },
    tools: {
      timeoutMs: 10_000,
      create: (document) => write('POST tool', () => remote.make(tools, document)),
      update: (id, document) =>
        write('PATCH tool', () => {
          const found = tools.get(id);
          if (found === undefined) return { kind: 'gone' };
          const changed = { ...found, ...document };
          tools.set(id, changed);
          remote.garbled -= 1;
          return { kind: 'ok', value: remote.garbled < 0 ? changed : { ...changed, function: null } };
        }),
      get: async (id) => remote.got(tools, id),
      remove: (id) => write('DELETE tool', () => remote.removed(tools, id)),
      list: async () => ({ kind: 'ok', value: [...tools.values()] }),
    },
  };
}

const ports: Omit<RunPorts<unknown>, 'journal'> = {
  ...{ clock: systemClock, log, settings: SETTINGS, meter },
  random: { next: () => 0.5 },
};

type Begun = { outcome: string; rows?: JsonObject[]; saga?: { id: string; status: string } } & JsonObject;

const REQUEST = { requestHash: 'h', cause: 'USER', leaseMs: FAR, deadlineMs: 2 * FAR, mappingVersion: 1 };

async function begin(
  kind: 'documents' | 'query_tool',
  request: object,
  org = orgId,
  sagaId: string = randomUUID(),
): Promise<Begun> {
  const [row] = await supabase.sql<{ answer: Begun }[]>`
    select ${supabase.sql(`public.begin_${kind}`)}(${org}, ${sagaId}, 'one', ${JSON.stringify({ ...REQUEST, ...request })}::text::jsonb)
      as answer`;
  if (row === undefined) throw new Error('no answer');
  return row.answer;
}

const CONTENT = 'Open from nine to five.';
const upload = (over: { documentId?: string; name?: string; content?: string } = {}) => ({
  ...{ action: 'UPLOAD', documentId: over.documentId ?? randomUUID(), contentType: 'text/plain' },
  ...{ name: over.name ?? 'Hours.txt', content: Buffer.from(over.content ?? CONTENT).toString('base64') },
});

/** Begins a saga and carries it out as a server does. */
async function make(remote: Remote, life: Life, kind: 'documents' | 'query_tool', request: object) {
  const leaseFrom = instant(systemClock);
  const begun = await life.do(`begin ${kind}`, () => begin(kind, request));
  if (begun.outcome !== 'BEGUN') return { kind: begun.outcome, begun };
  const open = begun as unknown as OpenSaga;
  // As a server does it: what was uploaded is in its memory.
  const { content } = request as { content?: string };
  const held = content === undefined ? store.content : () => new Uint8Array(Buffer.from(content, 'base64'));
  const run = new SagaRun({ ...ports, journal: life.journal(journal) }, kindOf(kind, remote, life, held), {
    ...{ orgId, saga: open.saga, images: open.images, deployment: open.deployment },
    ...{ leaseFrom, leaseMs: FAR, taken: false, once: false, quarantined: false, pastDeadline: false },
  });
  const end = await run.run();
  return { kind: end.saga.status === 'COMMITTED' ? 'committed' : 'failed', begun };
}

function kindOf(kind: string, remote: Remote, life: Life, contents: ContentSource = store.content): SagaKind {
  const { files, tools } = voiceOf(remote, life);
  return kind === 'documents' ? documentSaga(files, contents) : queryToolSaga(tools);
}

/** One run of the job, whose process may die. */
function work(remote: Remote, life = new Life()): Promise<number | 'died'> {
  const run = workOnKnowledgeBase({
    ...{ store, log, meter, files: voiceOf(remote, life).files },
    sagas: {
      document: (_org, documentId, action) => make(remote, life, 'documents', { documentId, action }),
      publish: () => make(remote, life, 'query_tool', {}),
    },
  });
  return Promise.race([run, life.died]);
}

/** Everything that is to be looked at later is due now. */
async function hurry(): Promise<void> {
  await supabase.sql`
    update public.knowledge_base_documents set check_at = now() where check_at is not null and org_id = ${orgId}`;
  await supabase.sql`update lockstep.query_tools set check_at = now() where check_at is not null and org_id = ${orgId}`;
  await supabase.sql`update lockstep.fences set until = now() where org_id = ${orgId}`;
}

async function recover(remote: Remote, dead: Life): Promise<void> {
  for (let round = 0; round < 6; round += 1) {
    await supabase.sql`
      update public.sagas set lease_until = now(), look_at = null,
        quarantine_until = case when quarantine_until is not null then now() end
      where org_id = ${orgId} and status in ('APPLYING', 'ROLLING_BACK')`;
    const { taken } = await recoverAbandonedSagas<unknown>(
      journal,
      (_org, { saga }) => ({ kind: kindOf(saga.kind, remote, new Life()), journal, ended: () => {} }),
      { ...ports, owner: 'two' },
    );
    dead.land();
    if (taken === 0) return;
  }
}

/** Recovery and the jobs, until nothing is left to do. */
async function settle(remote: Remote, dead = new Life()): Promise<void> {
  await recover(remote, dead);
  for (let round = 0; round < 6; round += 1) {
    await hurry();
    const done = await work(remote);
    await recover(remote, dead);
    if (done === 0) return;
  }
}

async function documents() {
  return supabase.sql<
    { id: string; state: string; failure: string | null; file: string | null; bytes: boolean }[]
  >`
    select d.id, d.state, d.failure, d.vapi_file_id as file,
      exists (select from lockstep.document_contents c where c.document_id = d.id) as bytes
    from public.knowledge_base_documents d where d.org_id = ${orgId} order by d.created_at`;
}

async function tool() {
  const [row] = await supabase.sql<
    { tool_id: string | null; file_ids: string[]; dirty: boolean; removing: boolean; last_saga_id: string }[]
  >`select * from lockstep.query_tools where org_id = ${orgId}`;
  return row;
}

/** At rest both sides agree: a file for each document that is wanted, and one tool with the READY ones. */
async function expectAgreement(remote: Remote): Promise<void> {
  const rows = await documents();
  expect([...remote.files.keys()].sort()).toEqual(rows.flatMap(({ file }) => file ?? []).sort());
  const ready = rows.filter(({ state }) => state === 'READY').flatMap(({ file }) => file ?? []);
  const row = await tool();
  expect(row?.dirty ?? false).toBe(false);
  expect([...(row?.file_ids ?? [])].sort()).toEqual(ready.sort());
  expect([...remote.tools.keys()]).toEqual(row?.tool_id == null ? [] : [row.tool_id]);
  for (const found of remote.tools.values()) {
    expect(found).toMatchObject({ knowledgeBases: [{ fileIds: [...ready].sort() }] });
    expect(queryToolStampOf(found)).toBe(row?.last_saga_id);
  }
  for (const { state, file, bytes } of rows) {
    expect(bytes, state).toBe(['UPLOADING', 'PROCESSING', 'READY', 'MISSING'].includes(state));
    if (file !== null) expect(fileStampOf(remote.files.get(file) ?? {})?.orgId).toBe(orgId);
  }
  const [left] = await supabase.sql`
    select count(*)::integer as keys from lockstep.saga_keys where org_id = ${orgId}`;
  expect(left).toEqual({ keys: 0 });
}

/** A document that is READY and published. */
async function published(remote: Remote, content = CONTENT): Promise<string> {
  const request = upload({ content });
  await make(remote, new Life(), 'documents', request);
  await settle(remote);
  await expectAgreement(remote);
  return request.documentId;
}

describe('a document', () => {
  test('is uploaded with its content and stamp, read, and published in the one tool of its organization', async () => {
    const remote = new Remote();
    const request = upload();
    const { begun } = await make(remote, new Life(), 'documents', request);
    expect(await documents()).toMatchObject([{ id: request.documentId, state: 'PROCESSING', bytes: true }]);
    const [file] = remote.files.values();
    expect(file).toMatchObject({
      bytes: CONTENT.length,
      sha256: createHash('sha256').update(CONTENT).digest('hex'),
      metadata: {
        lockstep: { orgId, documentId: request.documentId, sagaId: begun.saga?.id },
      },
    });
    expect(file?.['name']).toMatch(/^ls1-[A-Za-z0-9_-]{22}\.txt$/);
    await settle(remote);
    await expectAgreement(remote);
    expect(await documents()).toMatchObject([{ state: 'READY' }]);
    expect([...remote.tools.values()]).toMatchObject([
      { type: 'query', function: { name: 'search_knowledge_base' } },
    ]);

    await published(remote, 'Another one.');
    expect(remote.tools.size).toBe(1);
    expect(remote.writes.filter((write) => write === 'POST tool')).toHaveLength(1);
  });

  test('with the content of another one that is wanted is that one, in its own organization only', async () => {
    const remote = new Remote();
    const first = await published(remote);
    const again = await begin('documents', upload({ name: 'Copy.txt' }));
    expect(again).toMatchObject({
      ...{ outcome: 'REPLAY', saga: { status: 'COMMITTED' } },
      rows: [{ id: first, name: 'Hours.txt', state: 'READY' }],
    });
    expect(await documents()).toHaveLength(1);
    const other = await supabase.createOrganization();
    expect(await begin('documents', upload(), other)).toMatchObject({ outcome: 'BEGUN' });
  });

  test('with the content of one that was removed or has failed is a new one', async () => {
    const remote = new Remote();
    await begin('documents', { action: 'REMOVE', documentId: await published(remote) });
    expect(await begin('documents', upload())).toMatchObject({ outcome: 'BEGUN' });

    orgId = await supabase.createOrganization();
    remote.status = 'failed';
    await make(remote, new Life(), 'documents', upload());
    await settle(remote);
    expect(await documents()).toMatchObject([{ state: 'FAILED' }]);
    expect(await begin('documents', upload())).toMatchObject({ outcome: 'BEGUN' });
  });

  test('that Vapi cannot read has failed, for a reason in words, and its file is deleted', async () => {
    const remote = new Remote();
    remote.status = 'failed';
    await make(remote, new Life(), 'documents', upload());
    await settle(remote);
    expect(await documents()).toMatchObject([
      { state: 'FAILED', failure: expect.stringContaining('cannot be read'), file: null, bytes: false },
    ]);
    await expectAgreement(remote);
    expect(remote.tools.size).toBe(0);
  });

  test('that Vapi does not read within a day has failed', async () => {
    const remote = new Remote();
    remote.status = 'processing';
    await make(remote, new Life(), 'documents', upload());
    await work(remote);
    expect(await documents()).toMatchObject([{ state: 'PROCESSING' }]);
    await supabase.sql`
      update public.knowledge_base_documents set processing_since = now() - interval '25 hours' where org_id = ${orgId}`;
    await settle(remote);
    expect(await documents()).toMatchObject([
      { state: 'FAILED', failure: expect.stringContaining('within a day') },
    ]);
    await expectAgreement(remote);
  });

  test('that Vapi refuses has failed, with its words', async () => {
    const remote = new Remote();
    remote.refuses = /POST file/;
    await make(remote, new Life(), 'documents', upload());
    expect(await documents()).toMatchObject([
      { state: 'FAILED', failure: 'The knowledge base was not changed. Vapi refused it: no', bytes: false },
    ]);
    await expectAgreement(remote);
  });

  test('is asked for less and less often while Vapi reads it', async () => {
    const remote = new Remote();
    remote.status = 'processing';
    await make(remote, new Life(), 'documents', upload());
    const waits: number[] = [];
    for (let round = 0; round < 6; round += 1) {
      await hurry();
      await work(remote);
      const [row] = await supabase.sql<{ s: number }[]>`
        select round(extract(epoch from check_at - clock_timestamp()))::integer as s
        from public.knowledge_base_documents where org_id = ${orgId}`;
      waits.push(row?.s ?? 0);
    }
    expect(waits[0]).toBeLessThanOrEqual(2);
    expect([...waits].sort((a, b) => a - b)).toEqual(waits);
    expect(waits.at(-1)).toBeGreaterThan(20);
    expect(waits.at(-1)).toBeLessThanOrEqual(30);
  });
});

describe('a removal', () => {
  test('is a wish that is answered at once; the file goes once no published list names it', async () => {
    const remote = new Remote();
    const kept = await published(remote);
    const documentId = await published(remote, 'Another one.');
    remote.writes.length = 0;
    expect(await begin('documents', { action: 'REMOVE', documentId })).toMatchObject({
      ...{ outcome: 'REPLAY', saga: { status: 'COMMITTED' } },
      rows: [{ id: documentId, state: 'REMOVING' }],
    });
    expect((await store.due(10)).documents).toEqual([]);
    expect(await begin('documents', { action: 'DELETE', documentId })).toMatchObject({ outcome: 'NOT_DUE' });
    await settle(remote);
    expect(remote.writes).toEqual(['PATCH tool', 'DELETE file']);
    expect(await documents()).toMatchObject([
      { id: kept, state: 'READY' },
      { state: 'REMOVED', file: null },
    ]);
    await expectAgreement(remote);
  });

  test('of the last document takes the tool away, agents first', async () => {
    const remote = new Remote();
    const documentId = await published(remote);
    const toolId = (await tool())?.tool_id ?? '';
    const context = async (config: JsonObject) => {
      const [row] = await supabase.sql<{ c: JsonObject }[]>`
        with org as materialized (select set_config('lockstep.org_id', ${orgId}, false))
        select lockstep.agent_context(${orgId}, ${supabase.sql.json(config)}) as c from org`;
      return row?.c;
    };
    expect(await context({ useKnowledgeBase: true })).toEqual({ toolId });
    expect(await context({ useKnowledgeBase: false })).toEqual({});
    expect(await context({})).toEqual({});
    await agentNames(toolId);

    remote.writes.length = 0;
    await begin('documents', { action: 'REMOVE', documentId });
    expect(await context({ useKnowledgeBase: true })).toEqual({});
    expect(await begin('query_tool', {})).toEqual({ outcome: 'WAITING' });
    await settle(remote);
    expect(remote.writes).toEqual([]);
    expect(await documents()).toMatchObject([{ state: 'REMOVING' }]);

    await agentNames(null);
    await settle(remote);
    expect(remote.writes).toEqual(['DELETE tool', 'DELETE file']);
    expect(await documents()).toMatchObject([{ state: 'REMOVED' }]);
    await expectAgreement(remote);
  });

  test('of a tool excludes saves of agents while it is under way, and gives them no tool afterwards', async () => {
    const remote = new Remote();
    await begin('documents', { action: 'REMOVE', documentId: await published(remote) });
    expect(await begin('query_tool', {})).toMatchObject({ outcome: 'BEGUN' });
    const [keys] = await supabase.sql`
      select array_agg(key order by key) as keys from lockstep.saga_keys where org_id = ${orgId}`;
    expect(keys).toEqual({ keys: ['agents', 'tool'] });
    expect(await tool()).toMatchObject({ removing: true });
  });

  test('of a document that has no file needs no request', async () => {
    const remote = new Remote();
    remote.refuses = /POST file/;
    const request = upload();
    await make(remote, new Life(), 'documents', request);
    expect(await begin('documents', { action: 'REMOVE', documentId: request.documentId })).toMatchObject({
      rows: [{ state: 'REMOVED' }],
    });
    expect(await begin('documents', { action: 'REMOVE', documentId: request.documentId })).toMatchObject({
      outcome: 'REPLAY',
      rows: [{ state: 'REMOVED' }],
    });
  });

  test('of a document of another organization finds none', async () => {
    const documentId = await published(new Remote());
    const other = await supabase.createOrganization();
    for (const action of ['REMOVE', 'DELETE', 'REMAKE']) {
      expect(await begin('documents', { action, documentId }, other)).toEqual({ outcome: 'NO_DOCUMENT' });
    }
    expect(await documents()).toMatchObject([{ state: 'READY' }]);
  });

  test('waits for an upload that is open, and is not sent while a saga may still publish the file', async () => {
    const remote = new Remote();
    const documentId = await published(remote);
    const open = upload({ content: 'Under way.' });
    await begin('documents', open);
    expect(await begin('documents', { action: 'REMOVE', documentId: open.documentId })).toMatchObject({
      outcome: 'IN_PROGRESS',
    });
    await begin('documents', { action: 'REMOVE', documentId });
    await supabase.sql`update lockstep.query_tools set file_ids = '{}', tool_id = null where org_id = ${orgId}`;
    await supabase.sql`
      insert into lockstep.fences values (${orgId}, 'tool', now() + interval '1 hour', ${randomUUID()})`;
    expect(await begin('documents', { action: 'DELETE', documentId })).toEqual({ outcome: 'NOT_DUE' });
    expect((await store.due(10)).documents).toEqual([]);
    await hurry();
    expect(await begin('documents', { action: 'DELETE', documentId })).toMatchObject({ outcome: 'BEGUN' });
  });

  test('that Vapi refuses says so on the document, and is tried again', async () => {
    const remote = new Remote();
    const documentId = await published(remote);
    await begin('documents', { action: 'REMOVE', documentId });
    remote.refuses = /DELETE file/;
    await settle(remote);
    expect(await documents()).toMatchObject([
      { state: 'REMOVING', failure: 'The knowledge base was not changed. Vapi refused it: no' },
    ]);
    remote.refuses = null;
    await settle(remote);
    expect(await documents()).toMatchObject([{ state: 'REMOVED', failure: null }]);
    await expectAgreement(remote);
  });
});

describe('allowances', () => {
  const allow = (documents: number, bytes: number) => supabase.sql`
    insert into lockstep.allowances (org_id, numbers, documents, bytes) values (${orgId}, 5, ${documents}, ${bytes})`;

  test('bound the documents, and count what is still in Vapi', async () => {
    const remote = new Remote();
    await allow(1, 1_000);
    const documentId = await published(remote);
    const another = upload({ content: 'Another one.' });
    const refused = { outcome: 'ALLOWANCE_EXCEEDED', of: 'documents', allowance: 1, used: 1 };
    expect(await begin('documents', another)).toEqual(refused);
    await begin('documents', { action: 'REMOVE', documentId });
    expect(await begin('documents', another)).toEqual(refused);
    await settle(remote);
    expect(await begin('documents', another)).toMatchObject({ outcome: 'BEGUN' });
  });

  test('bound the bytes, to the last one', async () => {
    await allow(10, 10);
    expect(await begin('documents', upload({ content: 'x'.repeat(11) }))).toEqual({
      ...{ outcome: 'ALLOWANCE_EXCEEDED', of: 'bytes', allowance: 10, used: 0 },
    });
    expect(await begin('documents', upload({ content: 'x'.repeat(10) }))).toMatchObject({ outcome: 'BEGUN' });
    expect(await begin('documents', upload({ content: 'y' }))).toMatchObject({ of: 'bytes', used: 10 });
  });

  test('count a document that has failed as long as Vapi has its file', async () => {
    await supabase.sql`select lockstep.set_allowance(${orgId}, null, 1, null)`;
    const failed = upload({ content: 'Unreadable.' });
    await supabase.sql`
      insert into public.knowledge_base_documents (id, org_id, name, content_type, size_bytes, state, failure, vapi_file_id)
      values (${failed.documentId}, ${orgId}, 'a.txt', 'text/plain', 1, 'FAILED', 'Unreadable.', ${randomUUID()})`;
    expect(await begin('documents', upload({ content: 'Another one.' }))).toMatchObject({
      ...{ outcome: 'ALLOWANCE_EXCEEDED', of: 'documents', allowance: 1, used: 1 },
    });
    await supabase.sql`
      update public.knowledge_base_documents set vapi_file_id = null where id = ${failed.documentId}`;
    expect(await begin('documents', upload({ content: 'Another one.' }))).toMatchObject({ outcome: 'BEGUN' });
  });

  test('bound the bytes of one document, whatever the server lets through', async () => {
    await expect(begin('documents', upload({ content: 'x'.repeat(5 * 2 ** 20 + 1) }))).rejects.toMatchObject({
      code: '23514',
    });
    await expect(begin('documents', upload({ content: '' }))).rejects.toMatchObject({ code: '23514' });
  });
});

test('the bytes of a document go to the server that uploads them, and to no client', async () => {
  const content = Buffer.from(Array.from({ length: 3_000 }, (_, i) => i % 256));
  const request = { ...upload(), content: content.toString('base64') };
  await begin('documents', request);
  expect(Buffer.from((await store.content(orgId, request.documentId)) ?? [])).toEqual(content);
  expect(await store.content(await supabase.createOrganization(), request.documentId)).toBeNull();
  const [rights] = await supabase.sql`
    select bool_or(has_table_privilege(r, 'lockstep.document_contents', 'select')) as read,
      bool_or(has_function_privilege(r, 'public.document_content(uuid, uuid)', 'execute')) as called
    from unnest(array['anon', 'authenticated']) as r`;
  expect(rights).toEqual({ read: false, called: false });
});

describe('the publication', () => {
  test('computes the list under the lock, and a change meanwhile is published by the next one', async () => {
    const remote = new Remote();
    await published(remote);
    const second = upload({ content: 'Another one.' });
    await make(remote, new Life(), 'documents', second);
    await supabase.sql`
      update public.knowledge_base_documents set state = 'READY' where id = ${second.documentId}`;
    const begun = await begin('query_tool', {});
    await begin('documents', { action: 'REMOVE', documentId: second.documentId });
    const [part] = await supabase.sql<{ n: number }[]>`
      select jsonb_array_length(after_content -> 'fileIds') as n from lockstep.saga_parts where saga_id = ${begun.saga?.id ?? ''}`;
    expect(part).toEqual({ n: 2 });
    await settle(remote);
    expect(await documents()).toMatchObject([{ state: 'READY' }, { state: 'REMOVED' }]);
    await expectAgreement(remote);
  });

  test('begins nothing while the tool is as it should be', async () => {
    const remote = new Remote();
    expect(await begin('query_tool', {})).toEqual({ outcome: 'NOTHING' });
    await published(remote);
    expect(await begin('query_tool', {})).toEqual({ outcome: 'NOTHING' });
    expect((await store.due(10)).tools).toEqual([]);
  });

  test('that Vapi refuses leaves the old list, and is tried again, later each time', async () => {
    const remote = new Remote();
    await published(remote);
    const [before] = remote.tools.values();
    remote.refuses = /PATCH tool/;
    await make(remote, new Life(), 'documents', upload({ content: 'Another one.' }));
    await settle(remote);
    expect([...remote.tools.values()]).toEqual([before]);
    expect(await tool()).toMatchObject({ dirty: true });
    expect((await store.due(10)).tools).toEqual([]);
    remote.refuses = null;
    await settle(remote);
    await expectAgreement(remote);
  });

  test('that Vapi answers with other content puts the old list back', async () => {
    const remote = new Remote();
    await published(remote);
    const [before] = remote.tools.values();
    const second = upload({ content: 'Another one.' });
    await make(remote, new Life(), 'documents', second);
    await supabase.sql`
      update public.knowledge_base_documents set state = 'READY' where id = ${second.documentId}`;
    remote.garbled = 1;
    expect(await make(remote, new Life(), 'query_tool', {})).toMatchObject({ kind: 'failed' });
    expect([...remote.tools.values()]).toEqual([before]);
    await settle(remote);
    await expectAgreement(remote);
  });
});

describe('the sweep', () => {
  const sweep = (remote: Remote, orphanAgeMs = 0) => {
    const { files, tools } = voiceOf(remote, new Life());
    return sweepKnowledgeBase({ store, files, tools, log, meter, orphanAgeMs });
  };

  test('finds a file that somebody deleted, which is made again from our bytes under a new id', async () => {
    const remote = new Remote();
    await published(remote, 'Stays.');
    const documentId = await published(remote);
    const { file } = (await documents()).find(({ id }) => id === documentId) ?? {};
    remote.files.delete(file ?? '');
    expect(await sweep(remote)).toMatchObject({ stopped: null, missingFiles: 1 });
    expect(await documents()).toMatchObject([{ state: 'READY' }, { state: 'MISSING', file: null }]);
    await settle(remote);
    await expectAgreement(remote);
    const again = (await documents()).find(({ id }) => id === documentId);
    expect(again).toMatchObject({ state: 'READY' });
    expect(again?.file).not.toBe(file);
    expect(remote.files.get(again?.file ?? '')?.['sha256']).toBe(
      createHash('sha256').update(CONTENT).digest('hex'),
    );
  });

  test('looks again at a file that the list of Vapi leaves out, before it calls it missing', async () => {
    const remote = new Remote();
    await published(remote);
    const { files, tools } = voiceOf(remote, new Life());
    const behind = { ...files, list: async () => ({ kind: 'ok' as const, value: [] }) };
    const report = await sweepKnowledgeBase({ store, files: behind, tools, log, meter, orphanAgeMs: 0 });
    expect(report).toMatchObject({ stopped: null, files: 1, missingFiles: 0 });
    expect(await documents()).toMatchObject([{ state: 'READY' }]);
  });

  test('believes nothing of a file while a late request of its document may still be applied', async () => {
    const remote = new Remote();
    const documentId = await published(remote);
    const fileId = (await documents())[0]?.file ?? '';
    await supabase.sql`
      insert into lockstep.fences (org_id, key, until, saga_id)
      values (${orgId}, ${`document:${documentId}`}, now() + interval '1 hour', ${randomUUID()})
      on conflict (org_id, key) do update set until = excluded.until`;
    const note = { orgId, documentId, fileId, seen: 'MISSING' } as const;
    expect(await store.note([note])).toEqual([]);
    await hurry();
    expect(await store.note([note])).toEqual([{ documentId, state: 'MISSING' }]);
  });

  test('keeps the tool while the file of the only document is made again', async () => {
    const remote = new Remote();
    await published(remote);
    const toolId = (await tool())?.tool_id;
    remote.files.clear();
    await sweep(remote);
    expect(await begin('query_tool', {})).toEqual({ outcome: 'WAITING' });
    await settle(remote);
    await expectAgreement(remote);
    expect((await tool())?.tool_id).toBe(toolId);
    expect(remote.writes).not.toContain('DELETE tool');
  });

  test('has a tool written again that somebody edited, or deleted', async () => {
    const remote = new Remote();
    await published(remote);
    const toolId = (await tool())?.tool_id ?? '';
    const original = remote.tools.get(toolId);
    remote.tools.set(toolId, { ...(original as RemoteResource), function: { name: 'other' } });
    expect(await sweep(remote)).toMatchObject({ repairedTools: 1 });
    await settle(remote);
    await expectAgreement(remote);
    expect(remote.tools.get(toolId)).toMatchObject({ function: { name: 'search_knowledge_base' } });

    remote.tools.clear();
    expect(await sweep(remote)).toMatchObject({ repairedTools: 1 });
    await settle(remote);
    await expectAgreement(remote);
    expect((await tool())?.tool_id).not.toBe(toolId);
    expect(await sweep(remote)).toMatchObject({ repairedTools: 0, missingFiles: 0, orphansDeleted: 0 });
  });

  test('deletes files and tools of a closed saga that did not keep them, and nothing else', async () => {
    const remote = new Remote();
    await published(remote);
    const [file] = remote.files.values();
    const [held] = remote.tools.values();
    if (file === undefined || held === undefined) throw new Error('nothing published');
    const open = await begin('documents', upload({ content: 'Under way.' }));
    const copy = (id: string, of: RemoteResource, change: JsonObject = {}) => ({ ...of, ...change, id });
    const stamp = fileStampOf(file);
    // A copy of what a saga kept, one of another deployment, and one of a saga that is still open.
    remote.files.set('copy', copy('copy', file));
    remote.files.set(
      'foreign',
      copy('foreign', file, { metadata: { lockstep: { ...stamp, deployment: randomUUID() } } }),
    );
    remote.files.set(
      'open',
      copy('open', file, { metadata: { lockstep: { ...stamp, sagaId: open.saga?.id ?? '' } } }),
    );
    remote.files.set('plain', { id: 'plain' });
    remote.tools.set('copy', copy('copy', held));
    remote.tools.set('plain', { id: 'plain' });
    expect(await sweep(remote)).toMatchObject({ orphansDeleted: 0 });

    await supabase.sql`update public.sagas set ambiguous = true where org_id = ${orgId} and status = 'COMMITTED'`;
    expect(await sweep(remote, FAR)).toMatchObject({ orphansDeleted: 0 });
    expect(await sweep(remote)).toMatchObject({ orphansDeleted: 2 });
    expect([...remote.files.keys()]).toEqual([file.id, 'foreign', 'open', 'plain']);
    expect([...remote.tools.keys()]).toEqual([held.id, 'plain']);
  });

  test('believes nothing of an account that shows nothing of ours', async () => {
    const remote = new Remote();
    for (let n = 0; n < 4; n += 1) await published(remote, `Document ${n}`);
    expect(await sweep(new Remote())).toMatchObject({ stopped: 'TOO_MANY_MISSING', missingFiles: 0 });
    expect((await documents()).every(({ state }) => state === 'READY')).toBe(true);
  });
});

/** The process of a saga is killed at every request and transition, before, after, and while the request is on its way. */
describe('the process dies', () => {
  interface Scenario {
    what: string;
    ops: string[];
    /** What is there before. */
    given?: (remote: Remote) => Promise<void>;
    /** The process. */
    run: (remote: Remote, life: Life) => Promise<unknown>;
    states: string[];
    tool: boolean;
  }
  const removal = async (remote: Remote, other: boolean) => {
    if (other) await published(remote, 'Stays.');
    await begin('documents', { action: 'REMOVE', documentId: await published(remote) });
  };
  const SCENARIOS: Scenario[] = [
    {
      what: 'while it uploads a document',
      ops: ['begin documents', 'POST file', 'commit'],
      run: (remote, life) => make(remote, life, 'documents', upload()),
      ...{ states: ['READY'], tool: true },
    },
    {
      what: 'while it uploads a document that Vapi refuses',
      ops: ['begin documents', 'POST file', 'abort'],
      given: async (remote) => {
        remote.refuses = /POST file/;
      },
      run: (remote, life) => make(remote, life, 'documents', upload()),
      ...{ states: ['FAILED'], tool: false },
    },
    {
      what: 'while it publishes the first document',
      ops: ['begin query_tool', 'POST tool', 'commit'],
      given: async (remote) => {
        await make(remote, new Life(), 'documents', upload());
        await supabase.sql`
          update public.knowledge_base_documents set state = 'READY', was_ready = true, check_at = null
          where org_id = ${orgId}`;
        await supabase.sql`
          insert into lockstep.query_tools (org_id, dirty, check_at) values (${orgId}, true, now())`;
      },
      run: work,
      ...{ states: ['READY'], tool: true },
    },
    {
      what: 'while it removes one of two documents',
      ops: ['begin query_tool', 'PATCH tool', 'commit', 'begin documents', 'DELETE file', 'commit'],
      given: (remote) => removal(remote, true),
      run: work,
      ...{ states: ['READY', 'REMOVED'], tool: true },
    },
    {
      what: 'while it removes the last document',
      ops: ['begin query_tool', 'DELETE tool', 'commit', 'begin documents', 'DELETE file', 'commit'],
      given: (remote) => removal(remote, false),
      run: work,
      ...{ states: ['REMOVED'], tool: false },
    },
    {
      what: 'while it makes a file again that somebody deleted',
      ops: [
        ...['begin documents', 'POST file', 'commit', 'begin query_tool', 'PATCH tool', 'commit'],
        ...['begin query_tool', 'PATCH tool', 'commit'],
      ],
      given: async (remote) => {
        await published(remote, 'Stays.');
        const documentId = await published(remote);
        const { file } = (await documents()).find(({ id }) => id === documentId) ?? {};
        remote.files.delete(file ?? '');
        await store.note([{ orgId, documentId, fileId: file ?? '', seen: 'MISSING' }]);
      },
      run: work,
      ...{ states: ['READY', 'READY'], tool: true },
    },
    {
      what: 'while it writes a tool again that somebody deleted',
      ops: ['begin query_tool', 'PATCH tool', 'POST tool', 'commit'],
      given: async (remote) => {
        await published(remote);
        remote.tools.clear();
        await store.repairTool(orgId, (await tool())?.last_saga_id ?? '');
      },
      run: work,
      ...{ states: ['READY'], tool: true },
    },
  ];

  describe.each(SCENARIOS)('$what', ({ ops, given, run, states, tool: hasTool }) => {
    const points = ops.flatMap((op, nth) =>
      (['before', 'after', 'late'] as const)
        .filter((when) => when !== 'late' || /^[A-Z]/.test(op))
        .map((when) => ({ op, nth, when })),
    );
    test.each([{ op: 'nothing', nth: -1, when: 'before' as const }, ...points])(
      '$when $op',
      async ({ op, nth, when }) => {
        const remote = new Remote();
        await given?.(remote);
        const life = new Life(nth < 0 ? null : { nth, when });
        await Promise.race([run(remote, life), life.died]);
        if (nth < 0) expect(life.steps.slice(0, ops.length)).toEqual(ops);
        else expect(life.steps.at(-1)).toBe(op);
        await settle(remote, life);
        await expectAgreement(remote);
        // An upload that has not begun is nothing that anybody has heard of.
        const none = nth === 0 && when === 'before' && given === undefined;
        const isRefusedUpload = nth === 0 && when === 'before' && states[0] === 'FAILED';
        expect((await documents()).map(({ state }) => state).sort()).toEqual(
          none || isRefusedUpload ? [] : states,
        );
        if (!none) expect(remote.tools.size).toBe(Number(hasTool));
      },
    );
  });
});

/** What the last save of the agents rendered. */
async function agentNames(toolId: string | null): Promise<void> {
  await supabase.sql`
    insert into public.agents as a (id, org_id, role, config, vapi_assistant_id, revision, last_save_id, mapping_version, last_synced_at,
        checked_at, context)
      values (${randomUUID()}, ${orgId}, 'INBOUND', '{}', ${randomUUID()}, 1, ${randomUUID()}, 1, now(), now(),
        ${supabase.sql.json(toolId === null ? {} : { toolId })})
      on conflict (org_id, role) do update set context = excluded.context`;
}
