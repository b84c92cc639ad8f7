import type { AppContext } from '../../context.ts';
import {
  checkBuy,
  checkImport,
  checkRelease,
  checkUpdate,
  NUMBER_LIMITS,
} from '../../domain/phone-numbers/input.ts';
import { Secret } from '../../domain/secret.ts';
import type { PhoneNumberChange } from '../../ports/phone-numbers/phone-number-journal.ts';
import { AllowanceExceededError, AreaCodeUnavailableError, NumberTakenError } from '../../services/errors.ts';
import { type PhoneNumberAnswer, phoneNumberAnswer } from '../../services/phone-numbers/answer.ts';
import type { ChangeOptions } from '../../services/phone-numbers/change.ts';
import { validInput } from '../../services/valid-input.ts';
import { AgentRoleRef } from '../agents/agent.ts';
import { builder, tenantOf } from '../builder.ts';
import { SAVE_COST } from '../cost.ts';
import { ErrorRef, OPERATION_ERRORS } from '../errors.ts';
import { OperationRef } from '../operations/operation.ts';
import { PhoneNumberRef } from './phone-number.ts';

builder.objectType(AreaCodeUnavailableError, {
  name: 'AreaCodeUnavailableError',
  interfaces: [ErrorRef],
  description: 'Vapi has no number with this area code. Nothing was bought.',
  fields: (t) => ({
    suggestions: t.exposeStringList('suggestions', { description: 'Area codes that Vapi suggests instead.' }),
  }),
});

builder.objectType(NumberTakenError, {
  name: 'NumberTakenError',
  interfaces: [ErrorRef],
  description: 'The number is in use at Vapi already. Nothing was imported.',
});

const PhoneNumberSuccess = builder.objectRef<PhoneNumberAnswer>('PhoneNumberSuccess').implement({
  description: 'Vapi has it. It may still be ACTIVATING: query `phoneNumber` until it is ACTIVE.',
  fields: (t) => ({
    phoneNumber: t.expose('phoneNumber', {
      type: PhoneNumberRef,
      description: 'The number as it is now, also if the answer repeats the one of an earlier request.',
    }),
    operation: t.expose('operation', { type: OperationRef }),
  }),
});

const LABEL = `At most ${NUMBER_LIMITS.label} characters. It is stored here and not in Vapi.`;
const ROLE = 'The number is attached to this agent as soon as it is active and the agent exists.';
const KEY =
  'The same key and the same input give the same operation and the same answer, also after a failure. The same key with another ' +
  'input is an error. Only an operation that began uses its key up.';

const BuyPhoneNumberInput = builder.inputType('BuyPhoneNumberInput', {
  fields: (t) => ({
    areaCode: t.string({ required: true, description: 'Three digits, United States.' }),
    label: t.string({ required: true, description: LABEL }),
    role: t.field({ type: AgentRoleRef, description: ROLE }),
    idempotencyKey: t.string({ required: true, description: KEY }),
  }),
});

const ImportPhoneNumberInput = builder.inputType('ImportPhoneNumberInput', {
  description: 'The token is used for one request and stored nowhere.',
  fields: (t) => ({
    number: t.string({ required: true, description: 'E.164, for example `+12065550101`.' }),
    twilioAccountSid: t.string({ required: true }),
    twilioAuthToken: t.string({
      required: true,
      description: 'Not part of what a repeated request must have in common with the first.',
    }),
    label: t.string({ required: true, description: LABEL }),
    role: t.field({ type: AgentRoleRef, description: ROLE }),
    idempotencyKey: t.string({ required: true, description: KEY }),
  }),
});

const UpdatePhoneNumberInput = builder.inputType('UpdatePhoneNumberInput', {
  description: 'A field left out stays as it is.',
  fields: (t) => ({
    id: t.id({ required: true }),
    label: t.string({ description: `${LABEL} Null: none.` }),
    role: t.field({
      type: AgentRoleRef,
      description: 'Attaches the number to this agent; null detaches it.',
    }),
    idempotencyKey: t.string({ description: KEY }),
  }),
});

