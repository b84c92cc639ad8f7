import { z } from 'zod';
import { AGENT_ROLES, type AgentRole } from '../agents/agent-config.ts';
import { type Checked, checked, idempotencyKey, isE164, words } from '../input.ts';
import { isUuid } from '../uuid.ts';

/** What a caller may ask of a phone number, checked as a whole before anything else happens. No message quotes a value. */

export const NUMBER_LIMITS = { label: 200, token: 200 } as const;

const label = words(NUMBER_LIMITS.label, 'label');
const role = z.enum(AGENT_ROLES);
const id = z.string().refine(isUuid, { error: 'there is no such phone number in your organization' });

const buy = z.object({
  areaCode: z
    .string()
    .regex(/^[2-9]\d{2}$/, { error: 'areaCode must be three digits of a United States area code' }),
  label,
  role: role.nullish(),
  idempotencyKey,
});
const bring = z.object({
  number: z
    .string()
    .refine(isE164, { error: 'number must be in the E.164 format, for example +12065550101' }),
  twilioAccountSid: z
    .string()
    .regex(/^AC[A-Za-z0-9]{1,62}$/, { error: 'twilioAccountSid must begin with AC, as Twilio shows it' }),
  twilioAuthToken: z
    .string()
    .regex(/^[\x21-\x7e]+$/, { error: 'twilioAuthToken must be a token as Twilio shows it' })
    .refine((value) => value.length <= NUMBER_LIMITS.token, { error: 'twilioAuthToken is too long' }),
  label,
  role: role.nullish(),
  idempotencyKey,
});
const update = z
  .object({ id, label: label.nullish(), role: role.nullish(), idempotencyKey: idempotencyKey.nullish() })
  .refine((value) => value.label !== undefined || value.role !== undefined, {
    error: 'name what to change: label, role or both',
  });
const release = z.object({ id, idempotencyKey: idempotencyKey.nullish() });

export interface BuyInput {
  areaCode: string;
  label: string;
  role?: AgentRole | null | undefined;
  idempotencyKey: string;
}
export interface ImportInput {
  number: string;
  twilioAccountSid: string;
  twilioAuthToken: string;
  label: string;
  role?: AgentRole | null | undefined;
  idempotencyKey: string;
}
export interface UpdateInput {
  id: string;
  label?: string | null | undefined;
  role?: AgentRole | null | undefined;
  idempotencyKey?: string | null | undefined;
}
export interface ReleaseInput {
  id: string;
  idempotencyKey?: string | null | undefined;
}

export const checkBuy = (input: unknown): Checked<BuyInput> => checked(buy, input);
export const checkImport = (input: unknown): Checked<ImportInput> => checked(bring, input);
export const checkUpdate = (input: unknown): Checked<UpdateInput> => checked(update, input);
export const checkRelease = (input: unknown): Checked<ReleaseInput> => checked(release, input);
