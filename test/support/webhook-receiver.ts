/** An HTTP server that receives webhooks, for tests of what the Vapi stand-in sends. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A message as a test reads it: whatever is there. */
// biome-ignore lint/suspicious/noExplicitAny: tests look into messages of every kind.
export type Message = any;

export interface ReceivedWebhook {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly message: Message;
}

export interface WebhookReceiver {
  readonly url: string;
  /** In order of arrival. */
  readonly received: ReceivedWebhook[];
  /** The status and the body of the answer; 'hang': none. Replace it to answer tool calls. */
  answer: (message: Message) => Answer | Promise<Answer>;
  stop(): void;
}

type Answer = { status?: number; body?: unknown } | 'hang';

export async function startWebhookReceiver(): Promise<WebhookReceiver> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    if (request.method !== 'POST') return response.writeHead(404).end();
    const { message } = JSON.parse(body);
    receiver.received.push({ headers: request.headers, body, message });
    const answer = await receiver.answer(message);
    if (answer === 'hang') return undefined;
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json', location: '/elsewhere' });
    return response.end(typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body ?? {}));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const receiver: WebhookReceiver = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/vapi/events`,
    received: [],
    answer: () => ({}),
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return receiver;
}
