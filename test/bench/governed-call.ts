import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { instantFetch, MODEL, WIDE_ACCOUNT } from '../support/instant-fetch.ts';

/**
 * CPU of one call through the SDK, bare and governed, in one run: rounds of both take turns, so that whatever else the
 * machine does falls on both alike. The network is left out: a `fetch` that answers at once stands in for it.
 * `node --conditions=source --expose-gc test/bench/governed-call.ts [rounds]`
 */
const ROUNDS = Number(process.argv[2] ?? 15);
const CALLS = 1_000;

const bare = new Anthropic({
  apiKey: 'bench',
  baseURL: 'http://bench.invalid',
  fetch: instantFetch,
  maxRetries: 0,
});
const governor = createGovernor({
  config: {
    account: WIDE_ACCOUNT,
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
