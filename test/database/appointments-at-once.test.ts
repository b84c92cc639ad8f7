/** Hundreds of bookings at once in a real Postgres, with answers that are lost and requests that come twice. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Calendar, day, type ToolCaller } from '../support/appointments.ts';
import { createTestSupabase, type TestSupabase } from '../support/supabase.ts';

let supabase: TestSupabase;
let calendar: Calendar;
beforeAll(async () => {
  supabase = await createTestSupabase();
  calendar = new Calendar(supabase);
});
afterAll(() => supabase?.stop());

const D = day(10);
const E = day(11);
const starts = (booked: { startsAt: string }[]) => booked.map(({ startsAt }) => startsAt.slice(11, 16));

const times = Array.from({ length: 10 }, (_, i) => `${String(8 + i).padStart(2, '0')}:00`);
const isBooked = (answer: string) => answer.startsWith('Booked: ');
const isPolite = (answer: string) =>
  /^Nothing was changed\. .* is taken\. Offer one of these free times: .+; .+; .+\.$/.test(answer);

test('500 callers who want the same 10 slots get 10 bookings and 490 offers of other times', async () => {
  const orgId = await calendar.organization();
  const callers = await Promise.all(Array.from({ length: 50 }, () => calendar.call(orgId)));
  const answers = await Promise.all(
    Array.from({ length: 500 }, (_, i) =>
      (callers[i % 50] as ToolCaller).book(D, times[Math.floor(i / 50)] ?? '', `Customer ${i}`),
    ),
  );
  expect(answers.filter(isBooked)).toHaveLength(10);
  expect(answers.filter(isPolite)).toHaveLength(490);
  expect(starts(await calendar.active(orgId))).toEqual(times);
});

test('the same with every tool call delivered twice, answers that are lost and connections that are cut', async () => {
  const orgId = await calendar.organization({ capacity: 2 });
  const callers = await Promise.all(Array.from({ length: 25 }, () => calendar.call(orgId)));
  const cut = (nth: number) => (nth % 2 === 0 ? 'reset-before' : 'reset-after');
  for (let nth = 0; nth < 60; nth += 1) supabase.faults.next('answer_tool_call', cut(nth));
  const once = (i: number) =>
    (callers[i % 25] as ToolCaller).book(D, times[Math.floor(i / 25)] ?? '', `Customer ${i}`, `call_${i}`);
  const first = await Promise.all([
    ...Array.from({ length: 250 }, (_, i) => once(i)),
    ...Array.from({ length: 250 }, (_, i) => once(i)),
  ]);
  supabase.faults.clear();
  const last = await Promise.all(Array.from({ length: 250 }, (_, i) => once(i)));
  expect(last.filter(isBooked)).toHaveLength(20);
  expect(last.filter(isPolite)).toHaveLength(230);
  expect(starts(await calendar.active(orgId))).toEqual(times.flatMap((time) => [time, time]));
  // Whoever was told anything certain was told what is true.
  for (const [i, answer] of first.entries()) {
    if (isBooked(answer) || isPolite(answer)) expect(answer).toBe(last[i % 250]);
    else expect(answer).toContain('it is not certain what happened');
  }
});

test('moves, cancellations and bookings side by side never overlap', async () => {
  const orgId = await calendar.organization({ capacity: 2, bufferMinutes: 15 });
  const callers = await Promise.all(Array.from({ length: 20 }, () => calendar.call(orgId)));
  await Promise.all(callers.map((caller, i) => caller.book(D, times[i % 10] ?? '', `Customer ${i}`)));
  await Promise.all(
    callers.flatMap((caller, i) => [
      caller.move({ date: D, time: times[(i * 7 + 3) % 10] ?? '' }, { name: `Customer ${i}` }),
      i % 4 === 0
        ? caller.cancel({ name: `Customer ${i}` })
        : caller.book(E, times[i % 5] ?? '', `Customer ${i}`),
    ]),
  );
  const [row] = await supabase.sql<{ most: number }[]>`
      select max(n)::int as most from (
        select (select count(*) from public.appointments b where b.org_id = a.org_id and b.status = 'SCHEDULED'
          and b.starts_at <= a.starts_at and coalesce(b.blocked_until, b.ends_at) > a.starts_at) as n
        from public.appointments a where a.org_id = ${orgId} and a.status = 'SCHEDULED') as x`;
  expect(row?.most).toBeLessThanOrEqual(2);
  expect(callers.flatMap(({ counted }) => counted)).not.toContain('appointment.failed');
});
