import type { JsonObject } from '../../src/domain/json.ts';
import type { VoiceProvider } from '../../src/ports/voice-provider.ts';
import type { Part, SagaDefinition } from '../../src/services/saga/participant.ts';
import { listedFiles, type PlantedInResources, type ResourceWorld } from './resource-world.ts';

/** Tests of the tests: defects between the services and the simulated ports, each of which must turn the simulation red. */
export interface ResourceBug {
  tells: string;
  planted: PlantedInResources;
  /** A seed that finds it, and what that run breaks. */
  seed: number;
  breaks: string;
}

/** Every owner of a purchase sends it, and not only the first one. */
function buysAgain(definition: SagaDefinition): SagaDefinition {
  if (definition.name !== 'phone_numbers') return definition;
  return {
    ...definition,
    open: (voice) => {
      const kind = definition.open(voice);
      const open: typeof kind.open = (saga, image) =>
        new Proxy(kind.open(saga, image), {
          get: (part: Part, name) => {
            if (name === 'lookOnly') return image.after.content['action'] !== 'BUY' && part.lookOnly;
            const member = Reflect.get(part, name, part) as unknown;
            return typeof member === 'function' ? member.bind(part) : member;
          },
        });
      return { words: kind.words, open };
    },
  };
}

function numbers(voice: VoiceProvider, change: Partial<VoiceProvider['phoneNumbers']>): VoiceProvider {
  return { ...voice, phoneNumbers: { ...voice.phoneNumbers, ...change } };
}

function neighbourOf(world: ResourceWorld, assistantId: unknown): string | undefined {
  const own = world.ownerOfAssistant(String(assistantId));
  return world.account.assistants.all().find(({ id }) => (world.ownerOfAssistant(id) ?? own) !== own)?.id;
}

function withForeignFile(world: ResourceWorld, document: JsonObject): JsonObject {
  const own = listedFiles(document);
  const other = world.account.files.all().find(({ id }) => !own.includes(id));
  const [base] = document['knowledgeBases'] as [JsonObject];
  return other === undefined
    ? document
    : { ...document, knowledgeBases: [{ ...base, fileIds: [...own, other.id] }] };
}

export const RESOURCE_BUGS: Record<string, ResourceBug> = {
  'buys-again': {
    tells: 'a later owner of a purchase sends it again after it has looked',
    planted: { kinds: (kinds) => kinds.map(buysAgain) },
    seed: 1,
    breaks: 'at most one number a purchase or import',
  },
  'retries-the-purchase': {
    tells: 'a purchase without an answer is sent again',
    planted: {
      voice: (voice) =>
        numbers(voice, {
          create: async (document) => {
            const reply = await voice.phoneNumbers.create(document);
            return reply.kind === 'unknown' ? voice.phoneNumbers.create(document) : reply;
          },
        }),
    },
    seed: 1,
    breaks: 'at most one number a purchase or import',
  },
  'points-at-a-neighbour': {
    tells: 'a number is attached to the assistant of another organization',
    planted: {
      voice: (voice, world) =>
        numbers(voice, {
          update: (id, document) => {
            const assistantId =
              neighbourOf(world, document['assistantId']) ?? document['assistantId'] ?? null;
            return voice.phoneNumbers.update(id, { ...document, assistantId });
          },
        }),
    },
    seed: 1,
    breaks: 'no number points at the assistant of another organization',
  },
  'lists-a-neighbours-file': {
    tells: 'a tool lists a file that another organization uploaded',
    planted: {
      voice: (voice, world) => ({
        ...voice,
        tools: {
          ...voice.tools,
          update: (id, document) => voice.tools.update(id, withForeignFile(world, document)),
        },
      }),
    },
    seed: 1,
    breaks: 'a tool lists files of its own organization',
  },
  'nobody-recovers': {
    tells: 'nobody finishes what a dead process began',
    planted: { without: ['recover'] },
    seed: 2,
    breaks: 'nothing is open past its time',
  },
  'nobody-works-on-numbers': {
    tells: 'nobody activates numbers, and nobody attaches them',
    planted: { without: ['numbers'] },
    seed: 2,
    breaks: 'the rows and Vapi agree at rest',
  },
  'nobody-publishes': {
    tells: 'nobody polls files, publishes lists or deletes files',
    planted: { without: ['documents'] },
    seed: 1,
    breaks: 'the rows and Vapi agree at rest',
  },
  'nobody-renders': {
    tells: 'agents are not rendered anew when their organization gets a tool',
    planted: { without: ['render'] },
    seed: 1,
    breaks: 'the rows and Vapi agree at rest',
  },
  'nobody-sweeps-numbers': {
    tells: 'nobody looks for numbers that were changed in Vapi or arrived late',
    planted: { without: ['sweepNumbers'] },
    seed: 18,
    breaks: 'the rows and Vapi agree at rest',
  },
  'nobody-sweeps-documents': {
    tells: 'nobody looks for files and tools that were changed in Vapi or arrived late',
    planted: { without: ['sweepDocuments'] },
    seed: 10,
    breaks: 'the rows and Vapi agree at rest',
  },
};
