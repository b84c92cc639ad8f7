import { type Mutant, plant } from './plant.ts';

/** Planted bugs of what shares the Vapi account and bounds the reads. */

const PACER = ['test/fairness/pacer-turns.test.ts', 'test/fairness/pacer.test.ts'];

export const ADMISSION: readonly Mutant[] = [
  ...plant('src/services/admission/pacer.ts', PACER, [
    [
      'waiting-off-by-one',
      'One save more than the bound may wait.',
      'queue.length >= MOST_WAITING',
      'queue.length > MOST_WAITING',
    ],
    [
      'place-kept',
      'A save that was refused keeps its place in the queue.',
      'queue.splice(queue.indexOf(waiting), 1);',
      '',
    ],
    [
      'refund-asleep',
      'Turns that come back do not wake the next save.',
      'this.#tokens += requests;\n        this.#pump();',
      'this.#tokens += requests;',
    ],
    ['refund-lost', 'Turns that were not used are lost.', 'this.#tokens += requests;', ''],
    [
      'done-asleep',
      'The end of a save does not wake the next one.',
      'this.#inProgress -= 1;\n        this.#pump();',
      'this.#inProgress -= 1;',
    ],
    ['done-twice', 'A save that ends twice makes room for two.', 'if (isDone) return;', ''],
    [
      'in-progress-off-by-one',
      'One save more than the setting is in progress.',
      'this.#inProgress >= this.#settings.inProgress',
      'this.#inProgress > this.#settings.inProgress',
    ],
    [
      'organizations-kept',
      'Every organization that ever saved is kept in memory.',
      'if (queue.length === 0 && this.#organizations.get(orgId) === queue) this.#organizations.delete(orgId);',
      '',
    ],
    [
      'recent-kept',
      'An organization that had a turn is remembered for ever.',
      'if (now - at < windowMs) break;\n      this.#recent.delete(orgId);',
      'if (now - at < windowMs) break;',
    ],
    [
      'pause-ignored',
      'A save begins while Vapi has asked for a pause.',
      'const inMs = Math.max(this.#pauseMs(), next.inMs);',
      'const inMs = next.inMs;',
    ],
    [
      'pause-shortened',
      'A later, shorter pause shortens the first one.',
      'this.#pausedUntil = Math.max(this.#pausedUntil, this.#clock.monotonic() + ms);',
      'this.#pausedUntil = this.#clock.monotonic() + ms;',
    ],
    [
      'limited-each-time',
      'Refusals of one moment count once each.',
      'if (now - this.#limited.at >= SAME_NEWS_MS || this.#limited.factor === 1) {',
      'if (true) {',
    ],
    [
      'limited-to-nothing',
      'The rate falls to nothing.',
      'Math.max(LEAST, this.#factor(now) / 2)',
      'this.#factor(now) / 2 - LEAST',
    ],
    [
      'limited-burst',
      'What was saved up goes out at the old pace.',
      'this.#settings.burst * this.#factor(now) + this.#settings.reserve',
      'this.#settings.burst + this.#settings.reserve',
    ],
    [
      'share-of-rate',
      'A replica uses the rate of the whole account.',
      '(this.#settings.requestsPerSecond / 1_000) * this.#share * this.#factor(now)',
      '(this.#settings.requestsPerSecond / 1_000) * this.#factor(now)',
    ],

    [
      'share-unanswered',
      'A slow database lifts the limit.',
      'if (!answered) {',
      'if (!answered) this.#shareUntil = Number.POSITIVE_INFINITY;\n    if (false) {',
    ],
    [
      'reserve-for-saves',
      'Saves use up what undoing needs.',
      'this.#until(requests + this.#settings.reserve * this.#share)',
      'this.#until(requests)',
    ],
    [
      'finishing-last',
      'Undoing waits for its turn behind the saves.',
      'if (finishing !== undefined) {',
      'if (finishing !== undefined && this.#organizations.size === 0) {',
    ],
    [
      'turns-in-order-of-arrival',
      'The organization that asks most has every turn.',
      'next === undefined || last < next.last',
      'next === undefined',
    ],
    ['turn-unrecorded', 'Who had a turn just now has the next one too.', 'this.#recent.set(orgId, now);', ''],
    [
      'retry-time-of-nobody',
      'A refused caller is told a time at which others are still before it.',
      'for (const waiting of queue) before += waiting.requests;',
      'for (const waiting of queue) before += 0 * waiting.requests;',
    ],
    [
      'retry-time-without-pause',
      'A refused caller is told to come back within the pause.',
      'const ms = this.#pauseMs() + Math.min(turnMs, MOST_TOLD_MS);',
      'const ms = Math.min(turnMs, MOST_TOLD_MS);',
    ],
    [
      'late-waits',
      'A caller waits through a pause that is longer than its time.',
      'if (this.#pauseMs() > withinMs || queue',
      'if (queue',
    ],
  ]),
  ...plant(
    'src/services/admission/replicas.ts',
    ['src/services/admission/replicas.test.ts', 'test/fairness/pacer.test.ts'],
    [],
  ),
  ...plant(
    'src/services/admission/taking-turns.ts',
    ['src/services/admission/taking-turns.test.ts'],
    [
      [
        'turns-not-ended',
        'Each request of the sweep counts as in progress for ever.',
        'return request().finally(admitted.done);',
        'return request();',
      ],
      [
        'turns-not-waited',
        'A request of the sweep is sent without its turn.',
        "if (!admitted.admitted) return { kind: 'rate_limited', retryAfterMs: admitted.retryAfterMs };\n    return request()",
        'if (!admitted.admitted) return request();\n    return request()',
      ],
      [
        'turns-of-default-wait',
        'The sweep waits for its turn no longer than a save.',
        'admission.admit(name, 1, withinMs)',
        'admission.admit(name, 1)',
      ],
    ],
  ),
  ...plant(
    'src/services/reads/share-reads.ts',
    ['src/services/reads/share-reads.test.ts', 'test/fairness/reads.test.ts'],
    [
      [
        'read-per-alias',
        'Each alias of one field is a database request.',
        'if (known !== undefined) return known;',
        '',
      ],
      [
        'read-any-arguments',
        'Two reads with different arguments get one answer.',
        'const key = `${name}${JSON.stringify(args)}`;',
        'const key = name;',
      ],

      [
        'reads-unbounded',
        'One organization runs any number of reads at once.',
        '(this.#running.get(orgId) ?? 0) < perOrganization',
        '(this.#running.get(orgId) ?? 0) < total',
      ],
      [
        'reads-total-unbounded',
        'All organizations together run any number of reads at once.',
        'return this.#total < total && (',
        'return (',
      ],
      [
        'reads-never-freed',
        'A read that failed keeps its place.',
        '} finally {\n      this.#release(orgId);\n    }',
        '} catch (error) {\n      throw error;\n    }',
      ],
      [
        'reads-jump-the-queue',
        'A new read overtakes those of its organization that wait.',
        'if (!this.#waiting.has(orgId) && this.#hasRoom(orgId))',
        'if (this.#hasRoom(orgId))',
      ],
      [
        'reads-wait-unbounded',
        'Any number of reads of one organization may wait.',
        'if (queue.length >= this.#limits.waiting) throw',
        'if (queue.length > 1e6) throw',
      ],
      [
        'reads-late',
        'A read that waited too long is started for nobody.',
        'if (this.#clock.monotonic() - next.since > this.#limits.waitMs) {',
        'if (false) {',
      ],
      [
        'reads-no-turns',
        'The organization with the longest queue is served first.',
        'this.#waiting.delete(orgId);\n      if (queue.length > 0) this.#waiting.set(orgId, queue);',
        'if (queue.length === 0) this.#waiting.delete(orgId);',
      ],
    ],
  ),
  ...plant(
    'src/services/reads/share-reads.ts',
    ['src/services/reads/share-reads.test.ts', 'test/fairness/reads.test.ts'],
    [
      [
        'read-after-mutation',
        'A later mutation of a document decides by what was read before an earlier one.',
        'forget: () => answers.clear(),',
        'forget: () => {},',
      ],
      [
        'reads-opened-each-time',
        'Each read of a request makes a client of its own.',
        'opened ??= open();',
        'opened = open();',
      ],
      [
        'reads-past-the-gate',
        'Reads do not count against the reads that may run at once.',
        'const answer = admit(() => {\n        opened ??= open();\n        return read(opened, ...args);\n      });',
        'opened ??= open();\n      const answer = read(opened, ...args);',
      ],
    ],
  ),
  ...plant('src/services/admission/pacer.ts', PACER, [
    ['refused-uncounted', 'A refusal is counted nowhere.', "this.#meter.count('admission.refused');", ''],
    [
      'share-lapsed',
      'A replica goes on with a share that has lapsed.',
      'if (next.orgId !== undefined && this.#isLapsed(now) && this.#renew !== undefined) {',
      'if (false && this.#renew !== undefined) {',
    ],
    [
      'share-lapsed-never',
      'A share never lapses.',
      'return now >= this.#shareUntil && this.#renew !== undefined;',
      'return false;',
    ],
    [
      'share-lapsed-limited',
      'A caller is told of too many saves where this replica may have lost its share.',
      "if (waited === 'no_share' || this.#isLapsed(this.#clock.monotonic())) {",
      "if (waited === 'no_share') {",
    ],
  ]),
  ...plant(
    'src/services/admission/replicas.ts',
    ['src/services/admission/replicas.test.ts', 'test/fairness/pacer.test.ts'],
    [
      [
        'share-before-known',
        'A replica takes its share before the others have given it up.',
        'beat.known ? 1 / beat.replicas : 0',
        '1 / beat.replicas',
      ],
      [
        'share-of-one',
        'Every replica takes the whole account.',
        'beat.known ? 1 / beat.replicas : 0',
        'beat.known ? 1 : 0',
      ],
      [
        'share-from-answer',
        'A share is kept too long after a slow beat.',
        'from + REPLICA_TTL_MS);',
        'clock.monotonic() + REPLICA_TTL_MS);',
      ],
      [
        'clock-latest',
        'The clock of the database jumps back with each slow answer.',
        'if (old === null || time - at > old.ahead || at - old.at > READING_MS)',
        'if (true)',
      ],
      [
        'clock-believed-for-ever',
        'A database clock that was set back is never believed.',
        ' || at - old.at > READING_MS)',
        ')',
      ],
    ],
  ),
];
