import { type Mutant, plant } from './plant.ts';

/** Planted bugs of mapping versions, render contexts, tools, and the job that renders agents anew. */

const MAPPING = ['test/e2e/mapping.test.ts'];
const RENDER_JOB = ['src/services/agents/render-job.test.ts'];
const COMPARE = ['src/services/agents/compare.test.ts'];
const ADOPTION = ['test/e2e/adoption.test.ts'];
const RENDER = ['src/services/agents/render.test.ts'];
const ADOPT = ['src/services/agents/drift/adopt.test.ts'];
const VERDICTS = ['src/services/agents/drift/sweep-verdicts.test.ts'];
const CONFIG = ['src/domain/agents/agent-config.test.ts'];

export const MAPPINGS: readonly Mutant[] = [
  ...plant('src/services/agents/participant.ts', MAPPING, [
    [
      'commit-observes-no-events',
      'What Vapi answered about the server for events is not kept, so every sweep sees an edit.',
      'observedForm(this.#saga.mappingVersion, this.#image.after.context, assistant)',
      'observedForm(this.#saga.mappingVersion, {}, assistant)',
    ],
    [
      'undo-keeps-new-fields',
      'A field that only the new mapping version names stays in Vapi after an undo.',
      'return { ...cleared, ...this.#document(before) };',
      'return this.#document(before);',
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
      'events-forgotten',
      'Agents keep sending events to an address that is not set any more.',
      "update lockstep.event_server set document = 'null' where document <> 'null';",
      'delete from lockstep.event_server;',
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
      'stale-by-tool-only',
      'Agents keep sending events to the address that the server had before.',
      "where coalesce((a.context -> 'server')::text, '') < (select",
      "where false and coalesce((a.context -> 'server')::text, '') < (select",
    ],
    [
      'stale-looks-at-edits',
      'Each round looks again at every agent that is known to be edited.',
      "and a.missing_since is null and a.drift = '[]' and not lockstep.is_busy(a.org_id, 'agents')\n         order by a.id limit p_limit) as o",
      'and a.missing_since is null\n         order by a.id limit p_limit) as o',
    ],
  ]),
  ...plant('src/services/agents/participant.ts', ADOPTION, [
    [
      'adoption-undo-writes-everything',
      'The undo of an adoption writes a field back that the save has not touched, without the secret that Vapi does not show.',
      'return Object.fromEntries(named.map((field) => [field, before.content[field] ?? null]));',
      'return before.content;',
    ],
  ]),
  ...plant('src/services/agents/adopt-assistant.ts', ADOPTION, [
    [
      'adoption-forgets-server',
      'The undo of an adoption erases the server that the assistant had.',
      'managedFields(MAPPING_VERSION, { server: null })',
      'managedFields(MAPPING_VERSION, {})',
    ],
    [
      'adoption-hides-server',
      'A dry run does not say that the server for events is replaced.',
      'planOf(role, assistant, await ports.eventContext())',
      'planOf(role, assistant, {})',
    ],
  ]),
  ...plant('src/services/agents/compare.ts', COMPARE, [
    [
      'observed-any-version',
      'A field that a newer mapping version manages is drift of an older one.',
      'for (const field of managedFields(version, context)) {',
      'for (const field of managedFields(Math.max(version, 2), context)) {',
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
  ...plant('src/services/agents/render.ts', MAPPING, [
    [
      'events-unmanaged',
      'Nobody sees that somebody has sent the events of a call elsewhere.',
      "fields: (context) => ('server' in context ? [...FIELDS_V2, ...EVENT_FIELDS] : FIELDS_V2),",
      'fields: () => FIELDS_V2,',
    ],
    [
      'events-always-managed',
      'A deployment without events erases the server that somebody else has set.',
      'if (server === undefined) return {};',
      '',
    ],
  ]),
  ...plant('src/services/agents/render.ts', RENDER, [
    [
      'booking-without-server',
      'The model has tools for appointments that nobody answers.',
      'return config.bookAppointments && isJsonObject(server ?? null);',
      'return config.bookAppointments;',
    ],
    [
      'booking-not-named',
      'The prompt does not say that the agent can book.',
      "...(booking ? [{ role: 'system', content: BOOKING_PROMPT }] : []),",
      '',
    ],
    [
      'events-without-tool-calls',
      'Vapi asks nobody when the model calls a function.',
      "['status-update', 'end-of-call-report', 'tool-calls']",
      "['status-update', 'end-of-call-report']",
    ],
    ['events-without-retries', 'Vapi sends an event once.', 'maxRetries: 3', 'maxRetries: 0'],
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
      'adopt-no-booking',
      'Adopting any edit turns bookings off while the server receives no events.',
      ': current.bookAppointments,',
      ': false,',
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
      'render-announces-always',
      'Replicas with different settings move all agents back and forth.',
      'if (this.#announced) return;',
      '',
    ],
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
      'booking-promised',
      'A server that receives no events accepts bookAppointments.',
      'const cannotBook = receivesEvents',
      'const cannotBook = true',
    ],
    [
      'transfer-twice',
      'The same number is a destination twice, and the model cannot tell which.',
      'if (seen.has(number)) refuse(',
      'if (seen.size < 0) refuse(',
    ],
  ]),
];
