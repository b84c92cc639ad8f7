import { AGENT_SAGA } from './agents/participant.ts';
import { PHONE_NUMBER_SAGA } from './phone-numbers/participant.ts';
import type { SagaDefinition } from './saga/participant.ts';

/** The kinds of sagas that this build knows: what recovery can carry on, and what an operator can settle. */
export const SAGA_KINDS: readonly SagaDefinition[] = [AGENT_SAGA, PHONE_NUMBER_SAGA];
