import { defaultConfig } from '../../src/domain/agent-config.ts';
import type { JsonObject } from '../../src/domain/json.ts';
import { Secret } from '../../src/domain/secret.ts';
import { Assistant, AssistantStore } from '../../src/local/vapi/assistant-store.ts';
import { DatabaseError, type SaveJournal } from '../../src/ports/save-journal.ts';
import type { SweepStore } from '../../src/ports/sweep-store.ts';
import type { Clock, Log, Random } from '../../src/ports/system.ts';
import type { AssistantListQuery, ProviderAssistant, ProviderReply, VoiceProvider } from '../../src/ports/voice-provider.ts';
