import { type Mutant, plant } from './plant.ts';

/** Planted bugs of mapping versions, render contexts, tools, and the job that renders agents anew. */

const MAPPING = ['test/e2e/mapping.test.ts'];
const RENDER_JOB = ['src/services/agents/render-job.test.ts'];
const COMPARE = ['src/services/agents/compare.test.ts'];
const RENDER = ['src/services/agents/render.test.ts'];
const ADOPT = ['src/services/agents/drift/adopt.test.ts'];
const VERDICTS = ['src/services/agents/drift/sweep-verdicts.test.ts'];
const CONFIG = ['src/domain/agents/agent-config.test.ts'];

export const MAPPINGS: readonly Mutant[] = [
  ...plant('src/services/agents/participant.ts', MAPPING, [
    [
      'undo-keeps-new-fields',
      'A field that only the new mapping version names stays in Vapi after an undo.',
      'return { ...cleared, ...document };',
      'return document;',
    ],
  ]),
  ...plant('supabase/migrations/20261123000003_create_agents.sql', MAPPING, [
    [
      'undo-context-of-now',
      'An undo restores the tool that the agent would have now.',
      "v_part.before_context := coalesce(v_agent.context, '{}');",
      "v_part.before_context := lockstep.agent_context(p_org_id, coalesce(v_agent.config, '{}'));",
    ],
    [
      'commit-forgets-context',
      'An agent does not say with which context it was rendered.',
      'context = excluded.context, ',
      '',
    ],
  ]),
  ...plant('supabase/migrations/20261123000004_create_reconciliation_functions.sql', MAPPING, [
    [
      'stale-by-version-only',
      'An agent keeps a tool that does not exist any more.',
      'a.context is distinct from lockstep.agent_context(a.org_id, a.config)',
      'false',
    ],
    [
      'stale-looks-at-edits',
      'Each round looks again at every agent that is known to be edited.',
      "and a.missing_since is null and a.drift = '[]' and not lockstep.is_busy(a.org_id, 'agents')\n",
      'and a.missing_since is null\n',
    ],
  ]),
  ...plant('src/services/agents/compare.ts', COMPARE, [
    [
      'observed-any-version',
      'A field that a newer mapping version manages is drift of an older one.',
      'for (const field of managedFields(version)) {',
      'for (const field of managedFields(Math.max(version, 2))) {',
    ],
    [
      'tool-id-is-drift',
      'An id that Vapi gives to an inline tool is drift.',
      'ADDED_TO_TOOLS.includes(key) || ',
      '',
    ],
    [
      'tool-words-ignored',
      'Words that somebody adds to an inline tool are no drift.',
      'return defaults[key] !== undefined && jsonEqual(defaults[key], value);',
      'return defaults[key] !== undefined;',
    ],
  ]),
  ...plant('src/services/agents/render.ts', RENDER, [
    [
      'search-without-tool',
      'The prompt names a tool that the agent does not have.',
      '(search.length > 0 ? [{',
      '(search.length >= 0 ? [{',
    ],
    [
      'voicemail-undetected',
      'A voicemail message is never spoken.',
      "config.voicemailMessage === null ? null : { provider: 'vapi' }",
      'null',
    ],
    [
      'transfer-null-message',
      'A destination without a message is sent with a null, which Vapi refuses.',
      '...(message === null ? {} : { message })',
      'message',
    ],
  ]),
  ...plant('src/services/agents/drift/adopt.ts', ADOPT, [
    [
      'adopt-foreign-tools',
      'The drift policy adopts a tool that somebody attached in the dashboard.',
      "...toolsOf(list(model['tools'])),",
      "...toolsOf(list(model['tools'])),\n    operatorToolIds: list(model['toolIds']).filter((id) => typeof id === 'string').slice(1),",
    ],
    [
      'adopt-without-context',
      'No edit of an agent with the knowledge base can be adopted.',
      'renderAssistant(MAPPING_VERSION, found, stamp, context)',
      'renderAssistant(MAPPING_VERSION, found, stamp, {})',
    ],
  ]),
  ...plant('src/services/agents/drift/look.ts', VERDICTS, [
    [
      'look-unknown-mapping',
      'A build judges an agent that a newer one saved.',
      "if (!isKnownMapping(agent.mappingVersion)) return { kind: 'saving' };",
      '',
    ],
  ]),
  ...plant('src/services/agents/render-job.ts', RENDER_JOB, [
    [
      'render-over-user',
      'Rendering anew overwrites nothing, but begins a save after the one of a user.',
      '...{ expectedRevision: revision, expectedSaveId: saveId },',
      '...{ expectedRevision: null },',
    ],
    [
      'render-without-lease',
      'All replicas look at all stale agents.',
      'if (!(await isLeader())) return report;',
      'await isLeader();',
    ],
  ]),
  ...plant('src/services/agents/render-job.ts', MAPPING, [
    [
      'render-over-edit',
      'An upgrade overwrites what somebody edited in the Vapi dashboard, whatever the drift policy says.',
      "if (verdict.kind !== 'same') {",
      "if (verdict.kind === 'missing') {",
    ],
    [
      'render-failed-again',
      'An agent that Vapi refuses is sent again with each round.',
      "if (outcome.kind === 'failed') this",
      "if (outcome.kind === 'pending') this",
    ],
  ]),
  ...plant('src/domain/agents/agent-config.ts', CONFIG, [
    [
      'upcast-nothing',
      'A configuration that was saved before a field existed lacks it.',
      'return { ...defaultConfig(role), ...(stored as AgentConfig) };',
      'return stored as AgentConfig;',
    ],
    [
      'transfer-twice',
      'The same number is a destination twice, and the model cannot tell which.',
      'if (seen.has(number)) refuse(',
      'if (seen.size < 0) refuse(',
    ],
  ]),
];
