import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';

/**
 * CPU of one call through the SDK, bare and governed, in one run: rounds of both take turns, so that whatever else the
 * machine does falls on both alike. The network is left out: a `fetch` that answers at once stands in for it.
 * `node --conditions=source --expose-gc test/bench/governed-call.ts [rounds]`
 */
const ROUNDS = Number(process.argv[2] ?? 15);
const CALLS = 1_000;
const MODEL = 'claude-sonnet-4-6';

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

async function answer(_url: unknown, init?: RequestInit): Promise<Response> {
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

const bare = new Anthropic({
  apiKey: 'bench',
  baseURL: 'http://bench.invalid',
  fetch: answer,
  maxRetries: 0,
});
const governor = createGovernor({
  config: {
    account: [
      {
        name: 'sonnet-4',
        models: ['claude-sonnet-4-*'],
        requestsPerMinute: 100_000_000,
        inputTokensPerMinute: 1_000_000_000,
        outputTokensPerMinute: 1_000_000_000,
        burst: 1,
      },
    ],
    quotas: [{ name: 'per-user', requests: '100M/minute', inputTokens: '1000M/minute' }],
  },
});
const governed = governor.govern(bare);

const params = {
  model: MODEL,
  max_tokens: 500,
  messages: [{ role: 'user', content: 'a question of some length '.repeat(20) }],
} as const;
const kinds = {
  JSON: async (client: Anthropic) =>
    void (await client.messages.create({ ...params, messages: [...params.messages] })),
  stream: async (client: Anthropic) => {
    for await (const _ of await client.messages.create({
      ...params,
      messages: [...params.messages],
      stream: true,
    }))
      void _;
  },
};

async function round(client: Anthropic, call: (client: Anthropic) => Promise<void>): Promise<number> {
  globalThis.gc?.();
  const before = process.cpuUsage();
  for (let i = 0; i < CALLS; i++) await governor.run({ user: `user ${i % 50}` }, () => call(client));
  const { user, system } = process.cpuUsage(before);
  return (user + system) / CALLS;
}

const median = (values: number[]) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

console.log(
  `CPU per call in µs, median of ${ROUNDS} rounds of ${CALLS} calls; Node ${process.version}; no OpenTelemetry SDK`,
);
for (const [kind, call] of Object.entries(kinds)) {
  const times = { bare: [] as number[], governed: [] as number[] };
  for (let i = 0; i < ROUNDS + 5; i++) {
    const [b, g] = [await round(bare, call), await round(governed, call)];
    if (i < 5) continue; // until the code is warm
    times.bare.push(b);
    times.governed.push(g);
  }
  const on = median(times.governed.map((time, i) => time - (times.bare[i] ?? 0)));
  const [b, g] = [median(times.bare), median(times.governed)];
  console.log(
    `${kind.padEnd(7)} bare SDK ${b.toFixed(0).padStart(5)}   governed ${g.toFixed(0).padStart(5)}   on top ${on.toFixed(0).padStart(4)}   ratio ${(g / b).toFixed(2)}`,
  );
}
await governor.close({ drainMs: 0 });
