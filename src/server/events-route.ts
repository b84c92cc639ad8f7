import { isJsonObject, type JsonObject } from '../domain/json.ts';
import { storableJson } from '../domain/text.ts';
import { DatabaseError, ValueRefusedError } from '../ports/database.ts';
import type { Clock, Log } from '../ports/system.ts';
import type { Meter } from '../ports/telemetry.ts';
import { createBodyReader } from './body.ts';
import type { Handler } from './http.ts';
import { plain } from './responses.ts';
import { isFromVapi, isSigned, type WebhookSettings } from './webhook.ts';

/** Bytes. A report repeats the whole conversation, and the assistant with it. */
const MAX_EVENT_BYTES = 10 * 2 ** 20;
/** How many events of that size may be held at once. */
const LARGE_EVENTS = 8;

export interface EventsRouteOptions {
  webhook: WebhookSettings;
  /**
   * Takes in the message of an event, and returns the body of the answer. When it has returned, the event is not lost. Throws
   * `DatabaseError` and `ValueRefusedError`.
   */
  receive(message: JsonObject): Promise<object>;
  clock: Pick<Clock, 'now'>;
  meter: Meter;
  log: Log;
}

/**
 * /vapi/events. What is answered with 2xx is stored. Vapi tries again after everything else but the refusals that `backoffPlan` of the
 * assistants names, so an answer says whether trying again can help.
 */
export function createEventsRoute(options: EventsRouteOptions): Handler {
  const { webhook, receive, clock, meter, log } = options;
  const readBody = createBodyReader(MAX_EVENT_BYTES, LARGE_EVENTS);
  return async (request, response, requestId) => {
    const refuse = (status: number, error: string) => {
      meter.count('call.event_refused');
      log.debug({ event: 'call.event_refused', requestId, status }, error);
      plain(response, status, { error });
    };
    if (request.method !== 'POST') return refuse(405, 'send POST');
    if (!isSigned(request.headers, webhook)) return refuse(401, 'the request is not signed');
    const body = await readBody(request, MAX_EVENT_BYTES);
    if (body === 'GONE') return;
    if (body === 'TOO_LARGE') return refuse(413, `the body is larger than ${MAX_EVENT_BYTES} bytes`);
    if (body === 'NO_ROOM') {
      response.setHeader('retry-after', '1');
      return refuse(503, 'too many events at the same time');
    }
    if (!isFromVapi(request.headers, body, webhook, clock.now())) {
      return refuse(401, 'the signature or the secret is wrong, or its time is not now');
    }
    const message = messageOf(body);
    if (message === null) return refuse(400, 'the body is not {"message": {...}}');
    try {
      plain(response, 200, await receive(message));
    } catch (error) {
      if (error instanceof ValueRefusedError) return refuse(422, 'the database cannot hold this event');
      if (!(error instanceof DatabaseError)) throw error;
      log.warn(
        { event: 'call.event_not_stored', requestId, code: error.code },
        'an event could not be stored',
      );
      response.setHeader('retry-after', '1');
      plain(response, 503, { error: 'the event could not be stored; send it again' });
    }
  };
}

function messageOf(body: Uint8Array): JsonObject | null {
  try {
    const parsed = storableJson(JSON.parse(new TextDecoder().decode(body)));
    const message = isJsonObject(parsed) ? parsed['message'] : undefined;
    return isJsonObject(message) ? message : null;
  } catch {
    return null;
  }
}
