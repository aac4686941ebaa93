import { startClaudeApi } from '@headgate/testing';

/** The fake API in a process of its own. Tells its address, and what it has seen between two instants when asked. */
const limits = JSON.parse(process.env.FLEET_LIMITS ?? '{}') as Record<string, number>;
const api = await startClaudeApi({
  limits: [{ name: 'all', models: ['*'], ...limits }],
  latency: {
    timeToFirstTokenMs: (random) => 200 + 200 * random(),
    tokensPerSecond: (random) => 120 + 60 * random(),
    flushMs: 100,
  },
  output: (_, random) => Math.round(20 + 360 * random() ** 2),
  ledgerSize: 1_000_000,
});

process.send?.({ url: api.url });
process.on('message', ({ from, to }: { from: number; to: number }) => {
  const { entries } = api.ledger;
  process.send?.({
    now: performance.now(),
    refusals: entries.filter(({ outcome, arrivedAt }) => outcome === 'refused' && arrivedAt >= from).length,
    unfinished: entries.filter(({ outcome, endedAt }) => outcome === 'admitted' && endedAt === undefined)
      .length,
    admitted: entries
      .filter(({ outcome, arrivedAt }) => outcome === 'admitted' && arrivedAt >= from && arrivedAt < to)
      .map(({ arrivedAt, userId, inputTokens, outputTokens, firstTokenAt, endedAt }) => {
        const [name, lane] = (userId ?? '').split('|');
        return { at: arrivedAt, userId: name, lane, inputTokens, outputTokens, firstTokenAt, endedAt };
      }),
    utilization: to > from ? api.ledger.utilization('all', from, to) : undefined,
  });
});
process.on('disconnect', () => process.exit(0));
