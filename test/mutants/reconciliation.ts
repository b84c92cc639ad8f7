import { type Mutant, plant } from './plant.ts';

/** Planted bugs of the sweep, of drift, and of what is rendered for Vapi and compared with it. */

const VERDICTS = ['src/services/agents/drift/sweep-verdicts.test.ts'];
const LEASE = ['src/services/agents/drift/sweep.test.ts'];
const DRIFT = ['src/services/agents/drift/drift.test.ts'];
const ADOPT = ['src/services/agents/drift/adopt.test.ts'];
const SETTLE_DRIFT = ['src/services/agents/drift/settle-drift.test.ts'];
const COMPARE = ['src/services/agents/compare.test.ts'];
const RENDER = ['src/services/agents/render.test.ts'];

export const RECONCILIATION: readonly Mutant[] = [
  ...plant('src/services/agents/drift/sweep.ts', VERDICTS, [
    [
      'repair-any-revision',
      'An adoption or a revert overwrites what a user saved meanwhile.',
      'expectedRevision: agent.revision,',
      'expectedRevision: null,',
    ],
    [
      'repair-any-save-id',
      'A revert overwrites a save that kept the revision.',
      'expectedSaveId: agent.saveId,',
      '',
    ],
    [
      'repair-recreates',
      'The sweep makes an assistant anew that somebody deleted.',
      'recreateIfMissing: false,',
      'recreateIfMissing: true,',
    ],
    [
      'repair-counted',
      'A repair that did not happen is counted as one.',
      "'not repaired this time');\n    return false;",
      "'not repaired this time');",
    ],
    [
      'missing-first-page-only',
      'Missing assistants are looked for among the first thousand agents only.',
      'if (page.length < PAGE || last === undefined) break;',
      'break;',
    ],
    [
      'missing-again',
      'Agents that are called missing already count when the key is doubted.',
      'page.filter((agent) => !agent.missing && !seen.has(agent.assistantId))',
      'page.filter((agent) => !seen.has(agent.assistantId))',
    ],

    [
      'missing-unreadable',
      'A look that Vapi refuses is passed over.',
      '      readable(found);\n      ports.unjudged.push(agent);',
      '      ports.unjudged.push(agent);',
    ],
    [
      'missing-unnoted',
      'An agent is counted as missing although a save has begun meanwhile.',
      "else if ((await ports.store.note([{ ...noteOf(agent), state: 'MISSING' }])).length > 0)\n      countMissing",
      "else if ((await ports.store.note([{ ...noteOf(agent), state: 'MISSING' }])).length >= 0)\n      countMissing",
    ],

    [
      'list-newest-bound',
      'The walk asks for the first page again and again.',
      "String(assistant['createdAt'])).sort()[0];",
      "String(assistant['createdAt'])).sort().at(-1);",
    ],
    [
      'list-judged-twice',
      'Assistants in the overlap of two pages are judged twice.',
      'const fresh = page.filter((assistant) => !seen.has(assistant.id));',
      'const fresh = page;',
    ],

    [
      'revert-under-adopt',
      'An edit is reverted where the organization wants it adopted.',
      "repair(ports, agent, adoptable, 'ADOPT')",
      "repair(ports, agent, {}, 'ADOPT')",
    ],
    [
      'revert-under-report',
      'An edit is reverted where the organization wants it shown.',
      "if (agent.policy === 'REVERT') {",
      "if (agent.policy !== 'ADOPT') {",
    ],
    [
      'stale-under-report',
      'An edit that destroyed the stamp is reverted where the organization wants it shown.',
      "if (agent.policy === 'REPORT' && stamp === null && drift.length > 0) {",
      'if (false) {',
    ],
    [
      'late-write-under-report',
      'A late write of our own is left where the organization wants edits shown.',
      "agent.policy === 'REPORT' && stamp === null && drift.length > 0",
      "agent.policy === 'REPORT' && drift.length > 0",
    ],
    [
      'stamp-lost-under-report',
      'Equal content without a stamp is left where the organization wants edits shown.',
      'stamp === null && drift.length > 0) {',
      'stamp === null) {',
    ],
    [
      'late-write-uncounted',
      'A late write of our own is counted nowhere.',
      "meter.count('vapi.late_write');",
      '',
    ],
    [
      'orphan-of-anybody',
      'Every assistant without an agent is deleted.',
      'for (const id of orphans) {',
      'for (const { id } of assistants) {',
    ],
    [
      'orphan-refused-counted',
      'An orphan that could not be deleted counts as deleted.',
      "if (reply.kind === 'ok' || reply.kind === 'gone') {\n      report.orphansDeleted",
      'if (true) {\n      report.orphansDeleted',
    ],
    [
      'stopped-silently',
      'A sweep that stops because of the key leaves no metric.',
      "ports.meter.count('sweep.stopped');",
      '',
    ],
  ]),
  ...plant('src/services/sweeping.ts', VERDICTS, [
    [
      'missing-half',
      'Half of all assistants may be gone before the key is doubted.',
      'missing > all / 5)',
      'missing > all / 2)',
    ],
    [
      'missing-some',
      'Three assistants of a large account are enough to doubt the key.',
      'missing > BELIEVABLE_MISSING && missing',
      'missing > BELIEVABLE_MISSING || missing',
    ],
    [
      'unauthorized-unavailable',
      'A key that is refused is reported as an outage.',
      "kind === 'unauthorized' ? 'VAPI_UNAUTHORIZED' : 'VAPI_UNAVAILABLE'",
      "'VAPI_UNAVAILABLE'",
    ],
  ]),
  ...plant('src/services/sweeping.ts', LEASE, [
    [
      'sweep-lease-lapses',
      'The lease of the sweep lapses while it goes on.',
      'if (now - askedAt < leaseMs / 4) return;',
      'if (now - askedAt < leaseMs * 4) return;',
    ],
    ['sweep-lease-always-asked', 'The sweep asks the database before each step.', 'askedAt = now;', ''],
    [
      'sweep-without-lease',
      'Two replicas sweep at the same time.',
      "if (waitMs > 0) throw new SweepStopped('NOT_LEADER', waitMs);",
      '',
    ],
    [
      'sweep-does-not-stop',
      'A server that stops waits for the end of the sweep.',
      "if (stopping?.aborted) throw new SweepStopped('STOPPING');",
      '',
    ],
  ]),
  ...plant('src/services/agents/drift/sweep.ts', LEASE, [
    [
      'sweep-lease-unkept',
      'The lease is not renewed while missing assistants are looked at.',
      'for (const agent of unseen) {\n    await ports.keepLease();',
      'for (const agent of unseen) {',
    ],
  ]),
  ...plant('src/services/agents/drift/look.ts', VERDICTS, [
    [
      'look-any-save',
      'A save that ended between the two looks is taken for an edit.',
      'agent.busy || agent.saveId !== seen.saveId) return',
      'agent.busy) return',
    ],
    [
      'look-busy',
      'An assistant is judged while a save is open.',
      'agent === undefined || agent.busy || agent.saveId',
      'agent === undefined || agent.saveId',
    ],
    [
      'stamp-any-save',
      'A late write of an earlier save counts as current.',
      'stamp.saveId === agent.saveId && ',
      '',
    ],
    [
      'stamp-any-agent',
      'A stamp of another agent counts as current.',
      ' && stamp.agentId === agent.agentId',
      '',
    ],
    [
      'same-any-content',
      'An edit with the right stamp counts as the same.',
      'return jsonEqual(observedForm(agent.mappingVersion, agent.context, assistant), agent.observed);',
      'return true;',
    ],
    [
      'same-any-stamp',
      'The right content with a stamp of another save counts as the same.',
      'if (!isCurrent(agent, stampOf(assistant))) return false;',
      '',
    ],
    [
      'gone-unnoted',
      'An assistant counts as missing although a save has begun meanwhile.',
      "return { kind: noted.length === 0 ? 'saving' : 'missing' };",
      "return { kind: 'missing' };",
    ],
    [
      'drift-unnoted',
      'An edit is reverted although a save has begun meanwhile.',
      "return noted.length === 0 ? { kind: 'saving' } : { kind: 'drifted', agent, drift, adoptable };",
      "return { kind: 'drifted', agent, drift, adoptable };",
    ],
    [
      'found-again-missing',
      'An agent that was called missing stays so when its assistant is found with a stale stamp.',
      "if (agent.missing || (agent.policy === 'REPORT' && stamp === null)) {",
      "if (agent.policy === 'REPORT' && stamp === null) {",
    ],
    [
      'looked-before-read',
      'The agent is read before the assistant, so a save between the two is taken for an edit.',
      'const found = await voice.getAssistant(seen.assistantId);\n  const [agent] = await store.lookup([seen.assistantId]);',
      'const [agent] = await store.lookup([seen.assistantId]);\n  const found = await voice.getAssistant(seen.assistantId);',
    ],
    [
      'same-unnoted',
      'An agent that is the same again keeps its drift.',
      "await store.note([{ ...noteOf(agent), state: 'SAME' }]);",
      '',
    ],
  ]),
  ...plant('src/services/agents/drift/settle-drift.ts', SETTLE_DRIFT, [
    [
      'settle-drift-any-revision',
      'settleDrift reverts another revision than the caller expected.',
      'const revision = wish.expectedRevision ?? current.revision;',
      'const revision = current.revision;',
    ],
    [
      'settle-drift-own-revision',
      'settleDrift does not pass the expected revision to its save.',
      'expectedRevision: wish.expectedRevision ?? agent.revision,',
      'expectedRevision: agent.revision,',
    ],
    [
      'settle-drift-stale-revision',
      'settleDrift works at the revision of the read and not of the look.',
      'revision: drift?.agent.revision ?? known.revision,',
      'revision: known.revision,',
    ],
    [
      'settle-drift-without-look',
      'settleDrift adopts what an earlier sweep saw.',
      "adoptable: verdict?.kind === 'drifted' ? verdict.adoptable : null,",
      'adoptable: known.adoptable,',
    ],
    [
      'settle-drift-without-key',
      'settleDrift forgets the idempotency key.',
      'idempotencyKey: wish.idempotencyKey ?? null,\n      request',
      'idempotencyKey: null,\n      request',
    ],
    [
      'settle-drift-key-of-update',
      'A repetition of an adoption conflicts with itself because Vapi holds something else by now.',
      'request: { settleDrift: request },',
      '',
    ],
    [
      'settle-drift-recreates',
      'settleDrift makes a deleted assistant anew.',
      'recreateIfMissing: false,',
      'recreateIfMissing: true,',
    ],
    [
      'settle-drift-unreadable',
      'settleDrift says that there is nothing to adopt where Vapi cannot be read.',
      "if (verdict.kind === 'unreadable') throw unreadable(verdict.reply);",
      '',
    ],
    [
      'settle-drift-limited',
      'A caller that Vapi limits is told of an outage.',
      "if (reply.kind === 'rate_limited') return new RateLimitedError(reply.retryAfterMs);",
      '',
    ],
    [
      'settle-drift-adopts-nothing',
      'An adoption of an edit that no field can hold is a save without changes.',
      "if (wish.resolution === 'ADOPT' && agent.adoptable === null) {",
      "if (wish.resolution === 'ADOPT' && agent.adoptable === null && agent.drift.length === 0) {",
    ],
    [
      'settle-drift-adopts-other',
      'An adoption at another revision overwrites that revision.',
      'verdict.adoptable !== null && revision === current.revision) {',
      'verdict.adoptable !== null) {',
    ],
    [
      'settle-drift-other-role',
      'settleDrift resolves the drift of the other agent.',
      'const known = agents.find(({ role }) => role === wish.role);',
      'const known = agents.find(({ role }) => role !== wish.role) ?? agents[0];',
    ],
  ]),
  ...plant(
    'src/schema/agents/settle-drift.ts',
    ['test/e2e/sweep.test.ts'],
    [
      [
        'settle-drift-actor',
        'The journal does not say who settled a drift, and no limit counts it.',
        'actor: userId,',
        '',
      ],
    ],
  ),
  ...plant('src/services/agents/drift/adopt.ts', ADOPT, [
    [
      'adopt-unproven',
      'An adoption loses what the configuration has no field for.',
      'if (!jsonEqual(rendered, held)) return null;',
      '',
    ],
    ['adopt-invalid', 'A value that no caller may save is adopted.', '!isValidConfig(found) || ', ''],
    [
      'adopt-secret',
      'A secret in foreign metadata comes into the configuration and its history.',
      ' || holdsSecret(found.extraMetadata ?? {})',
      '',
    ],
    [
      'adopt-everything',
      'An adoption names every field.',
      '.filter(([key, value]) => !jsonEqual(value, current[key as keyof AgentConfig]))',
      '.filter(([key, value]) => key !== "" && value !== undefined)',
    ],
    [
      'adopt-empty',
      'An adoption of nothing is offered.',
      'return Object.keys(patch).length === 0 ? null : patch;',
      'return patch;',
    ],
    [
      'adopt-keeps-metadata',
      'Foreign metadata that was taken away again stays in the configuration.',
      'Object.keys(metadata).length > 0 || current.extraMetadata !== undefined',
      'Object.keys(metadata).length > 0',
    ],
  ]),
  ...plant('src/services/agents/drift/drift.ts', DRIFT, [
    [
      'drift-one-way',
      'A field that Vapi added is no drift.',
      'new Set([...Object.keys(ours), ...Object.keys(theirs)])',
      'new Set(Object.keys(ours))',
    ],
    [
      'drift-named-secret',
      'A value that goes by the name of a secret is shown.',
      'const hide = SECRET_NAME.test(path) || HEADERS.test(path);',
      'const hide = HEADERS.test(path);',
    ],
    [
      'drift-header-secret',
      'A header is shown.',
      'const hide = SECRET_NAME.test(path) || HEADERS.test(path);',
      'const hide = SECRET_NAME.test(path);',
    ],
    [
      'drift-own-secret',
      'The secret of our side is shown.',
      'ours: hide && ours !== null ? REDACTED : redacted(ours),',
      'ours: redacted(ours),',
    ],
    [
      'drift-secret-text',
      'A secret inside a text is shown.',
      "if (typeof value === 'string') return value.replaceAll(SECRET_TEXT, REDACTED);",
      '',
    ],
    [
      'drift-secret-in-array',
      'A secret inside an array is shown.',
      'if (Array.isArray(value)) return value.map(redacted);',
      'if (Array.isArray(value)) return value;',
    ],
    [
      'drift-secret-in-object',
      'A secret inside an object that is shown whole is shown.',
      'member !== null && (SECRET_NAME.test(key) || HEADERS.test(key)) ? REDACTED : redacted(member),',
      'redacted(member),',
    ],
  ]),
  ...plant('src/services/agents/compare.ts', COMPARE, [
    [
      'compare-no-erased',
      'Tools that somebody added in the dashboard are no difference.',
      'if (at(sent, path) === undefined && !isEmpty(theirs))',
      'if (at(sent, path) !== undefined && !isEmpty(theirs))',
    ],
    [
      'compare-array-length',
      'An array with one member more is no difference.',
      ' && ours.length === actual.length) {',
      ') {',
    ],
    [
      'compare-default-anywhere',
      'A null that was sent is no difference where Vapi holds a value.',
      '(ours ?? DEFAULTS[path] ?? null) !== actual',
      '(ours ?? DEFAULTS[path] ?? actual) !== actual',
    ],
    [
      'compare-null-default',
      'An absent field with a documented default is a difference.',
      'const actual = theirs ?? DEFAULTS[path] ?? null;',
      'const actual = theirs ?? null;',
    ],
    [
      'compare-object-for-text',
      'An object where a text was sent is no difference.',
      'Array.isArray(ours) || isJsonObject(ours) || (ours',
      '(ours',
    ],
    [
      'observed-with-stamp',
      'The stamp is part of what is observed, so every save looks like an edit.',
      "if (field !== 'metadata') form[field] = value;",
      'if (field !== "") form[field] = value;',
    ],
    [
      'observed-without-metadata',
      'Foreign metadata is not observed.',
      'if (Object.keys(foreign).length > 0) form[field] = foreign;',
      '',
    ],
    [
      'observed-with-nulls',
      'A null that Vapi adds is an edit.',
      'if (value === null || value === undefined) return undefined;\n  if (Array',
      'if (value === undefined) return undefined;\n  if (Array',
    ],
    ['stamp-any-deployment', 'A stamp without a deployment is read as ours.', '!isUuid(deployment) ||', ''],
    [
      'stamp-any-role',
      'A stamp with an unknown role is read as ours.',
      "(role !== 'INBOUND' && role !== 'OUTBOUND') ||",
      '',
    ],
  ]),
  ...plant('src/services/agents/render.ts', RENDER, [
    [
      'render-first-message-mode',
      'An agent without a first message does not wait for the caller.',
      "config.firstMessage === null ? 'assistant-waits-for-user'",
      "config.firstMessage === '' ? 'assistant-waits-for-user'",
    ],
    [
      'render-no-zero',
      'A temperature of 0 is not sent.',
      'entry[1] !== null),',
      'entry[1] !== null && entry[1] !== 0),',
    ],
    [
      'render-stamp-overwritten',
      'Foreign metadata takes the place of the stamp.',
      'metadata: { ...config.extraMetadata, lockstep: { ...stamp } },',
      'metadata: { lockstep: { ...stamp }, ...config.extraMetadata },',
    ],
    [
      'render-swapped',
      'Stability and similarity boost change places.',
      'stability: config.voice.stability, similarityBoost: config.voice.similarityBoost',
      'stability: config.voice.similarityBoost, similarityBoost: config.voice.stability',
    ],
    [
      'render-any-version',
      'A save of an unknown mapping version is rendered by another one.',
      'const known = MAPPINGS.get(version);',
      'const known = MAPPINGS.get(version) ?? MAPPINGS.get(1);',
    ],
    [
      'render-default-language',
      'The transcriber always hears English.',
      "model: 'nova-3', language: config.language }",
      "model: 'nova-3', language: 'en' }",
    ],
    [
      'render-voice-language',
      'A voice that needs a language gets none.',
      "config.voice.provider === 'neuphonic' ? { language: config.language } : {}",
      "config.voice.provider === 'neuphonic' ? {} : {}",
    ],
  ]),
  ...plant('src/services/agents/drift/sweep.ts', VERDICTS, [
    [
      'judge-newer-build',
      'The sweep judges an agent that a newer build has written.',
      'else if (agent.busy || !isKnownMapping(agent.mappingVersion)) ports.unjudged.push(agent);',
      'else if (agent.busy) ports.unjudged.push(agent);',
    ],
    [
      'judge-busy',
      'The sweep looks at the assistants of an organization that is saving.',
      'else if (agent.busy || !isKnownMapping(agent.mappingVersion)) ports.unjudged.push(agent);',
      'else if (!isKnownMapping(agent.mappingVersion)) ports.unjudged.push(agent);',
    ],
    [
      'judge-busy-forgotten',
      'An agent that was saving during the sweep counts as confirmed by it.',
      'else if (agent.busy || !isKnownMapping(agent.mappingVersion)) ports.unjudged.push(agent);',
      'else if (agent.busy || !isKnownMapping(agent.mappingVersion)) continue;',
    ],
    [
      'list-first-page',
      'Only the first page of assistants is judged.',
      'if (page.length < limit) return seen;',
      'return seen;',
    ],
    [
      'missing-unlooked',
      'An agent is called missing although its assistant was made while the list was read.',
      "if (found.kind !== 'gone') {\n      readable(found);\n      ports.unjudged.push(agent);\n    } else if (",
      'if (',
    ],
  ]),
];
