import { expect, test } from 'vitest';
import { APPOINTMENT_TOOLS } from './tools.ts';

test.each(APPOINTMENT_TOOLS)('$name is a tool that Vapi accepts', ({ name, description, parameters }) => {
  expect(name).toMatch(/^[a-zA-Z0-9_-]{1,64}$/);
  // OpenAI's limit, the lowest of the model providers.
  expect(description.length).toBeLessThanOrEqual(1_024);
  const { type, properties, required } = parameters;
  expect(type).toBe('object');
  expect(Object.keys(properties as object)).toEqual(expect.arrayContaining(required as string[]));
});

test('the names of the tools never change, because agents and calls know them', () => {
  expect(APPOINTMENT_TOOLS.map(({ name }) => name)).toEqual([
    'check_availability',
    'book_appointment',
    'reschedule_appointment',
    'cancel_appointment',
  ]);
});
