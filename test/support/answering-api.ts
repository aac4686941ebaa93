import { setTimeout as pause } from 'node:timers/promises';
import { listen } from './listen.ts';

type Body = { readonly model: string; readonly stream?: boolean; readonly [field: string]: unknown };

/** What an API answers to a request. */
export interface Answered {
  /** Usage as `message_start` tells it, before any tool of the API's has run. Left out: as at the end. */
  readonly start?: object;
  /** Usage as it is told at the end, or in a whole message. */
  readonly usage: object;
  readonly headers?: Readonly<Record<string, string>>;
  readonly delayMs?: number;
}

const event = (type: string, data: object) =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;

/** An API over HTTP that refuses nobody and answers, as JSON or as a stream, with the usage that it is told to. Gives its address. */
export function startAnsweringApi(answer: (body: Body, call: number) => Answered): Promise<string> {
  let calls = 0;
  return listen(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = JSON.parse(Buffer.concat(chunks).toString()) as Body;
    const { usage, start = usage, headers = {}, delayMs = 0 } = answer(body, ++calls);
    if (delayMs > 0) await pause(delayMs);
    const message = {
      id: `msg_${calls}`,
      type: 'message',
      role: 'assistant',
      model: body.model,
      content: [{ type: 'text', text: 'ok' }],
      stop_reason: 'end_turn',
      stop_sequence: null,
    };
    if (body.stream !== true) {
      response.writeHead(200, { 'content-type': 'application/json', ...headers });
      response.end(JSON.stringify({ ...message, usage }));
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', ...headers });
    response.end(
      event('message_start', {
        message: { ...message, content: [], stop_reason: null, usage: { ...start, output_tokens: 1 } },
      }) +
        event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }) +
        event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'ok' } }) +
        event('content_block_stop', { index: 0 }) +
        event('message_delta', { delta: { stop_reason: 'end_turn', stop_sequence: null }, usage }) +
        event('message_stop', {}),
    );
  });
}
