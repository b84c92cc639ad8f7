import { type Mutant, plant } from './plant.ts';

/** Planted bugs of a save: its protocol, the run against Vapi, recovery, and an operator's settlement. */

const PROTOCOL = ['src/services/saga/protocol.test.ts'];
const EXECUTE = ['src/services/agents/execute.test.ts', 'src/services/agents/execute-turns.test.ts'];
const RUN = [...EXECUTE, 'src/services/agents/run.test.ts'];
const RECOVERY = [
  'src/services/agents/recover.test.ts',
  'src/services/agents/recover-batches.test.ts',
  'src/services/agents/run.test.ts',
];

export const SAVES: readonly Mutant[] = [
  ...plant('src/services/saga/protocol.ts', PROTOCOL, [
    [
      'unknown-untouched',
      'An agent whose request got no answer is not put back.',
      "return { forward: 'unknown', touched: true, ambiguous: true,",
      "return { forward: 'unknown', touched, ambiguous: true,",
    ],
    [
      'unknown-not-ambiguous',
      'A request without an answer leaves no quarantine and no fence.',
      "return { forward: 'unknown', touched: true, ambiguous: true,",
      "return { forward: 'unknown', touched: true, ambiguous,",
    ],
    [
      'differed-untouched',
      'An answer with other content is not put back.',
      "return { forward: 'differed', touched: true, ambiguous, again: false };",
      "return { forward: 'differed', touched, ambiguous, again: false };",
    ],
    [
      'limited-after-unknown',
      'A 429 after a request without an answer counts as "nothing was changed".',
      "forward: ambiguous ? 'unknown' : 'rate_limited'",
      "forward: 'rate_limited'",
    ],
    [
      'not-sent-after-unknown',
      'A request that was not sent makes an earlier one without an answer count as failed.',
      "forward: ambiguous ? 'unknown' : 'unreachable'",
      "forward: 'unreachable'",
    ],

    [
      'undo-deleted-missing',
      'A new assistant that is deleted again counts as missing.',
      "undo: request === 'DELETE' ? 'done' : 'missing'",
      "undo: 'missing'",
    ],
    [
      'undo-key-refused',
      'A key that is refused during an undo calls a person.',
      "case 'unauthorized':\n      return { undo, ambiguous, again: false };",
      "case 'unauthorized':\n      return { undo: 'refused', ambiguous, again: false };",
    ],
    [
      'undo-unknown-not-ambiguous',
      'An undo without an answer leaves no fence.',
      "return { undo: 'unknown', ambiguous: true, again: true };",
      "return { undo: 'unknown', ambiguous, again: true };",
    ],

    [
      'attention-without-commit',
      'An operator cannot commit a save that needs attention.',
      "NEEDS_ATTENTION: ['COMMITTED', 'ROLLED_BACK'],",
      "NEEDS_ATTENTION: ['ROLLED_BACK'],",
    ],
  ]),
  ...plant('src/services/saga/run.ts', RUN, [
    [
      'commit-not-in-doubt',
      'A caller is told that the database was not updated while the commit has no answer.',
      'dbUpdated: this.#committing ? null : result.dbUpdated,',
      'dbUpdated: result.dbUpdated,',
    ],
    [
      'abort-lease-from-answer',
      'The lease of a rollback counts from the answer of the database.',
      'this.#leaseFrom = leaseFrom;',
      'this.#leaseFrom = instant(this.#ports.clock);',
    ],

    [
      'transition-given-up',
      'A transition without an answer is not repeated.',
      'if (elapsed(clock, from) > settings.leaseMs) {',
      'if (elapsed(clock, from) >= 0) {',
    ],
    [
      'transition-for-ever',
      'A save waits for a database that is away, for ever.',
      'if (elapsed(clock, from) > settings.leaseMs) {',
      'if (elapsed(clock, from) > 1e12) {',
    ],
    [
      'words-refused-for-ever',
      'A text that the database refuses keeps a save open.',
      'if (error instanceof ValueRefusedError && words) {',
      'if (error instanceof ValueRefusedError && !words) {',
    ],
    [
      'clock-that-says-less',
      'The guard believes the clock that says that less time has passed.',
      'return Math.max(clock.now() - from.wall, clock.monotonic() - from.monotonic);',
      'return Math.min(clock.now() - from.wall, clock.monotonic() - from.monotonic);',
    ],

    [
      'adopt-keeps-others',
      'Of two assistants of one save, both stay.',
      'const [oldest, ...others] = found.value;',
      'const [oldest] = found.value;\n    const others: ProviderAssistant[] = [];',
    ],

    [
      'adopt-undeleted',
      'The save commits although the second assistant could not be deleted.',
      "if (reply.kind !== 'ok' && reply.kind !== 'gone') return this.#undecided(target);",
      '',
    ],

    [
      'made-once',
      'Recovery undoes one creation where an earlier owner may have made another.',
      '&& !this.#held.taken) return',
      ') return',
    ],

    [
      'touched-not-in-doubt',
      'A caller is told that Vapi does not hold a change that it may hold.',
      "return target.touched || target.forward === 'pending' ? null : false;",
      'return false;',
    ],
    [
      'refusal-retryable',
      'A refusal is called worth another try.',
      "reason === 'VAPI_UNAVAILABLE' || reason === 'VAPI_RATE_LIMITED' ||",
      "reason === 'VAPI_UNAVAILABLE' || reason === 'VAPI_REJECTED' || reason === 'VAPI_RATE_LIMITED' ||",
    ],
  ]),
  ...plant('src/services/saga/recovery.ts', RECOVERY, [
    [
      'recovery-lease-from-answer',
      'The lease of a recovery counts from the answer of the database.',
      '...{ orgId, leaseFrom, leaseMs, taken: true },',
      '...{ orgId, leaseFrom: instant(ports.clock), leaseMs, taken: true },',
    ],
    [
      'recovery-not-taken',
      'Recovery runs a save as if it had begun it.',
      'leaseMs, taken: true },',
      'leaseMs, taken: false },',
    ],
    [
      'recovery-broken-save-ends',
      'One save that cannot be carried on ends the round.',
      "'an abandoned save could not be carried on',\n        );",
      "'an abandoned save could not be carried on',\n        );\n        throw error;",
    ],
    [
      'recovery-database-ends',
      'One takeover without an answer ends the round.',
      "'the database did not answer recovery');",
      "'the database did not answer recovery');\n        throw error;",
    ],

    [
      'recovery-stuck-silently',
      'A save that cannot be carried on is counted nowhere.',
      "ports.meter.count('save.stuck');",
      '',
    ],
  ]),
  ...plant(
    'src/services/saga/settings.ts',
    ['src/services/saga/settings.test.ts'],
    [
      [
        'guard-margin-off',
        'A request is sent with no margin for the event loop.',
        'return elapsedMs + requestTimeoutMs + GUARD_MARGIN_MS < leaseMs;',
        'return elapsedMs + requestTimeoutMs < leaseMs;',
      ],
      [
        'late-without-timeout',
        'A quarantine ends before the request itself must have.',
        'return settings.requestTimeoutMs + settings.lateMs;',
        'return settings.lateMs;',
      ],
      [
        'lease-any',
        'Settings are accepted under which no save can send anything.',
        'if (settings.leaseMs <= settings.requestTimeoutMs + GUARD_MARGIN_MS) {',
        'if (settings.leaseMs < settings.requestTimeoutMs) {',
      ],
      [
        'deadline-any',
        'Settings are accepted under which recovery never tries to finish a save.',
        'if (settings.deadlineMs <= settings.leaseMs) {',
        'if (settings.deadlineMs < settings.leaseMs) {',
      ],
    ],
  ),
  ...plant('src/services/saga/execute.ts', EXECUTE, [
    [
      'limit-without-actor',
      'The repairs of the sweep count against the saves per minute of the users.',
      'return admission === undefined || actor === null',
      'return admission === undefined',
    ],
    [
      'limit-never',
      'The saves of one organization are not limited per minute.',
      'limit: limitOf(ports.admission, start.actor),',
      'limit: undefined,',
    ],
    [
      'refused-keeps-turns',
      'A save that did not begin keeps its turns.',
      "if (begun.outcome !== 'BEGUN') unused();",
      '',
    ],
    ['late-turn-kept', 'A turn that comes after its caller was refused is lost.', 'unwanted.unused();', ''],
    [
      'late-save-in-progress',
      'A save that was refused because its turn came late counts as in progress for ever.',
      'unwanted.done();',
      '',
    ],
    [
      'answer-from-begin',
      'A save is answered later than SAVE_ANSWER_MS because it waited for its turn.',
      '.sleep(Math.max(0, arrived + ports.settings.answerMs - ports.clock.monotonic()), answered.signal)',
      '.sleep(ports.settings.answerMs, answered.signal)',
    ],
    [
      'turn-without-end',
      'A save waits for its turn longer than it may take to answer.',
      'const late = clock.sleep(settings.answerMs, come.signal)',
      'const late = clock.sleep(10 * settings.answerMs, come.signal)',
    ],
    [
      'sent-forgotten',
      'A save that may have begun is answered as if nothing began.',
      'sent ||= error.sent;',
      'sent = error.sent;',
    ],
    [
      'begin-once-more',
      'A beginning is repeated more often than three times.',
      'attempt >= BEGIN_ATTEMPTS',
      'attempt > BEGIN_ATTEMPTS',
    ],
    [
      'fate-forgotten',
      'After an attempt without an answer, a refusal counts as "nothing began".',
      'if (!sent) throw error;',
      'throw error;',
    ],
    [
      'hash-of-order',
      'The order of the fields makes another request.',
      'update(canonicalJson(request))',
      'update(JSON.stringify(request))',
    ],
    [
      'attention-retry',
      'A caller is told to come back for a save that only a person can end.',
      "retryAfterMs: saga.status === 'NEEDS_ATTENTION' ? null : PENDING_RETRY_MS };",
      'retryAfterMs: PENDING_RETRY_MS };',
    ],
    [
      'unreachable-limited',
      'A caller is told of too many saves where the database is away.',
      "kind: unreachable === true ? 'unavailable' : 'rate_limited'",
      "kind: 'rate_limited'",
    ],
    [
      'untracked',
      'A shutdown does not wait for saves that go on after their answer.',
      'ports.track(work);',
      '',
    ],
  ]),
  ...plant('src/services/agents/execute.ts', EXECUTE, [
    [
      'actor-forgotten',
      'The journal does not say who asked for a save.',
      'actor: options.actor ?? null,',
      'actor: null,',
    ],

    [
      'hash-without-leave',
      'The same key with another recreateIfMissing counts as the same request.',
      '    expectedRevision,\n    recreateIfMissing,\n  }));',
      '    expectedRevision,\n  }));',
    ],
    [
      'hash-without-revision',
      'The same key with another expectedRevision counts as the same request.',
      '    expectedRevision,\n    recreateIfMissing,\n  }));',
      '    recreateIfMissing,\n  }));',
    ],
    [
      'two-organizations',
      'One save may name agents of two organizations.',
      'first === undefined || updates.some((update) => update.orgId !== first.orgId)',
      'first === undefined',
    ],
    [
      'repair-any-save',
      'A repair does not notice a save that kept the revision.',
      'expectedSaveId: update.expectedSaveId,',
      '',
    ],
    [
      'revision-not-passed',
      'expectedRevision does not reach the database.',
      'expectedRevision: update.expectedRevision,',
      'expectedRevision: null,',
    ],
    [
      'leave-not-passed',
      'recreateIfMissing does not reach the database.',
      'recreateIfMissing: update.recreateIfMissing,',
      'recreateIfMissing: false,',
    ],
  ]),
  ...plant(
    'src/services/agents/answer.ts',
    ['src/services/agents/answer.test.ts'],
    [
      [
        'issues-of-other-agent',
        'What Vapi refused of one agent is shown at the other.',
        "return role === 'INBOUND' ? 'inbound' : 'outbound';",
        "return role === 'INBOUND' ? 'outbound' : 'inbound';",
      ],
      [
        'issues-of-anything',
        'Errors that are no refusals are shown as issues of fields.',
        'if (!error?.startsWith(REFUSED)) return [];',
        'if (error === null) return [];',
      ],
      [
        'zero-conflict-untold',
        'A conflict with expectedRevision 0 does not say that the agent exists.',
        'updates.filter((update) => update.expectedRevision === 0)',
        'updates.filter((update) => update.expectedRevision === null)',
      ],
    ],
  ),
  ...plant(
    'src/services/agents/build.ts',
    ['src/services/agents/build.test.ts'],
    [
      [
        'payloads-swapped',
        'The inbound change is saved as the outbound one.',
        "[...update('INBOUND', inboundPayload), ...update('OUTBOUND', outboundPayload)]",
        "[...update('OUTBOUND', inboundPayload), ...update('INBOUND', outboundPayload)]",
      ],
      [
        'build-without-leave',
        'recreateIfMissing is lost between the input and the save.',
        'recreateIfMissing: payload.recreateIfMissing,',
        'recreateIfMissing: false,',
      ],
      [
        'build-without-revision',
        'expectedRevision is lost between the input and the save.',
        'expectedRevision: payload.expectedRevision,',
        'expectedRevision: null,',
      ],
    ],
  ),
];
