/** The bodies of `/phone-number` by provider. A test compares them with Vapi's own description. */
import {
  any,
  bool,
  either,
  free,
  list,
  type Rules,
  shape,
  str,
  type Tagged,
  tagged,
  text,
} from '../rules.ts';
import { map, server } from './shared.ts';

const number = str(40, 3);
const transfer = {
  message: either(text, free),
  callerId: str(40),
  transferPlan: free,
  description: text,
};
const destination = tagged('type', {
  number: { ...transfer, numberE164CheckEnabled: bool, 'number!': number, extension: str(10, 1) },
  sip: { ...transfer, 'sipUri!': text, sipHeaders: free },
});

const base: Rules = {
  name: str(40),
  assistantId: text,
  workflowId: text,
  squadId: text,
  server,
  hooks: list(
    tagged('on', {
      'call.ringing': { 'do!': list(free), filters: list(free) },
      'call.ending': { do: any, filters: list(free) },
    }),
  ),
  fallbackDestination: destination,
};
const twilioSecrets = { twilioAuthToken: text, twilioApiKey: text, twilioApiSecret: text };
const sip = {
  sipUri: text,
  authentication: shape({ realm: text, 'username!': str(40, 20), 'password!': str(40, 20) }),
};

const CREATE: Readonly<Record<string, Rules>> = {
  vapi: { ...sip, numberDesiredAreaCode: str(3, 3) },
  twilio: { smsEnabled: bool, 'number!': text, 'twilioAccountSid!': text, ...twilioSecrets },
  vonage: { 'number!': text, 'credentialId!': text },
  telnyx: { 'number!': text, 'credentialId!': text },
  'byo-phone-number': { numberE164CheckEnabled: bool, number, 'credentialId!': text },
};
const UPDATE: Readonly<Record<string, Rules>> = {
  vapi: sip,
  twilio: { smsEnabled: bool, number: text, twilioAccountSid: text, ...twilioSecrets },
  vonage: { number: text, credentialId: text },
  telnyx: { number: text, credentialId: text },
  'byo-phone-number': { numberE164CheckEnabled: bool, number, credentialId: text },
};

const byProvider = (cases: Readonly<Record<string, Rules>>): Tagged =>
  tagged(
    'provider',
    map(cases, (keys) => ({ ...base, ...keys })),
  );

export const phoneNumberCreate = byProvider(CREATE);
/** `provider` is required here; the specification leaves it out of what an update requires. */
export const phoneNumberUpdate = byProvider(UPDATE);
