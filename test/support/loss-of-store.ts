import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, type GovernorOptions, memoryStore, type Store } from '@headgate/core';
import { startClaudeApi } from '@headgate/testing';
import { ask, pause } from './governed.ts';

/** A fleet's process, whose store is lost and comes back. */
export async function lossOfStore(meterProvider: NonNullable<GovernorOptions['meterProvider']>) {
  const api = await startClaudeApi();
  const ledger = memoryStore();
  let isLost = false;
  const store: Store = {
    kind: 'fleet',
    assumedProcesses: ledger.assumedProcesses,
    listen: (bucket, onWake) => ledger.listen(bucket, onWake),
    close: () => ledger.close(),
    async exchange(bucket, exchange) {
      if (isLost) throw new Error('the store is down');
      return ledger.exchange(bucket, exchange);
    },
  };
  const governor = createGovernor({
    config: { account: [{ name: 'fleet', models: ['claude-*'], requestsPerMinute: 6_000 }] },
    store,
    meterProvider,
    logger: { info() {}, warn() {}, error() {} },
  });
  const claude = governor.govern(new Anthropic({ apiKey: 'test-key', baseURL: api.url }));
  const call = () => governor.run({ user: 'ada' }, () => claude.messages.create(ask()));
  const until = async (mode: 'shared' | 'degraded') => {
    while (governor.snapshot().buckets.some(({ fleet }) => fleet?.mode !== mode)) await pause(20);
  };
  return {
    /** A call before, one meanwhile and one after. */
    async lose() {
      await call();
      isLost = true;
      await call();
      await until('degraded');
      await call();
      isLost = false;
      await until('shared');
      await call();
    },
    async close() {
      await governor.close({ drainMs: 0 });
      await api.close();
    },
  };
}
