import type { ValidationIssue } from '../domain/input.ts';
import {
  AllowanceExceededError,
  type DomainError,
  IdempotencyConflictError,
  OperationFailedError,
  OperationInProgressError,
  OperationPendingError,
  RateLimitedError,
  RevisionConflictError,
  SaveFailedError,
  SaveInProgressError,
  SavePendingError,
  UnavailableError,
  ValidationError,
  VoiceProviderNotConfiguredError,
} from '../services/errors.ts';
import { AgentRef, settled } from './agents/agent.ts';
import { AgentSaveRef, SaveFailureReasonRef } from './agents/save.ts';
import { builder } from './builder.ts';
import { AGENTS_COST } from './cost.ts';
import { OperationRef, SaveStatusRef } from './operations/operation.ts';

export const ErrorRef = builder.interfaceRef<DomainError>('Error').implement({
  fields: (t) => ({ message: t.exposeString('message') }),
});

const ValidationIssueRef = builder.objectRef<ValidationIssue>('ValidationIssue').implement({
  fields: (t) => ({
    path: t.exposeString('path', { description: 'For example `input.inbound.voice.stability`.' }),
    message: t.exposeString('message'),
  }),
});

builder.objectType(ValidationError, {
  name: 'ValidationError',
  interfaces: [ErrorRef],
  description: 'Every problem of the values at once; nothing was sent, nothing was written.',
  fields: (t) => ({ issues: t.expose('issues', { type: [ValidationIssueRef] }) }),
});

builder.objectType(RevisionConflictError, {
  name: 'RevisionConflictError',
  interfaces: [ErrorRef],
  fields: (t) => ({
    agents: t.field({
      type: [AgentRef],
      complexity: AGENTS_COST,
      description: 'The agents that were named, as they are now.',
      resolve: ({ agents }) => settled(agents),
    }),
  }),
});

builder.objectType(SaveInProgressError, {
  name: 'SaveInProgressError',
  interfaces: [ErrorRef],
  description:
    'Another save of this organization is open, or has just ended with late requests still possible. ' +
    'retryAfterMs is null where only a person can end it (NEEDS_ATTENTION).',
  fields: (t) => ({
    saveId: t.exposeID('saveId'),
    status: t.expose('status', { type: SaveStatusRef }),
    retryAfterMs: t.exposeInt('retryAfterMs', { nullable: true }),
  }),
});

builder.objectType(IdempotencyConflictError, {
  name: 'IdempotencyConflictError',
  interfaces: [ErrorRef],
  fields: (t) => ({ saveId: t.exposeID('saveId') }),
});

builder.objectType(SaveFailedError, {
  name: 'SaveFailedError',
  interfaces: [ErrorRef],
  description: 'The save is over and was not committed: both systems are as they were.',
  fields: (t) => ({
    save: t.expose('save', { type: AgentSaveRef }),
    reason: t.expose('reason', { type: SaveFailureReasonRef }),
    retryable: t.exposeBoolean('retryable', {
      description: 'Worth another try, with a new idempotency key.',
    }),
    issues: t.expose('issues', {
      type: [ValidationIssueRef],
      description:
        'What Vapi refused, by the path of the input field. Empty where Vapi names no field of the input.',
    }),
  }),
});

builder.objectType(SavePendingError, {
  name: 'SavePendingError',
  interfaces: [ErrorRef],
  description:
    'The save may still end either way: ask for it by its id. It continues in the background, unless its status is ' +
    'NEEDS_ATTENTION: then an operator must settle it, and retryAfterMs is null.',
  fields: (t) => ({
    save: t.expose('save', { type: AgentSaveRef }),
    retryAfterMs: t.exposeInt('retryAfterMs', { nullable: true }),
  }),
});

builder.objectType(OperationInProgressError, {
  name: 'OperationInProgressError',
  interfaces: [ErrorRef],
  description:
    'Another operation that excludes this one is open, or has just ended with late requests still possible. ' +
    'retryAfterMs is null where only a person can end it.',
  fields: (t) => ({
    operationId: t.exposeID('operationId'),
    retryAfterMs: t.exposeInt('retryAfterMs', { nullable: true }),
  }),
});

builder.objectType(OperationFailedError, {
  name: 'OperationFailedError',
  interfaces: [ErrorRef],
  description: 'The operation is over and was not made: both systems are as they were.',
  fields: (t) => ({
    operation: t.expose('operation', { type: OperationRef }),
    retryable: t.exposeBoolean('retryable', {
      description: 'Worth another try, with a new idempotency key.',
    }),
  }),
});

builder.objectType(OperationPendingError, {
  name: 'OperationPendingError',
  interfaces: [ErrorRef],
  description:
    'The operation may still end either way. It continues in the background, unless its status is NEEDS_ATTENTION: then an ' +
    'operator must settle it, and retryAfterMs is null.',
  fields: (t) => ({
    operation: t.expose('operation', { type: OperationRef }),
    retryAfterMs: t.exposeInt('retryAfterMs', { nullable: true }),
  }),
});

builder.objectType(AllowanceExceededError, {
  name: 'AllowanceExceededError',
  interfaces: [ErrorRef],
  description: 'The organization has as many as the operator allows. Nothing was changed.',
  fields: (t) => ({ allowance: t.exposeInt('allowance'), used: t.exposeInt('used') }),
});

builder.objectType(RateLimitedError, {
  name: 'RateLimitedError',
  interfaces: [ErrorRef],
  description: 'Refused before the save began; nothing was touched.',
  fields: (t) => ({ retryAfterMs: t.exposeInt('retryAfterMs', { nullable: true }) }),
});

builder.objectType(UnavailableError, {
  name: 'UnavailableError',
  interfaces: [ErrorRef],
  description: 'The database cannot be used at the moment; nothing began.',
  fields: (t) => ({ retryAfterMs: t.exposeInt('retryAfterMs', { nullable: true }) }),
});

builder.objectType(VoiceProviderNotConfiguredError, {
  name: 'VoiceProviderNotConfiguredError',
  interfaces: [ErrorRef],
});

/** The ways in which a save can fail to be made, as members of its result union: concrete classes, never a base class. */
export const SAVE_ERRORS = [
  ValidationError,
  RevisionConflictError,
  SaveInProgressError,
  IdempotencyConflictError,
  SaveFailedError,
  SavePendingError,
  RateLimitedError,
  UnavailableError,
  VoiceProviderNotConfiguredError,
];

/** The ways in which an operation on a phone number or on a document can fail to be made; a mutation adds its own. */
export const OPERATION_ERRORS = [
  ValidationError,
  OperationInProgressError,
  IdempotencyConflictError,
  OperationFailedError,
  OperationPendingError,
  RateLimitedError,
  UnavailableError,
  VoiceProviderNotConfiguredError,
];
