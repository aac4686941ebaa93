/** A `fetch` that answers at once, as the API would: for what is to be measured without a network. */

export const MODEL = 'claude-sonnet-4-6';

const HEADERS = {
  'request-id': 'req_bench',
  'anthropic-ratelimit-requests-limit': '1000000',
  'anthropic-ratelimit-requests-remaining': '999999',
  'anthropic-ratelimit-input-tokens-limit': '1000000000',
  'anthropic-ratelimit-input-tokens-remaining': '999999000',
  'anthropic-ratelimit-output-tokens-limit': '1000000000',
  'anthropic-ratelimit-output-tokens-remaining': '999999000',
};
const usage = {
  input_tokens: 200,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  output_tokens: 120,
};
const message = {
  id: 'msg_bench',
  type: 'message',
  role: 'assistant',
  model: MODEL,
  content: [{ type: 'text', text: 'words '.repeat(120) }],
  stop_reason: 'end_turn',
  stop_sequence: null,
  usage,
};
const json = JSON.stringify(message);
const event = (type: string, data: object) =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
const events = [
  event('message_start', {
    message: { ...message, content: [], stop_reason: null, usage: { ...usage, output_tokens: 1 } },
  }),
  event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }),
  ...Array.from({ length: 40 }, () =>
    event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'some words and then ' } }),
  ),
  event('content_block_stop', { index: 0 }),
  event('message_delta', { delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 120 } }),
  event('message_stop', {}),
].map((text) => new TextEncoder().encode(text));

export async function instantFetch(_url: unknown, init?: RequestInit): Promise<Response> {
  const isStream = typeof init?.body === 'string' && init.body.includes('"stream":true');
  if (!isStream) return new Response(json, { headers: { ...HEADERS, 'content-type': 'application/json' } });
  let next = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const chunk = events[next++];
      if (chunk === undefined) controller.close();
      else controller.enqueue(chunk);
    },
  });
  return new Response(body, { headers: { ...HEADERS, 'content-type': 'text/event-stream' } });
}

/** Limits that bind nobody. */
export const WIDE_ACCOUNT = [
  {
    name: 'sonnet-4',
    models: ['claude-sonnet-4-*'],
    requestsPerMinute: 100_000_000,
    inputTokensPerMinute: 1_000_000_000,
    outputTokensPerMinute: 1_000_000_000,
    burst: 1,
  },
];
