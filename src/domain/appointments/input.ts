import { z } from 'zod';
import { type Checked, checked, idempotencyKey, isE164, words } from '../input.ts';
import { isUuid } from '../uuid.ts';

/** What a user may ask of an appointment. */

export const APPOINTMENT_LIMITS = { name: 200, notes: 4_000 } as const;

const startsAt = z.date();
const id = z.string().refine(isUuid, { error: 'your organization has no appointment with this id' });
const key = idempotencyKey.nullish();

const create = z.object({
  startsAt,
  customerName: words(APPOINTMENT_LIMITS.name, 'customerName'),
  customerNumber: z
    .string()
    .refine(isE164, { error: 'customerNumber must be in the E.164 format, for example +12065550101' })
    .nullish(),
  notes: words(APPOINTMENT_LIMITS.notes, 'notes').nullish(),
  idempotencyKey: key,
});
const reschedule = z.object({ id, startsAt, expectedStartsAt: startsAt.nullish(), idempotencyKey: key });
const cancel = z.object({ id, idempotencyKey: key });

export type CreateInput = z.infer<typeof create>;
export type RescheduleInput = z.infer<typeof reschedule>;
export type CancelInput = z.infer<typeof cancel>;

export const checkCreate = (input: unknown): Checked<CreateInput> => checked(create, input);
export const checkReschedule = (input: unknown): Checked<RescheduleInput> => checked(reschedule, input);
export const checkCancel = (input: unknown): Checked<CancelInput> => checked(cancel, input);
