/** The two database calls of a save, straight to the embedded Postgres: what they cost without HTTP and REST around them. */
import { randomUUID } from 'node:crypto';
import postgres from 'postgres';
import { type AgentConfig, defaultConfig } from '../src/domain/agents/agent-config.ts';
import { startLocalSupabase } from '../src/local/supabase/supabase.ts';
import type { BeginOutcome, BeginRequest } from '../src/ports/agents/save-journal.ts';
import type { CommittedPart, TransitionOutcome } from '../src/ports/saga-journal.ts';
import { observedForm } from '../src/services/agents/compare.ts';
import { MAPPING_VERSION, renderAssistant } from '../src/services/agents/render.ts';
import { distribution, PROMPT_CHARACTERS, prompt, report, timed } from './figure.ts';

const ROLES = ['INBOUND', 'OUTBOUND'] as const;

export async function benchSql(dataDir: string, saves: number): Promise<void> {
  const supabase = await startLocalSupabase({ dataDir });
  // As the REST layer calls them: in the service role.
  const sql = postgres(supabase.adminDatabaseUrl, { max: 1, connection: { role: 'service_role' } });
  const admin = postgres(supabase.adminDatabaseUrl, { max: 1 });
  const orgId = randomUUID();
  const assistants = { INBOUND: randomUUID(), OUTBOUND: randomUUID() };
  const begins: number[] = [];
  const commits: number[] = [];
  try {
    await admin`insert into public.organizations (id, name) values (${orgId}, 'Benchmark')`;
    // The first saves make the agents, and warm plans and caches.
    const warm = Math.min(20, saves);
    for (let number = 0; number < saves + warm; number += 1) {
      const saveId = randomUUID();
      const configOf = (role: (typeof ROLES)[number]): AgentConfig => ({
        ...defaultConfig(role),
        systemPrompt: prompt(PROMPT_CHARACTERS, number),
      });
      const request: BeginRequest = {
        idempotencyKey: `benchmark-${number}`,
        requestHash: String(number),
        cause: 'USER',
        actor: null,
        leaseMs: 30_000,
        deadlineMs: 120_000,
        mappingVersion: MAPPING_VERSION,
        updates: ROLES.map((role) => ({
          role,
          agentId: null,
          newAgentId: randomUUID(),
          patch: { systemPrompt: prompt(PROMPT_CHARACTERS, number) },
          defaults: defaultConfig(role),
          expectedRevision: null,
          recreateIfMissing: false,
        })),
      };
      const [beginMs, [begun]] = await timed(
        () => sql<{ answer: BeginOutcome }[]>`
          select public.begin_agents(${orgId}, ${saveId}, 'benchmark', ${sql.json(request as never)}) as answer`,
      );
      if (begun?.answer.outcome !== 'BEGUN')
        throw new Error(`begin_agents answered ${begun?.answer.outcome}`);
      const { images } = begun.answer;
      const imageOf = (role: string) => images.find(({ key }) => key === role);
      const parts: CommittedPart[] = ROLES.map((role) => ({
        key: role,
        remoteId: assistants[role],
        observed: observedForm(
          MAPPING_VERSION,
          {},
          renderAssistant(
            MAPPING_VERSION,
            configOf(role),
            {
              deployment: saveId,
              orgId,
              agentId: imageOf(role)?.resourceId ?? '',
              role,
              saveId,
              revision: imageOf(role)?.after.revision ?? 0,
            },
            {},
          ),
        ),
      }));
      const [commitMs, [committed]] = await timed(
        () => sql<{ answer: TransitionOutcome }[]>`
          select public.saga_commit(${orgId}, ${saveId}, 1, ${sql.json({ parts, ambiguous: false, lateMs: 0 } as never)}) as answer`,
      );
      if (committed?.answer.outcome !== 'COMMITTED')
        throw new Error(`saga_commit answered ${committed?.answer.outcome}`);
      if (number < warm) continue;
      begins.push(beginMs);
      commits.push(commitMs);
    }
  } finally {
    await Promise.all([sql.end(), admin.end()]);
    await supabase.stop();
  }
  const note = `one connection over TCP, fsync on, both agents, prompts of ${PROMPT_CHARACTERS} characters`;
  report({ name: 'sql.begin_agents', ...distribution(begins), unit: 'ms', note });
  report({ name: 'sql.saga_commit', ...distribution(commits), unit: 'ms', note });
}
