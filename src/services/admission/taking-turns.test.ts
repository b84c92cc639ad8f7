import { expect, test } from 'vitest';
import type { Admission, Admitted, Refused } from '../../ports/admission.ts';
import type { VoiceProvider } from '../../ports/voice-provider.ts';
import { takingTurns } from './taking-turns.ts';

function start(answer: Refused | Omit<Admitted, 'done' | 'unused'>) {
  const asked: unknown[][] = [];
  const events: string[] = [];
  const admission: Admission = {
    savesPerMinute: 1,
    admit: async (...args) => {
      asked.push(args);
      return answer.admitted
        ? { admitted: true, unused: () => events.push('unused'), done: () => events.push('done') }
        : answer;
    },
    turn: () => Promise.reject(new Error('not part of this test')),
  };
  const voice = {
    timeoutMs: 7,
    getAssistant: async (id: string) => {
      events.push(`GET ${id}`);
      return { kind: 'gone' as const };
    },
    listAssistants: () => Promise.reject(new Error('broken')),
  } as unknown as VoiceProvider;
  return { voice: takingTurns(voice, admission, 'sweep', 30_000), asked, events };
}

test('sends a request during its turn, which ends with the answer', async () => {
  const { voice, asked, events } = start({ admitted: true });
  expect(await voice.getAssistant('a')).toEqual({ kind: 'gone' });
  expect(asked).toEqual([['sweep', 1, 30_000]]);
  expect(events).toEqual(['GET a', 'done']);
  expect(voice.timeoutMs).toBe(7);
});

test('ends the turn if the request throws', async () => {
  const { voice, events } = start({ admitted: true });
  await expect(voice.listAssistants({})).rejects.toThrow('broken');
  expect(events).toEqual(['done']);
});

test('does not send a request without a turn, and returns a retry time', async () => {
  const { voice, events } = start({ admitted: false, retryAfterMs: 1_234 });
  expect(await voice.getAssistant('a')).toEqual({ kind: 'rate_limited', retryAfterMs: 1_234 });
  expect(events).toEqual([]);
});
