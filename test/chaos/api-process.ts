import { startClaudeApi } from '@headgate/testing';

/** The fake API in a process of its own, so that the CPU it takes is not the governor's. Tells its address, and its totals when asked. */
const api = await startClaudeApi({
  limits: [
    {
      name: 'all',
      models: ['*'],
      requestsPerMinute: 60_000,
      inputTokensPerMinute: 60_000_000,
      outputTokensPerMinute: 6_000_000,
      burstSeconds: 6,
    },
  ],
  latency: { timeToFirstTokenMs: 30, tokensPerSecond: 1_000, flushMs: 40 },
  output: (_, random) => 20 + Math.floor(random() * 100),
  ledgerSize: 1_000,
});

const FOREVER = Number.POSITIVE_INFINITY;
for (const [probability, fault] of [
  [0.03, { kind: 'status', status: 529 }],
  [0.02, { kind: 'status', status: 500 }],
  [0.01, { kind: 'status', status: 502, body: 'html' }],
  [0.01, { kind: 'status', status: 429, headers: { 'retry-after-ms': '50' } }],
  [0.01, { kind: 'status', status: 400 }],
  [0.02, { kind: 'reset', at: 'before-headers' }],
  [0.01, { kind: 'reset', at: 'after-headers' }],
  [0.02, { kind: 'reset', at: 'mid-stream' }],
  [0.02, { kind: 'truncate' }],
  [0.02, { kind: 'stream-error', type: 'overloaded_error' }],
  [0.02, { kind: 'stall', at: 'mid-stream', ms: 400 }],
  [0.02, { kind: 'stall', at: 'before-headers', ms: 300 }],
  [0.02, { kind: 'headers', mangle: 'nonsense' }],
] as const) {
  api.inject({ ...fault, probability, times: FOREVER });
}

process.send?.({ url: api.url });
process.on('message', (question) => {
  if (question === 'totals') {
    const unfinished = api.ledger.entries.filter(
      ({ outcome, endedAt }) => outcome === 'admitted' && endedAt === undefined,
    ).length;
    process.send?.({ totals: api.ledger.totals(), unfinished });
  }
  if (question === 'close') void api.close().then(() => process.exit(0));
});
process.on('disconnect', () => process.exit(0));
