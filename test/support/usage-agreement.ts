import { statSync } from 'node:fs';
import { createGovernor, sqliteStore, type UsageBy } from '@headgate/core';
import type { LedgerEntry } from '@headgate/testing';
import { expect } from 'vitest';
import { ask, startGoverned } from './governed.ts';

const MODELS = ['claude-sonnet-4-6', 'claude-haiku-4-5', 'claude-opus-4-7', 'claude-haiku-5-5'] as const;
/** Input, 5-minute write, hour's write, read, output: USD per million, once more and by hand. */
const PRICES: Record<string, readonly [number, number, number, number, number]> = {
  'claude-sonnet-4-6': [3, 3.75, 6, 0.3, 15],
  'claude-haiku-4-5': [1, 1.25, 2, 0.1, 5],
  'claude-opus-4-7': [5, 6.25, 10, 0.5, 25],
  'claude-haiku-5-5': [0.1, 0.125, 0.2, 0.01, 0.5],
};

/** What an attempt cost by the API's own books. */
function usdOf(entry: LedgerEntry): number {
  const [input, write5m, write1h, read, output] = PRICES[entry.model]!;
  const { inputTokens, cacheCreation, cacheCreation1h, cacheRead, outputTokens } = entry;
  return (
    ((inputTokens - cacheCreation) * input +
      (cacheCreation - cacheCreation1h) * write5m +
      cacheCreation1h * write1h +
      cacheRead * read +
      outputTokens * output) /
    1e6
  );
}

/** Makes calls, and holds `governor.usage` against the API's own books, to the cent. `path`: of a file for the counters. */
export async function agreesWithLedger(calls: number, path: string): Promise<void> {
  const wide = { requestsPerMinute: 10_000_000, burstSeconds: 60 };
  const { api, governor, claude } = await startGoverned({
    api: {
      limits: [{ name: 'all', models: ['*'], ...wide }],
      latency: { timeToFirstTokenMs: 0, tokensPerSecond: Number.POSITIVE_INFINITY },
      output: (_, random) => 1 + Math.floor(random() * 300),
      ledgerSize: 2 * calls,
    },
    config: { account: [{ name: 'all', models: ['*'], requestsPerMinute: 10_000_000 }] },
    governor: { store: sqliteStore({ path }) },
  });
  const shared = 'The rules of the house. '.repeat(1_200);
  const one = (n: number) => {
    const user = `user ${n % 37}`;
    const tenant = n % 5 === 0 ? undefined : `tenant ${n % 4}`;
    const route = `/route/${n % 3}`;
    const marked = n % 20 === 0;
    const ttl = n % 40 === 0 ? ('1h' as const) : ('5m' as const);
    return governor.run({ user, tenant, route }, () =>
      claude.messages.create(
        ask(`question ${n} ${'x '.repeat(n % 50)}`, {
          model: MODELS[n % 4]!,
          max_tokens: 250,
          metadata: { user_id: JSON.stringify([user, tenant ?? '', route]) },
          ...(marked
            ? {
                system: [
                  { type: 'text', text: `${ttl} ${shared}`, cache_control: { type: 'ephemeral', ttl } },
                ],
              }
            : {}),
        }),
      ),
    );
  };
  let next = 0;
  await Promise.all(
    Array.from({ length: 25 }, async () => {
      while (next < calls) await one(next++);
    }),
  );
  const entries = api.ledger.entries.filter(({ path }) => path === '/v1/messages');
  expect(entries).toHaveLength(calls);
  expect(entries.filter(({ cacheRead }) => cacheRead > 0).length).toBeGreaterThan(calls / 100);
  const all = entries.reduce((sum, entry) => sum + usdOf(entry), 0);
  const keyOf = (by: UsageBy, entry: LedgerEntry): string => {
    const [user, tenant, route] = JSON.parse(entry.userId ?? '') as [string, string, string];
    const keys: Partial<Record<UsageBy, string>> = {
      user: tenant === '' ? user : `${tenant}\n${user}`,
      tenant,
      route,
      model: entry.model,
    };
    return keys[by]!;
  };
  for (const by of ['user', 'tenant', 'route', 'model'] as const) {
    const expected = new Map<string, { calls: number; usd: number }>();
    for (const entry of entries) {
      const sums = expected.get(keyOf(by, entry)) ?? { calls: 0, usd: 0 };
      expected.set(keyOf(by, entry), { calls: sums.calls + 1, usd: sums.usd + usdOf(entry) });
    }
    const report = await governor.usage({ by });
    expect(report.total.usd).toBeCloseTo(all, 6);
    expect(report.total.unpriced).toBe(0);
    const told = new Map(
      report.rows.map((row) => [row.tenant === undefined ? row.key : `${row.tenant}\n${row.key}`, row]),
    );
    expect([...told.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [key, sums] of expected) {
      expect(told.get(key)?.calls).toBe(sums.calls);
      expect(told.get(key)?.usd).toBeCloseTo(sums.usd, 6);
    }
    const dearest = report.rows.map((row) => row.usd);
    expect(dearest).toEqual([...dearest].sort((a, b) => b - a));
  }
  const { usage } = governor.snapshot();
  const totals = api.ledger.totals('all');
  expect(usage.usd).toBeCloseTo(all, 6);
  expect(usage).toMatchObject({
    calls: calls,
    inputTokens: totals.inputTokens - totals.cacheCreation,
    cacheReadTokens: totals.cacheRead,
    cacheWriteTokens: totals.cacheCreation,
    outputTokens: totals.outputTokens,
  });

  // Another process, the same store.
  await governor.close();
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const again = createGovernor({ store: sqliteStore({ path }) });
  const later = await again.usage({ by: 'lane' });
  expect(later.total.usd).toBeCloseTo(all, 6);
  await again.close();
}
