import type { JsonObject } from '../json.ts';

/** A function that an agent's model may call, as it is rendered into the agent's document. */
export interface FunctionTool {
  name: string;
  description: string;
  /** JSON schema of the arguments. Not `strict`: that would make every argument required. */
  parameters: JsonObject;
}

const date = 'The day, as YYYY-MM-DD.';
const time = 'The time of day on the 24-hour clock, as HH:MM, in the time zone of the business.';
const name = "The customer's full name.";
const which = {
  type: 'string',
  enum: ['first', 'second'],
  description:
    'Only when the tool asked for it: in the night in which the clocks go back, an hour exists twice. Says which one is meant.',
};

/**
 * The tools with which an agent books appointments. Models and stored calls know these names and arguments, and agents carry copies of
 * them: a change needs a new mapping version of agents.
 */
export const APPOINTMENT_TOOLS: readonly FunctionTool[] = [
  {
    name: 'check_availability',
    description:
      'Returns the current date and free times for an appointment. Call it before you offer a time. Without arguments it returns the next free times.',
    parameters: {
      type: 'object',
      properties: {
        date: { type: 'string', description: `${date} Leave it out for the next free times.` },
        time: { type: 'string', description: `${time} Returns the free times closest to it.` },
      },
      required: [],
    },
  },
  {
    name: 'book_appointment',
    description:
      'Books an appointment. Call it once the customer has confirmed the time and given a name. The appointment is booked only if the result says so; otherwise the result says why and names free times.',
    parameters: {
      type: 'object',
      properties: {
        date: { type: 'string', description: date },
        time: { type: 'string', description: time },
        name: { type: 'string', description: name },
        notes: { type: 'string', description: 'What the appointment is about, in a few words.' },
        which,
      },
      required: ['date', 'time', 'name'],
    },
  },
  {
    name: 'reschedule_appointment',
    description:
      'Moves an appointment of this caller to another time. It is moved only if the result says so. Name the present date, time or customer if the caller has several appointments.',
    parameters: {
      type: 'object',
      properties: {
        new_date: { type: 'string', description: `${date} The day to move it to.` },
        new_time: { type: 'string', description: `${time} The time to move it to.` },
        date: { type: 'string', description: `${date} The present day of the appointment.` },
        time: { type: 'string', description: `${time} The present time of the appointment.` },
        name: { type: 'string', description: `${name} For whom it was booked.` },
        which,
      },
      required: ['new_date', 'new_time'],
    },
  },
  {
    name: 'cancel_appointment',
    description:
      'Cancels an appointment of this caller. It is cancelled only if the result says so. Name the date, time or customer if the caller has several appointments.',
    parameters: {
      type: 'object',
      properties: {
        date: { type: 'string', description: date },
        time: { type: 'string', description: time },
        name: { type: 'string', description: `${name} For whom it was booked.` },
      },
      required: [],
    },
  },
];
