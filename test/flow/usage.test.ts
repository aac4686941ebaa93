import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGovernor, sqliteStore, type UsageBy } from '@headgate/core';
import type { LedgerEntry } from '@headgate/testing';
import { manualClock } from '@headgate/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Alarms } from '../../packages/core/src/alarms.ts';
import { OTHER, UsageBook } from '../../packages/core/src/stores/usage-book.ts';
import { charge } from '../support/charge.ts';
import { ask, startGoverned } from '../support/governed.ts';

const CALLS = 10_000;
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

const tempFile = () => {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-usage-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, 'counters.sqlite');
};

describe('governor.usage', () => {
  it(`agrees with the API's ledger to the cent over ${CALLS} calls, by user, tenant, route and model`, async () => {
    const path = tempFile();
    const wide = { requestsPerMinute: 10_000_000, burstSeconds: 60 };
    const { api, governor, claude } = await startGoverned({
      api: {
        limits: [{ name: 'all', models: ['*'], ...wide }],
        latency: { timeToFirstTokenMs: 0, tokensPerSecond: Number.POSITIVE_INFINITY },
        output: (_, random) => 1 + Math.floor(random() * 300),
        ledgerSize: 2 * CALLS,
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
        while (next < CALLS) await one(next++);
      }),
    );
    const entries = api.ledger.entries.filter(({ path }) => path === '/v1/messages');
    expect(entries).toHaveLength(CALLS);
    expect(entries.filter(({ cacheRead }) => cacheRead > 0).length).toBeGreaterThan(100);
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
      for (const [key, { calls, usd }] of expected) {
        expect(told.get(key)?.calls).toBe(calls);
        expect(told.get(key)?.usd).toBeCloseTo(usd, 6);
      }
      const dearest = report.rows.map((row) => row.usd);
      expect(dearest).toEqual([...dearest].sort((a, b) => b - a));
    }
    const { usage } = governor.snapshot();
    const totals = api.ledger.totals('all');
    expect(usage.usd).toBeCloseTo(all, 6);
    expect(usage).toMatchObject({
      calls: CALLS,
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
  }, 60_000);

  it('tells the hours asked for, and no more', async () => {
    const clock = manualClock(Date.parse('2026-01-01T10:00:00Z'));
    const book = new UsageBook(undefined, new Alarms(clock), clock, () => {});
    const owner = { user: 'ada', tenant: undefined, route: '/a', model: 'm', lane: 'l', account: 'default' };
    book.add(owner, [charge({ model: 'm', inputTokens: 5, usd: 1 })]);
    await clock.advance(2 * 3_600_000);
    book.add(owner, [charge({ model: 'm', inputTokens: 7, usd: undefined })]);
    const late = await book.report('user', Date.parse('2026-01-01T11:30:00Z'));
    expect(late.since).toBe(Date.parse('2026-01-01T11:00:00Z'));
    expect(late.total).toMatchObject({ calls: 1, inputTokens: 7, usd: 0, unpriced: 1 });
    const all = await book.report('user', 0);
    expect(all.since).toBe(Date.parse('2026-01-01T10:00:00Z'));
    expect(all.rows).toMatchObject([{ key: 'ada', calls: 2, inputTokens: 12, usd: 1, unpriced: 1 }]);
  });

  it('holds a bounded number of rows, whatever names clients make up', async () => {
    const clock = manualClock();
    const book = new UsageBook(undefined, new Alarms(clock), clock, () => {});
    for (let n = 0; n < 25_000; n++) {
      const owner = {
        user: `u${n}`,
        tenant: `t${n}`,
        route: '/a',
        model: 'm',
        lane: 'l',
        account: 'default',
      };
      book.add(owner, [charge({ model: 'm', inputTokens: 1, usd: 0.001 })]);
    }
    const { rows, total } = await book.report('user', 0);
    expect(rows).toHaveLength(10_001);
    expect(rows.find(({ key }) => key === OTHER)?.calls).toBe(15_000);
    expect(total).toMatchObject({ calls: 25_000, inputTokens: 25_000 });
  });

  it('goes on in memory where the store fails, and loses nothing', async () => {
    const clock = manualClock();
    const errors: unknown[] = [];
    const failing = {
      addUsage: () => Promise.reject(new Error('disk full')),
      readUsage: () => Promise.reject(new Error('disk full')),
      dropUsage: () => Promise.reject(new Error('disk full')),
    };
    const book = new UsageBook(failing, new Alarms(clock), clock, (error) => errors.push(error));
    const owner = { user: 'ada', tenant: undefined, route: '/a', model: 'm', lane: 'l', account: 'default' };
    book.add(owner, [charge({ model: 'm', outputTokens: 5, usd: 1 })]);
    expect((await book.report('user', 0)).total).toMatchObject({ calls: 1, outputTokens: 5 });
    await book.close();
    expect(errors.length).toBeGreaterThan(0);
    expect(clock.pending()).toBe(0);
  });

  it('says what it cannot tell', () => {
    const governor = createGovernor();
    expect(() => governor.usage({ by: 'team' as UsageBy })).toThrow(/expected by to be one of user, tenant/);
    expect(() => governor.usage({ by: 'user', since: Number.NaN })).toThrow(/expected since to be a date/);
    return governor.close();
  });
});
