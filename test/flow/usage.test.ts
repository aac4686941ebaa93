import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createGovernor, type UsageBy } from '@headgate/core';
import { manualClock } from '@headgate/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Alarms } from '../../packages/core/src/alarms.ts';
import { OTHER, UsageBook } from '../../packages/core/src/stores/usage-book.ts';
import { charge } from '../support/charge.ts';
import { agreesWithLedger } from '../support/usage-agreement.ts';

const tempFile = () => {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-usage-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, 'counters.sqlite');
};

describe('governor.usage', () => {
  it(
    "agrees with the API's ledger to the cent over 2,500 calls, by user, tenant, route and model",
    () => agreesWithLedger(2_500, tempFile()),
    60_000,
  );

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
