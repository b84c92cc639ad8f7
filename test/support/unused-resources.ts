import type { VoiceProvider } from '../../src/ports/voice-provider.ts';

const unused = () => Promise.reject(new Error('not part of this test'));
const resources = {
  ...{ timeoutMs: 1_000, create: unused, update: unused, get: unused, remove: unused, list: unused },
};

/** The resources of a voice provider in tests that are about assistants. */
export const UNUSED_RESOURCES: Pick<VoiceProvider, 'phoneNumbers' | 'files' | 'tools' | 'calls'> = {
  phoneNumbers: resources,
  files: { ...resources, uploadTimeoutMs: 1_000, upload: unused },
  tools: resources,
  calls: resources,
};
