import type { JsonObject } from '../../src/domain/json.ts';
import { stampedName } from '../../src/domain/phone-numbers/stamp.ts';
import { Secret } from '../../src/domain/secret.ts';
import { ANY_AGENTS, buildTransactionalUpdates } from '../../src/services/agents/build.ts';
import { stampOf } from '../../src/services/agents/compare.ts';
import { fileStampOf } from '../../src/services/knowledge-base/file.ts';
import { queryToolStampOf } from '../../src/services/knowledge-base/query-tool.ts';
import { lateTimeMs } from '../../src/services/saga/settings.ts';
import type { TestSupabase } from '../support/supabase.ts';
import {
  type Adapters,
  JOBS,
  listedFiles,
  type PlantedInResources,
  type ResourceViolation,
  ResourceWorld,
  SETTINGS,
} from './resource-world.ts';

/**
 * One run: purchases, imports, updates, releases, uploads, removals and saves of two organizations, with faults and crashes; then no
 * more faults, and everything must come to rest.
 */

export interface ResourceRun {
  seed: number;
  violation: ResourceViolation | null;
  counts: Record<string, number>;
  log: string[];
}

const CARRIER = { accountSid: `AC${'0'.repeat(32)}`, token: new Secret('a'.repeat(32)) };
/** A person has to decide; the row says so. */
const FOR_A_PERSON = /operator/i;

