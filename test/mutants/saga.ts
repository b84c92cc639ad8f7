import { type Mutant, plant } from './plant.ts';

const DECISIONS = ['src/services/saga/protocol.test.ts'];
const RUN = [
  'src/services/agents/run.test.ts',
  'src/services/agents/execute.test.ts',
  'src/services/agents/execute-turns.test.ts',
];
const RECOVERY = ['src/services/agents/recover.test.ts', 'src/services/agents/recover-batches.test.ts'];
const SETTLE = ['src/services/agents/settle.test.ts'];
const STAGES = ['test/explorer/saga.test.ts', ...DECISIONS];

/** The saga engine. Its own tests are those of a save of agents, and the explorers. */
export const SAGA: readonly Mutant[] = [
  ...plant('src/services/saga/protocol.ts', DECISIONS, [
    [
      'post-repeated',
      'A POST without an answer is sent again, and creates a second resource.',
      "again: request !== 'POST' };",
      'again: true };',
    ],
    [
      'recreate-twice',
      'A creation that is answered with 404 is tried forever.',
      "if (part.recreate === true && part.action === 'replace') {",
      'if (part.recreate === true) {',
    ],
    [
      'undo-recreates',
      'An undo whose resource is gone counts as a creation without permission.',
      "if (request === 'PATCH' && part.recreate === true) {",
      "if (request === 'PATCH') {",
    ],
    [
      'released-goes-on',
      'An owner that released its lease goes on.',
      "if (saga.released) return { do: 'stop' };",
      '',
    ],
    [
      'creation-without-quarantine',
      'A creation that was taken over sends a second POST at once.',
      'if (taken && !saga.quarantined && parts.some(inDoubt)) {',
      'if (taken && !saga.quarantined && parts.every(inDoubt)) {',
    ],
    [
      'takeover-unambiguous',
      'What the last owner may have sent leaves no fence.',
      'return part.ambiguous || (saga.taken && !isKnown);',
      'return part.ambiguous;',
    ],
    [
      'sends-hopeless',
      'A resource is created for a saga that must be rolled back.',
      'const next = definite === undefined ? nextToSend(parts) : [];',
      'const next = nextToSend(parts);',
    ],
    [
      'commit-some',
      'A saga commits when one of its parts is applied.',
      "if (parts.every((part) => part.forward === 'applied')) return",
      "if (parts.some((part) => part.forward === 'applied')) return",
    ],
    [
      'impatient',
      'Recovery rolls a saga back because Vapi does not answer for a moment.',
      'const patience = taken && !saga.pastDeadline;',
      'const patience = false;',
    ],
    [
      'patient-for-ever',
      'Recovery never rolls a saga back, however old it is.',
      'if (failed !== undefined || (taken && saga.pastDeadline)) {',
      'if (failed !== undefined) {',
    ],
    [
      'nothing-applied-some',
      'A saga that touched one part is closed without an undo.',
      'nothingApplied: !ambiguous && parts.every(',
      'nothingApplied: !ambiguous && parts.some(',
    ],
    [
      'nothing-applied-ambiguous',
      'A saga whose request may still arrive is closed without an undo.',
      'nothingApplied: !ambiguous && parts',
      'nothingApplied: parts',
    ],
    [
      'no-quarantine',
      'A creation without an answer is taken over at once.',
      "const quarantine = parts.some((part) => part.action === 'create' && part.forward === 'unknown');",
      'const quarantine = false;',
    ],
    [
      'undo-untouched',
      'Parts that no request touched are undone as well.',
      'const touched = parts.filter((part) => part.touched);',
      'const touched = parts;',
    ],
    [
      'blocked-closes',
      'An undo that the lease did not allow counts as refused.',
      "if (current.some((part) => part.undo === 'unknown' || part.undo === 'blocked')) {",
      "if (current.some((part) => part.undo === 'unknown')) {",
    ],
    [
      'refused-undo-closes',
      'A saga that Vapi does not let us undo is reported as rolled back.',
      "if (current.length > 0) return { do: 'attention'",
      "if (current.length > 9) return { do: 'attention'",
    ],
    [
      'gone-not-missing',
      'A resource that was deleted, and was not created again after all, is not reported as missing.',
      "part.undo === 'missing' || part.gone === true)",
      "part.undo === 'missing')",
    ],
    [
      'undo-missing-forgotten',
      'A resource that the undo finds deleted is not reported as missing.',
      "part.forward === 'missing' || part.undo === 'missing' ||",
      "part.forward === 'missing' ||",
    ],
  ]),
  ...plant('src/services/saga/protocol.ts', STAGES, [
    [
      'stages-at-once',
      'A part is sent before the parts of earlier stages are applied.',
      "return open.filter((part) => part.stage === stage && part.forward === 'pending');",
      "return open.filter((part) => part.forward === 'pending');",
    ],
    [
      'undo-at-once',
      'A part is undone before the parts of later stages are.',
      'const current = open.filter((part) => part.stage === stage);',
      'const current = open;',
    ],
    [
      'pivot-undone',
      'A saga is rolled back although its pivot may have been sent.',
      'if (parts.some((part) => part.pivot && part.touched)) {',
      'if (parts.some((part) => part.pivot && !part.touched)) {',
    ],
    [
      'pivot-unannounced',
      'A pivot is sent before the journal says that it may have been.',
      "if (unannounced.length > 0) return { do: 'announce', keys: keysOf(unannounced) };",
      '',
    ],
    [
      'pivot-of-dead-owner',
      'A pivot that was announced counts as not sent.',
      'const isUntouched = !taken || (isAnnounced(part, parts) && !pivotSent);',
      'const isUntouched = !taken || isAnnounced(part, parts);',
    ],
  ]),
  ...plant(
    'src/services/saga/protocol.ts',
    ['test/explorer/explorer.test.ts'],
    [
      [
        'look-believed',
        'A stamp that was seen counts although an owner may have repeated its request.',
        'const isKnown = part.known === true || (saga.once === true && part.seen === true);',
        'const isKnown = part.known === true || part.seen !== false;',
      ],
    ],
  ),
  ...plant('src/services/saga/run.ts', RUN, [
    [
      'send-in-turn',
      'The second part is sent only after the first was answered.',
      'return Promise.all(this.#chosen(decision.keys).map((target) => this.#send(target)));',
      'return this.#chosen(decision.keys).reduce((last, target) => last.then(() => this.#send(target)), Promise.resolve());',
    ],
    [
      'taken-untouched',
      'Recovery does not put back what the last owner wrote.',
      'const start = startOf({ ...plan, action }, plans, { taken, record, pivotSent });',
      'const start = { ...startOf({ ...plan, action }, plans, { taken, record, pivotSent }), touched: false };',
    ],
    [
      'abort-lease-kept',
      'A rollback counts on the lease that the saga began with.',
      'this.#leaseFrom = leaseFrom;\n    this.#leaseMs = leaseMs;',
      '',
    ],
    [
      'ambiguous-undone-at-once',
      'An ambiguous saga is undone without its quarantine.',
      'if (ambiguous) this.#released = true;',
      '',
    ],
    [
      'attention-cried',
      'An operator is called for a saga that another owner has.',
      "if (this.#saga.status !== 'NEEDS_ATTENTION') return;",
      '',
    ],
    [
      'held-without-quarantine',
      'A creation without an answer is released without its quarantine.',
      'quarantineMs: quarantine ? this.#lateMs : 0,',
      'quarantineMs: 0,',
    ],
    [
      'stale-goes-on',
      'An owner whose epoch is old goes on.',
      "'lost the save to another owner');\n      this.#released = true;",
      "'lost the save to another owner');",
    ],
    [
      'guard-without-wait',
      'A request is repeated although it would end after the lease.',
      'return fitsLease(elapsed(this.#ports.clock, this.#leaseFrom) + waitMs, {',
      'return fitsLease(elapsed(this.#ports.clock, this.#leaseFrom), {',
    ],
    [
      'guard-before-turn',
      'A request is sent after the lease because it waited for its permit.',
      'admission.turn(leftMs))) return false;\n    return this.#guard(target);',
      'admission.turn(leftMs))) return false;\n    return true;',
    ],
    [
      'turn-too-late',
      'A request waits for a permit that comes when it could not end within the lease.',
      '- elapsed(clock, this.#leaseFrom) - target.part.timeoutMs;',
      '- elapsed(clock, this.#leaseFrom);',
    ],
    [
      'retry-without-turn',
      'Repetitions take no permit.',
      'this.#admitted.delete(target) ? this.#guard(target)',
      'this.#admitted.has(target) ? this.#guard(target)',
    ],
    [
      'repeat-unrecorded',
      'A request is repeated and the journal does not know.',
      'if (target.ambiguous && !(await this.#recorded())) return;',
      '',
    ],
    [
      'adopt-always-creates',
      'Recovery creates a second resource beside the one that the last owner created.',
      "if (target.action === 'create' && this.#held.taken && target.remoteId === null) {",
      "if (target.action === 'create' && this.#held.taken && target.remoteId !== null) {",
    ],
    [
      'adopt-blind',
      'Recovery creates a resource although Vapi could not say whether it exists.',
      "target.error = 'Vapi could not be asked whether it exists already.';\n      return false;",
      "target.error = 'Vapi could not be asked whether it exists already.';\n      return true;",
    ],
    [
      'look-unstamped',
      'A look takes a resource with the stamp of another saga for its own.',
      "if (reply.kind !== 'ok' || !reply.value.stamped) return;",
      "if (reply.kind !== 'ok') return;",
    ],
    [
      'look-any-content',
      'A look commits a saga although the resource holds other content.',
      'if (found.holds === null || found.holds.differing.length > 0) return;',
      'if (found.holds === null) return;',
    ],
    [
      'made-unstamped',
      'An undo deletes a resource because an answer named it.',
      "if (reply.kind === 'ok' && reply.value.stamped) made.push(reply.value);",
      "if (reply.kind === 'ok') made.push(reply.value);",
    ],
    [
      'undo-create-undeleted',
      'A saga counts as undone although what it created could not be deleted.',
      "if (reply.kind !== 'ok' && reply.kind !== 'gone') {\n        const { answer, error } = toldUndo(reply);",
      "if (reply.kind === 'unknown') {\n        const { answer, error } = toldUndo(reply);",
    ],
    [
      'rolled-back-names-assistant',
      'A rolled back creation still names a resource.',
      "status === 'ROLLED_BACK' && target.action === 'create' ? null : target.remoteId,",
      'target.remoteId,',
    ],
    [
      'words-left-in',
      'Text that the database refuses is sent to it again.',
      'error: result.error === null ? null : withheld,',
      'error: result.error,',
    ],
  ]),
  ...plant('src/services/saga/waits.ts', RUN, [
    [
      'retry-after-shortened',
      'A request is repeated before the time that Vapi asked for.',
      ': Math.max(reply.retryAfterMs,',
      ': Math.min(reply.retryAfterMs,',
    ],
    ['backoff-constant', 'Repetitions do not slow down.', 'baseMs * 2 ** Math.min(attempt, 16)', 'baseMs'],
  ]),
  ...plant('src/services/saga/told.ts', RUN, [
    [
      'undo-unverified',
      'An undo that Vapi answered with other content counts as done.',
      "if (differing.length === 0) return { answer: 'matches', error: null };",
      "if (differing.length >= 0) return { answer: 'matches', error: null };",
    ],
  ]),
  ...plant('src/services/saga/stamped.ts', RUN, [
    [
      'stamped-exact-clock',
      'The search for stamps allows for no difference of the clocks.',
      'Date.parse(startedAt) - CLOCK_DIFFERENCE_MS)',
      'Date.parse(startedAt))',
    ],
    [
      'stamped-first-page',
      'The search for stamps ends after a thousand resources.',
      'if (page.value.length < PAGE_SIZE || times[0] === before) break;',
      'break;',
    ],
    [
      'stamped-all',
      'Every resource counts as stamped.',
      'if (one.stamped) found.set(one.remoteId, one);',
      'found.set(one.remoteId, one);',
    ],
  ]),
  ...plant('src/services/agents/participant.ts', RUN, [
    [
      'stamped-any-save',
      'The assistant of an earlier save counts as made by this one.',
      'const stamped = stamp?.saveId === this.#saga.sagaId && stamp.agentId',
      'const stamped = stamp?.agentId',
    ],
    [
      'stamped-any-agent',
      'The assistant of the sibling counts as made for this agent.',
      ' && stamp.agentId === this.#image.resourceId;',
      ';',
    ],
    [
      'undo-with-own-stamp',
      'An undo puts the old content back with the stamp of the save that failed.',
      '...this.#document(before) };',
      '...this.#document({ ...before, sagaId: this.#saga.sagaId }) };',
    ],
    [
      'undo-own-mapping',
      'An undo renders the old configuration with a mapping that it was not saved with.',
      '...this.#document(before) };',
      '...this.#document({ ...before, mappingVersion: Math.min(before.mappingVersion, this.#saga.mappingVersion) }) };',
    ],
  ]),
  ...plant('src/services/saga/recovery.ts', RECOVERY, [
    [
      'recovery-ends-uncounted',
      'A round counts sagas as finished that are still open.',
      'if (end.saga.finishedAt !== null) round.finished += 1;',
      'round.finished += 1;',
    ],
    [
      'recovery-one-look',
      'A round ends after the first look-up.',
      'isMore = due.length === LOOK_AHEAD && fresh.length > 0;',
      'isMore = false;',
    ],
  ]),
  ...plant('src/services/saga/settle.ts', SETTLE, [
    [
      'settle-by-old-id',
      'A resource that was created again is looked up by its old id.',
      'const remoteId = created ? made : image.remoteId;',
      'const remoteId = image.remoteId ?? made;',
    ],
    [
      'settle-replaced-not-missing',
      'A part whose new resource was deleted again is not reported as missing.',
      'if (image.remoteId !== null && (created || found === null)) missing',
      'if (image.remoteId !== null && found === null) missing',
    ],
    [
      'settle-deleted-not-missing',
      'A part whose resource somebody deleted is not reported as missing.',
      'if (image.remoteId !== null && (created || found === null)) missing',
      'if (image.remoteId !== null && created) missing',
    ],
    [
      'settle-open',
      'A saga that may still be running is settled.',
      "if (saga.status !== 'NEEDS_ATTENTION') return takeFromRecovery();",
      '',
    ],
    [
      'settle-leased',
      'A saga is taken from a server that works on it.',
      'if ((inspected.leaseMs ?? 0) > 0) return inUse(inspected.leaseMs ?? 0);',
      '',
    ],
    [
      'settle-unread',
      'A saga is settled although Vapi could not be asked about a part.',
      "if (reply !== null && reply.kind !== 'ok' && reply.kind !== 'gone') {",
      'if (reply === undefined) {',
    ],
    [
      'settle-first-reason',
      'A saga is settled although one of its parts differs.',
      'if (reason !== null) reasons.push(`${image.key}: ${reason}`);',
      'if (reason !== null && parts.length > 0) reasons.push(`${image.key}: ${reason}`);',
    ],
    [
      'settle-created-stays',
      'A creation is settled as rolled back although what it created exists.',
      "if (created) return found === null ? null : 'what this save created still exists in Vapi';",
      'if (created) return null;',
    ],
    [
      'settle-commit-without',
      'A saga is committed for a part whose resource does not exist.',
      "if (found === null) return 'it does not exist in Vapi';",
      'if (found === null) return null;',
    ],
    [
      'settle-without-late',
      'Settling leaves no fence.',
      '...{ parts, results, missing, lateMs: lateTimeMs(settings) },',
      '...{ parts, results, missing, lateMs: 0 },',
    ],
  ]),
  ...plant('src/services/saga/settle.ts', SETTLE, [
    [
      'settle-any-account',
      'A save is settled by what another Vapi account shows.',
      'return seen === account ? null :',
      'return seen !== null ? null :',
    ],
  ]),
  ...plant('src/services/agents/participant.ts', SETTLE, [
    [
      'settle-foreign-metadata',
      'A save is settled over metadata that somebody else wrote.',
      '/^metadata\\.lockstep(\\.|$)/.test(path)',
      '/^metadata/.test(path)',
    ],
    [
      'settle-old-stamp-of-new',
      'The new content is compared with the old one.',
      'differsFromAfter: contentPaths(this.#after, assistant),',
      'differsFromAfter: contentPaths(this.#before() ?? {}, assistant),',
    ],
  ]),
];
