import { startClaudeApi } from '@headgate/testing';

/** The fake API in a process of its own: it goes on while its client is killed. Tells its address, and its books when asked. */
const {
  tokens = 30,
  durationMs = 1_500,
  unanswered = 0,
} = JSON.parse(process.argv[2] ?? '{}') as {
  tokens?: number;
  durationMs?: number;
  unanswered?: number;
};

const api = await startClaudeApi({
  latency: { timeToFirstTokenMs: 20, tokensPerSecond: 5_000 },
  output: () => tokens,
  batches: { durationMs: (random) => durationMs * (0.5 + random()), requestsPerMinute: 100_000 },
  ledgerSize: 1_000_000,
  receivedSize: 100,
});
if (unanswered > 0)
  api.inject({ kind: 'unanswered', probability: unanswered, times: Number.POSITIVE_INFINITY });

process.send?.({ url: api.url });
process.on('message', (question) => {
  if (question === 'books') {
    const processed = api.ledger.entries.filter(({ customId }) => customId !== undefined);
    process.send?.({
      processed: processed.map(({ customId, requestId, status }) => [customId, requestId, status]),
      posts: api.ledger.entries.filter(
        ({ path, batchId }) => path === '/v1/messages/batches' && batchId !== undefined,
      ).length,
    });
  }
  if (question === 'close') void api.close().then(() => process.exit(0));
});
process.on('disconnect', () => process.exit(0));