const ReleasePhoneNumberInput = builder.inputType('ReleasePhoneNumberInput', {
  fields: (t) => ({ id: t.id({ required: true }), idempotencyKey: t.string({ description: KEY }) }),
});

async function change(
  context: AppContext,
  wish: PhoneNumberChange,
  options: Omit<ChangeOptions, 'actor'>,
): Promise<PhoneNumberAnswer> {
  const { orgId, userId, reads } = tenantOf(context);
  reads.forget();
  const outcome = await context.changePhoneNumber(orgId, wish, { ...options, actor: userId });
  return phoneNumberAnswer(outcome, wish.action);
}

builder.mutationField('buyPhoneNumber', (t) =>
  t.field({
    type: PhoneNumberSuccess,
    complexity: SAVE_COST,
    description:
      'Buys a number at Vapi. However often it is repeated under its key, and whatever fails meanwhile, at most one number is bought.',
    args: { input: t.arg({ type: BuyPhoneNumberInput, required: true }) },
    errors: {
      types: [...OPERATION_ERRORS, AllowanceExceededError, AreaCodeUnavailableError],
      union: { name: 'BuyPhoneNumberResult' },
    },
    resolve: (_root, args, context) => {
      tenantOf(context);
      const { areaCode, label, role, idempotencyKey } = validInput(checkBuy(args.input));
      const phoneNumberId = context.executorPorts.ids.uuid();
      return change(
        context,
        { action: 'BUY', phoneNumberId, areaCode, label, role: role ?? undefined },
        { idempotencyKey },
      );
    },
  }),
);

builder.mutationField('importPhoneNumber', (t) =>
  t.field({
    type: PhoneNumberSuccess,
    complexity: SAVE_COST,
    description: 'Connects a number that the organization has at Twilio.',
    args: { input: t.arg({ type: ImportPhoneNumberInput, required: true }) },
    errors: {
      types: [...OPERATION_ERRORS, AllowanceExceededError, NumberTakenError],
      union: { name: 'ImportPhoneNumberResult' },
    },
    resolve: (_root, args, context) => {
      tenantOf(context);
      const { number, label, role, idempotencyKey, ...twilio } = validInput(checkImport(args.input));
      const phoneNumberId = context.executorPorts.ids.uuid();
      return change(
        context,
        { action: 'IMPORT', phoneNumberId, provider: 'twilio', number, label, role: role ?? undefined },
        {
          idempotencyKey,
          carrier: { accountSid: twilio.twilioAccountSid, token: new Secret(twilio.twilioAuthToken) },
        },
      );
    },
  }),
);

builder.mutationField('updatePhoneNumber', (t) =>
  t.field({
    type: PhoneNumberSuccess,
    complexity: SAVE_COST,
    description: 'Attaches a number to an agent, detaches it, or changes its label.',
    args: { input: t.arg({ type: UpdatePhoneNumberInput, required: true }) },
    errors: { types: OPERATION_ERRORS, union: { name: 'UpdatePhoneNumberResult' } },
    resolve: (_root, args, context) => {
      tenantOf(context);
      const { id, label, role, idempotencyKey } = validInput(checkUpdate(args.input));
      return change(
        context,
        { action: 'UPDATE', phoneNumberId: id, label, role },
        { idempotencyKey: idempotencyKey ?? null },
      );
    },
  }),
);

builder.mutationField('releasePhoneNumber', (t) =>
  t.field({
    type: PhoneNumberSuccess,
    complexity: SAVE_COST,
    description:
      'Deletes a number in Vapi. It cannot be undone: one that was bought is lost, one that was imported stays with its carrier.',
    args: { input: t.arg({ type: ReleasePhoneNumberInput, required: true }) },
    errors: { types: OPERATION_ERRORS, union: { name: 'ReleasePhoneNumberResult' } },
    resolve: (_root, args, context) => {
      tenantOf(context);
      const { id, idempotencyKey } = validInput(checkRelease(args.input));
      return change(
        context,
        { action: 'RELEASE', phoneNumberId: id },
        { idempotencyKey: idempotencyKey ?? null },
      );
    },
  }),
);
