import type { IncomingMessage, ServerResponse } from 'node:http';
import { listen } from './listen.ts';

const EVENTS = { 'content-type': 'text/event-stream' };

type Usage = Record<string, unknown>;

/**
 * An API over HTTP that answers every message with the usage it is given, as JSON or as a stream, for whatever model it is
 * asked; or with that of the model. Gives its address.
 */
export function usageServer(given: Usage | ((model: string) => Usage)): Promise<string> {
  return listen((request: IncomingMessage, response: ServerResponse) => {
    let text = '';
    request.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    request.on('end', () => {
      const { model, stream } = JSON.parse(text) as { model: string; stream?: boolean };
      const usage = typeof given === 'function' ? given(model) : given;
      const message = {
        id: 'msg_1',
        type: 'message',
        role: 'assistant',
        model,
        content: [{ type: 'text', text: 'words' }],
        stop_reason: 'end_turn',
        stop_sequence: null,
        usage,
      };
      if (stream !== true) {
        response.setHeader('content-type', 'application/json').end(JSON.stringify(message));
        return;
      }
      const event = (type: string, data: object) =>
        `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
      const { output_tokens: outputTokens } = usage;
      response.writeHead(200, EVENTS);
      response.end(
        event('message_start', {
          message: { ...message, content: [], stop_reason: null, usage: { ...usage, output_tokens: 1 } },
        }) +
          event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }) +
          event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'words' } }) +
          event('content_block_stop', { index: 0 }) +
          event('message_delta', {
            delta: { stop_reason: 'end_turn', stop_sequence: null },
            usage: { output_tokens: outputTokens },
          }) +
          event('message_stop', {}),
      );
    });
  });
}
