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
  ...plant(
    'src/services/saga/execute.ts',
    [...EXECUTE, 'src/services/saga/execute.test.ts'],
    [
      [
        'begin-repeated-late',
        'A beginning is repeated after its caller was answered.',
        ' || elapsed >= settings.answerMs ||',
        ' ||',
      ],
      [
        'begin-only-asks',
        'A beginning is repeated for a caller who has given up.',
        'const late = elapsed >= BEGIN_WITHIN_MS;',
        'const late = false;',
      ],
      [
        'begin-asks-for-ever',
        'After its deadline a beginning is asked for more than once.',
        'elapsed >= settings.answerMs || onlyAsks;',
        'elapsed >= settings.answerMs;',
      ],
      [
        'begin-late-unbounded',
        'A late repetition begins a save because no deadline goes with it.',
        'if (isOver || (late && request.notAfter === undefined))',
        'if (isOver)',
      ],
      [
        'ended-save-in-progress',
        'A save that is over still counts as in progress.',
        'isOver = true;\n    done();',
        'isOver = true;',
      ],
      [
        'failed-begin-keeps-turns',
        'A save whose beginning failed keeps its turns.',
        '.catch((error: unknown) => {\n      unused();',
        '.catch((error: unknown) => {',
      ],
      [
        'cause-forgotten',
        'The journal calls every save a user’s.',
        'cause: start.cause,\n    actor',
        "cause: 'USER',\n    actor",
      ],
      [
        'lease-from-begin',
        'The lease counts from the answer of the beginning.',
        'leaseFrom, leaseMs: ports.settings.leaseMs }',
        'leaseFrom: instant(ports.clock), leaseMs: ports.settings.leaseMs }',
      ],
      [
        'replay-closed-waits',
        'A repetition of a save that is over is not answered at once.',
        'if (isClosed(begun.saga.status)) return replayOf(begun.saga, begun.rows);',
        '',
      ],
      [
        'replay-unmarked',
        'A repetition is answered as if it had made the save.',
        '? { ...outcome, replay: true } : outcome',
        '? outcome : outcome',
      ],
      [
        'closed-still-pending',
        'A save that has just closed is answered as pending.',
        'if (isOver || isClosed(known().status)) return work;',
        'if (isOver) return work;',
      ],
      [
        'sibling-unheard',
        'A repetition of a running save is answered with what it found at first.',
        'learn(saga);\n    if (isClosed(saga.status)) return replayOf(saga, again.rows);',
        'if (isClosed(saga.status)) return replayOf(saga, again.rows);',
      ],
      [
        'defect-not-pending',
        'A defect after the beginning is answered as if nothing began.',
        "return { kind: 'pending', saga: known(), retryAfterMs: PENDING_RETRY_MS };\n    }\n  }",
        'throw error;\n    }\n  }',
      ],
    ],
  ),
  ...plant('src/services/agents/execute.ts', EXECUTE, [
    [
      'kind-forgotten',
      'The journal calls every save a user’s, whoever made it.',
      "const cause = options.kind ?? 'USER';",
      "const cause = 'USER' as const;",
    ],
    [
      'agent-not-passed',
      'The agent that a save names does not reach the database.',
      'agentId: update.agentId,',
      'agentId: null,',
    ],
  ]),
  ...plant('src/services/saga/recovery.ts', RECOVERY, [
    [
      'recovery-does-not-stop',
      'Recovery takes over more saves while the server stops.',
      'while (running.size < AT_ONCE && stopping?.aborted !== true) {',
      'while (running.size < AT_ONCE) {',
    ],
    [
      'recovery-looks-on',
      'Recovery looks for more saves while the server stops.',
      'if (isMore && waiting.length === 0 && stopping?.aborted !== true) {',
      'if (isMore && waiting.length === 0) {',
    ],
    [
      'recovery-goes-round',
      'Recovery finds nothing new while a slow save goes on and another replica has the others.',
      'isMore = due.length === LOOK_AHEAD && fresh.length > 0;',
      'isMore = due.length === LOOK_AHEAD;',
    ],
    [
      'recovery-again-at-once',
      'Recovery takes a save again that it could not carry on.',
      '>= LOOK_AGAIN_MS);\n      for',
      '>= 0);\n      for',
    ],
    [
      'recovery-one-by-one',
      'Recovery carries on one save after the other.',
      'const AT_ONCE = 20;',
      'const AT_ONCE = 1;',
    ],
    [
      'recovery-unbounded',
      'Recovery carries on any number of saves at once.',
      'const AT_ONCE = 20;',
      'const AT_ONCE = 1e9;',
    ],
  ]),
  ...plant(
    'src/services/saga/stamped.ts',
    [...EXECUTE, ...RECOVERY],
    [
      [
        'adopt-youngest',
        'Two recoveries keep different assistants of one save.',
        '(age(a) < age(b) ? -1 : 1)',
        '(age(a) < age(b) ? 1 : -1)',
      ],
      [
        'stamped-newest-bound',
        'The look for stamps asks for the same page again.',
        'before = times[0];',
        'before = times.at(-1);',
      ],
    ],
  ),
  ...plant(
    'src/services/agents/participant.ts',
    [...EXECUTE, ...RECOVERY],
    [
      [
        'undo-with-own-revision',
        'An undo puts the old content back with the revision of the save that failed.',
        '...this.#document(before) };',
        '...this.#document({ ...before, revision: this.#image.after.revision }) };',
      ],
    ],
  ),
  ...plant('src/services/saga/protocol.ts', PROTOCOL, [
    [
      'rollback-unambiguous',
      'The rollback of a save that was taken over leaves no fence.',
      "return { do: 'close', missing: missingParts(parts), ambiguous };",
      "return { do: 'close', missing: missingParts(parts), ambiguous: parts.some((part) => part.ambiguous) };",
    ],
  ]),
];