export async function simulateResources(
  supabase: TestSupabase,
  adapters: Adapters,
  seed: number,
  planted: PlantedInResources = {},
): Promise<ResourceRun> {
  const world = new ResourceWorld(supabase, adapters, seed, planted);
  const { random } = world;
  const numbers: { id: string; orgId: string }[] = [];
  let imported = 0;
  await world.begin();
  await settleIn();

  world.faultRate = random.pick([0.05, 0.15, 0.3] as const);
  for (let left = random.int(16, 32); left > 0 && world.violation === null; left -= 1) {
    await act();
    await world.steps(random.pick([0, 1, 3, 8, 20] as const));
    if (random.chance(0.2)) await world.advance(random.int(1, 2 * SETTINGS.leaseMs));
  }
  await world.steps(300);

  world.faultRate = 0;
  world.resumeAll();
  world.record('the faults are over');
  await comeToRest();
  if (world.violation === null) await compare();
  return { seed, violation: world.violation, counts: world.counts, log: world.log };

  /** Each organization has agents, an attached number and a published document before anything goes wrong. */
  async function settleIn(): Promise<void> {
    for (const orgId of world.orgIds) {
      saveAgents(orgId, true);
      const id = random.uuid();
      numbers.push({ id, orgId });
      const wish = { areaCode: '206', label: 'The first', role: 'INBOUND' } as const;
      world.start('buy the first', ({ change }) =>
        change(
          orgId,
          { action: 'BUY', phoneNumberId: id, ...wish },
          { idempotencyKey: null, actor: 'somebody' },
        ),
      );
      world.start('upload the first', ({ knowledge }) =>
        knowledge.upload(
          { orgId, userId: 'somebody', idempotencyKey: null },
          { name: 'a.txt', contentType: 'text/plain', content: new TextEncoder().encode('The first') },
        ),
      );
    }
    await world.steps(1_000);
    await world.advance(100_000);
    for (const job of ['numbers', 'documents', 'render'] as const) {
      world.startJob(job);
      await world.steps(1_000);
    }
  }

  function saveAgents(orgId: string, both = false): void {
    const payload = () => ({
      config: { systemPrompt: `Prompt ${random.int(1, 1e6)}`, useKnowledgeBase: random.chance(0.7) },
      ...{ expectedRevision: null, recreateIfMissing: random.chance(0.5) },
    });
    const roles = both ? 3 : random.int(1, 3);
    const [inbound, outbound] = [roles & 1 ? payload() : null, roles & 2 ? payload() : null];
    const updates = buildTransactionalUpdates(orgId, ANY_AGENTS, inbound, outbound);
    world.start(`save of ${orgId.slice(0, 4)}`, ({ saveAs }) => saveAs(updates, null));
  }

  async function act(): Promise<void> {
    const orgId = random.pick(world.orgIds as [string, ...string[]]);
    const role = random.pick(['INBOUND', 'OUTBOUND'] as const);
    const label = `Label ${random.int(1, 100)}`;
    const asked = { idempotencyKey: random.chance(0.5) ? random.uuid() : null, actor: 'somebody' };
    const number = numbers.length === 0 ? null : random.pick(numbers as [(typeof numbers)[0]]);
    switch (
      random.weighted([
        [5, 'buy'],
        [3, 'import'],
        [4, 'update'],
        [2, 'release'],
        [5, 'upload'],
        [2, 'remove'],
        [2, 'save'],
        [7, 'job'],
        [2, 'person'],
        [1, 'crash'],
        [1, 'pause'],
      ] as const)
    ) {
      case 'buy': {
        const wish = { areaCode: '206', label, role: random.chance(0.5) ? role : undefined };
        // The same request again, as of a client that got no answer.
        for (let times = asked.idempotencyKey === null ? 1 : random.int(1, 2); times > 0; times -= 1) {
          const phoneNumberId = random.uuid();
          numbers.push({ id: phoneNumberId, orgId });
          world.start(`buy ${phoneNumberId.slice(0, 4)}`, ({ change }) =>
            change(orgId, { action: 'BUY', phoneNumberId, ...wish }, asked),
          );
        }
        return;
      }
      case 'import': {
        const phoneNumberId = random.uuid();
        numbers.push({ id: phoneNumberId, orgId });
        imported += 1;
        // Sometimes digits that somebody has already.
        const digits = `+1415666${String(1_000 + (random.chance(0.2) ? 1 : imported)).padStart(4, '0')}`;
        world.start(`import ${phoneNumberId.slice(0, 4)}`, ({ change }) =>
          change(
            orgId,
            { action: 'IMPORT', phoneNumberId, provider: 'twilio', number: digits, label },
            { ...asked, carrier: CARRIER },
          ),
        );
        return;
      }
      case 'update':
      case 'release': {
        if (number === null) return;
        // Sometimes of another organization: nothing may begin.
        const by = random.chance(0.1) ? orgId : number.orgId;
        const { id: phoneNumberId } = number;
        const wish = random.chance(0.33)
          ? ({ action: 'RELEASE', phoneNumberId } as const)
          : random.chance(0.3)
            ? ({ action: 'UPDATE', phoneNumberId, label } as const)
            : ({ action: 'UPDATE', phoneNumberId, role: random.chance(0.2) ? null : role } as const);
        world.start(`${wish.action.toLowerCase()} ${phoneNumberId.slice(0, 4)}`, ({ change }) =>
          change(by, wish, asked),
        );
        return;
      }
      case 'upload': {
        const content = new TextEncoder().encode(`Text ${random.int(1, 6)}`);
        world.start('upload', ({ knowledge }) =>
          knowledge.upload(
            { orgId, userId: 'somebody', idempotencyKey: asked.idempotencyKey },
            { name: 'a.txt', contentType: 'text/plain', content },
          ),
        );
        return;
      }
      case 'remove': {
        const rows = await supabase.sql<{ id: string; org_id: string }[]>`
          select id, org_id from public.knowledge_base_documents where state <> 'REMOVED' order by id`;
        if (rows.length === 0) return;
        const row = random.pick([...rows] as unknown as [{ id: string; org_id: string }]);
        world.start('remove', ({ knowledge }) =>
          knowledge.remove({ orgId: row.org_id, userId: 'somebody', idempotencyKey: null }, row.id),
        );
        return;
      }
      case 'save':
        saveAgents(orgId);
        return;
      case 'job':
        world.startJob(random.pick(JOBS));
        return;
      case 'person':
        person();
        return;
      case 'crash':
        world.crash();
        return;
      case 'pause':
        world.pause();
        return;
    }
  }

  /** What somebody does in the Vapi dashboard. */
  function person(): void {
    const { account } = world;
    const one = <T extends { id: string }>(all: readonly T[]) =>
      all.length === 0 ? null : random.pick(all as unknown as [T, ...T[]]);
    const touch = (id: string, what: string) => {
      world.touched.add(id);
      world.record(`somebody ${what} ${id}`);
    };
    switch (random.int(1, 5)) {
      case 1: {
        const number = one(account.phoneNumbers.all());
        const assistant = one(account.assistants.all());
        if (number === null || assistant === null) return;
        account.dashboardEdit(number.id, { assistantId: assistant.id });
        touch(number.id, 'points elsewhere');
        return;
      }
      case 2: {
        const number = one(account.phoneNumbers.all());
        if (number === null) return;
        account.dashboardDelete(number.id);
        touch(number.id, 'deletes');
        return;
      }
      case 3: {
        const file = one(account.files.all());
        if (file === null) return;
        account.dashboardDelete(file.id);
        touch(file.id, 'deletes');
        return;
      }
      default: {
        const tool = one(account.tools.all());
        if (tool === null) return;
        const isGone = random.chance(0.5);
        if (isGone) account.dashboardDelete(tool.id);
        else account.dashboardEdit(tool.id, { function: { name: 'something_else' } });
        touch(tool.id, isGone ? 'deletes' : 'edits');
      }
    }
  }

  /** Jobs and time, until no saga is open and nothing is fenced; and then as long as an orphan may live. */
  async function comeToRest(): Promise<void> {
    const round = async (jobs: readonly (typeof JOBS)[number][]) => {
      for (const job of jobs) world.startJob(job);
      await world.steps(5_000);
    };
    let open = 1;
    for (let left = 40; left > 0 && open > 0 && world.violation === null; left -= 1) {
      await world.advance(SETTINGS.leaseMs);
      await round(['recover', 'numbers', 'documents', 'render']);
      const [row] = await supabase.sql<{ open: number }[]>`
        select (select count(*) from public.sagas where status in ('APPLYING', 'ROLLING_BACK'))::integer
          + (select count(*) from lockstep.fences where until > now())::integer as open`;
      open = row?.open ?? 0;
    }
    if (open > 0) world.violate('nothing is open past its time', `${open} sagas and fences`);
    await world.land();
    if (world.violation !== null) return;
    // Sweeps, what they begin, and the same again once everything that nobody keeps is old enough.
    for (const ms of [700_000, 2 * lateTimeMs(SETTINGS)]) {
      await world.advance(ms);
      await round(['sweep', 'sweepNumbers', 'sweepDocuments']);
      for (let again = 0; again < 2; again += 1) {
        await world.advance(700_000);
        await round(['recover', 'numbers', 'documents', 'render']);
      }
    }
  }

  /** The rows and Vapi agree, or the row says in words that a person must decide. */
  async function compare(): Promise<void> {
    const { account } = world;
    const differs = (what: string) => world.violate('the rows and Vapi agree at rest', what);
    const held = await supabase.sql<{ id: string; kind: string; resource_id: string }[]>`
      select s.id, s.kind, p.resource_id from public.sagas s join lockstep.saga_parts p on p.saga_id = s.id
       where s.status = 'NEEDS_ATTENTION'`;
    const forAPerson = new Set(held.map(({ resource_id }) => resource_id));
    const agents = await supabase.sql<
      {
        id: string;
        org_id: string;
        role: string;
        vapi_assistant_id: string;
        context: JsonObject;
        missing: boolean;
        uses: boolean;
      }[]
    >`select id, org_id, role, vapi_assistant_id, context, missing_since is not null as missing,
        (config ->> 'useKnowledgeBase')::boolean as uses from public.agents`;

    const rows = await supabase.sql<NumberRow[]>`select * from public.phone_numbers`;
    const known = new Set<string>();
    for (const row of rows) {
      const number = account.phoneNumbers.all().find(({ id }) => id === row.vapi_phone_number_id);
      if (row.vapi_phone_number_id !== null) known.add(row.vapi_phone_number_id);
      const told = `number ${row.id} is ${row.state} (${row.failure}), Vapi has ${JSON.stringify(number)}`;
      if (forAPerson.has(row.id)) {
        if (!FOR_A_PERSON.test(row.failure ?? ''))
          differs(`${told}; nobody is told that a person must decide`);
        continue;
      }
      const isHeld = row.state === 'ACTIVE';
      if (isHeld !== (number !== undefined)) differs(told);
      if (!isHeld && !['FAILED', 'RELEASED', 'MISSING'].includes(row.state)) differs(told);
      if (number === undefined || !isHeld) continue;
      const agent = agents.find(({ id }) => id === row.agent_id);
      const pointsAt = (number['assistantId'] ?? null) as string | null;
      if (number['name'] !== stampedName(row.last_saga_id ?? '')) differs(`${told}: stamp`);
      if (pointsAt !== row.attached_assistant_id)
        differs(`${told}: attached to ${row.attached_assistant_id}`);
      if (agent !== undefined && !agent.missing && pointsAt !== agent.vapi_assistant_id)
        differs(`${told}: its agent is ${agent.vapi_assistant_id}`);
      const wanted = agents.find(({ org_id, role }) => org_id === row.org_id && role === row.wanted_role);
      if (wanted !== undefined && !wanted.missing && row.failure === null)
        differs(`${told}: it is not attached to ${row.wanted_role}, which was asked for`);
      if (pointsAt !== null && world.ownerOfAssistant(pointsAt) !== row.org_id)
        world.violate('no number points at the assistant of another organization', told);
    }
    for (const number of account.phoneNumbers.all())
      if (!known.has(number.id) && !(number.provider === 'vapi' && isToldLate(number.id)))
        differs(`no row has the number ${JSON.stringify(number)}`);

    const documents = await supabase.sql<DocumentRow[]>`select * from public.knowledge_base_documents`;
    for (const row of documents) {
      if (forAPerson.has(row.id)) {
        if (!FOR_A_PERSON.test(row.failure ?? ''))
          differs(`document ${row.id} does not say that a person must decide`);
        continue;
      }
      const files = account.files
        .all()
        .filter((file) => fileStampOf(file as JsonObject)?.documentId === row.id);
      const told = `document ${row.id} is ${row.state} (${row.failure}), Vapi has ${JSON.stringify(files)}`;
      const ids = files.map(({ id }) => id).join();
      if (
        row.state === 'READY'
          ? ids !== row.vapi_file_id
          : ids !== '' || !['FAILED', 'REMOVED'].includes(row.state)
      )
        differs(told);
      const stamp = files[0] === undefined ? null : fileStampOf(files[0] as JsonObject);
      if (stamp !== null && (stamp.orgId !== row.org_id || stamp.sagaId !== row.last_saga_id)) differs(told);
    }

    const tools = await supabase.sql<ToolRow[]>`select * from lockstep.query_tools`;
    for (const orgId of world.orgIds) {
      const row = tools.find(({ org_id }) => org_id === orgId);
      if (forAPerson.has(orgId)) continue;
      const ready = documents.filter((one) => one.org_id === orgId && one.state === 'READY');
      const wanted = ready.map(({ vapi_file_id }) => vapi_file_id).sort();
      const tool = account.tools.all().find(({ id }) => id === row?.tool_id);
      const listed = tool === undefined ? [] : listedFiles(tool as JsonObject).sort();
      const told = `the tool of ${orgId} is ${JSON.stringify(row)}, Vapi has ${JSON.stringify(tool)}, wanted ${wanted}`;
      if (listed.join() !== wanted.join()) differs(told);
      if (tool !== undefined && queryToolStampOf(tool as never) !== row?.last_saga_id)
        differs(`${told}: stamp`);
      for (const agent of agents.filter((one) => one.org_id === orgId && !one.missing)) {
        if (forAPerson.has(agent.id)) continue;
        const assistant = account.assistants.all().find(({ id }) => id === agent.vapi_assistant_id);
        const named = (assistant?.['model'] as { toolIds?: string[] } | undefined)?.toolIds ?? [];
        const due = agent.uses && tool !== undefined ? tool.id : '';
        if (named.join() !== due)
          differs(
            `agent ${agent.id} names the tools ${named}, its organization has ${tool?.id} (${agent.uses})`,
          );
      }
    }
    for (const tool of account.tools.all())
      if (!tools.some(({ tool_id }) => tool_id === tool.id) && !world.touched.has(tool.id))
        differs(`no row has the tool ${JSON.stringify(tool)}`);
    for (const assistant of account.assistants.all())
      if (
        stampOf(assistant as JsonObject) !== null &&
        !agents.some(({ vapi_assistant_id }) => vapi_assistant_id === assistant.id)
      )
        differs(`no agent has the assistant ${assistant.id}`);
  }

  /** A purchase that was closed as failed and took effect later than any bound: a line of the log says so, and a person decides. */
  function isToldLate(id: string): boolean {
    return world.log.some((line) => line.includes('number.late_purchase') && line.includes(id));
  }
}

interface NumberRow {
  id: string;
  org_id: string;
  state: string;
  failure: string | null;
  vapi_phone_number_id: string | null;
  agent_id: string | null;
  wanted_role: string | null;
  attached_assistant_id: string | null;
  last_saga_id: string | null;
}
interface DocumentRow {
  id: string;
  org_id: string;
  state: string;
  failure: string | null;
  vapi_file_id: string | null;
  last_saga_id: string | null;
}
interface ToolRow {
  org_id: string;
  tool_id: string | null;
  file_ids: string[];
  last_saga_id: string | null;
}
