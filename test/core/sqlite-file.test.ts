import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { type CounterStore, createGovernor, sqliteStore } from '@headgate/core';
import { manualClock } from '@headgate/testing';
import { expect, it, onTestFinished } from 'vitest';
import { Alarms } from '../../packages/core/src/alarms.ts';

import { SafeCounters } from '../../packages/core/src/stores/safe.ts';
import { sqliteStoreOf } from '../../packages/core/src/stores/sqlite.ts';
import { fileError } from '../../packages/core/src/stores/sqlite-file.ts';
import { UsageBook } from '../../packages/core/src/stores/usage-book.ts';
import { charge } from '../support/charge.ts';
import { until } from '../support/governed.ts';

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'headgate-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

it('says of a full disk that it is full, keeps what it was to have, and writes it when there is room', async () => {
  const path = join(folder(), 'full.sqlite');
  let database: DatabaseSync | undefined;
  const store = sqliteStoreOf({ path }, (opened) => {
    database = opened;
    opened.exec('PRAGMA max_page_count = 24');
  });
  const clock = manualClock();
  const alarms = new Alarms(clock);
  const errors: string[] = [];
  const onError = (error: unknown) => errors.push((error as Error).message);
  const counters = new SafeCounters(store, alarms, clock, onError);
  const book = new UsageBook(store.usage, alarms, clock, onError);
  const counter = { windowStart: clock.wall(), windowEnd: clock.wall() + 86_400_000 };
  const owner = (n: number) => ({
    user: `user ${n}`,
    tenant: 't',
    route: '/r',
    model: 'm',
    lane: 'l',
    account: 'a',
  });
  for (let n = 0; n < 3_000; n++) {
    book.add(owner(n), [charge({ model: 'm', inputTokens: 10, outputTokens: 5, usd: 0.01 })]);
    counters.set(`key ${n}`, { ...counter, used: n });
    if (n % 100 === 0) await clock.advance(600);
  }
  await clock.advance(600);
  expect(new Set(errors)).toEqual(
    new Set([`Headgate store ${path}: database or disk is full; the disk is full: make room`]),
  );
  // Tried again now and then, and not for each call.
  expect(errors.length).toBeLessThan(60);
  expect((await book.report('user', 0)).total.calls).toBe(3_000);
  expect(counters.get('key 7')?.used).toBe(7);

  database?.exec('PRAGMA max_page_count = 100000');
  for (let n = 0; n < 20; n++) await clock.advance(5_500);
  await book.close();
  counters.close();
  const later = sqliteStore({ path });
  onTestFinished(() => later.close());
  expect(later.get('key 2999')?.used).toBe(2_999);
  const users = await later.usage?.readUsage('user', 0);
  expect(users?.reduce((sum, { sums }) => sum + sums.calls, 0)).toBe(3_000);
});

it('names at the start a file that is none, one that cannot be there, and one that another has open', async () => {
  const own = folder();
  const warned = async (store: CounterStore) => {
    const warnings: string[] = [];
    const logger = { info() {}, warn: (message: string) => void warnings.push(message), error() {} };
    const governor = createGovernor({ store, logger });
    onTestFinished(() => governor.close({ drainMs: 0 }));
    await until(() => warnings.length > 0, 2_000);
    return warnings[0];
  };
  const noDatabase = join(own, 'text.sqlite');
  writeFileSync(noDatabase, 'These are no counters. '.repeat(100));
  expect(await warned(sqliteStore({ path: noDatabase }))).toMatch(
    /text\.sqlite: file is not a database; it is no SQLite database: move it away.* \[HG_STORE_FILE\]/,
  );
  const damaged = join(own, 'damaged.sqlite');
  sqliteStore({ path: damaged }).get('x');
  expect(await warned(sqliteStore({ path: join(own, 'missing', 's.sqlite') }))).toMatch(
    /ENOENT.*the folder must exist/,
  );
  mkdirSync(join(own, 'folder.sqlite'));
  expect(await warned(sqliteStore({ path: join(own, 'folder.sqlite') }))).toMatch(/folder\.sqlite/);
  const path = join(own, 'occupied.sqlite');
  const first = sqliteStore({ path });
  first.get('x');
  expect(await warned(sqliteStore({ path }))).toMatch(
    new RegExp(`open in process ${process.pid} too.*\\[HG_STORE_OCCUPIED\\]`),
  );
  first.close();
});

it('says nothing of a file whose last owner has closed it, or has ended', async () => {
  const path = join(folder(), 's.sqlite');
  const first = sqliteStore({ path });
  first.get('x');
  first.close();
  const gone = sqliteStoreOf({ path }, () => {});
  onTestFinished(() => gone.close());
  gone.get('x');
  const other = sqliteStoreOf({ path }, (database) =>
    // A process number that none has.
    database.exec('CREATE TABLE IF NOT EXISTS owners (id TEXT); UPDATE owners SET pid = 4194999'),
  );
  onTestFinished(() => other.close());
  expect(await other.doubts?.()).toEqual([]);
});

it('names what a read-only file needs', () => {
  const error = Object.assign(new Error('attempt to write a readonly database'), { errcode: 1544 });
  expect(fileError('/data/s.sqlite', error).message).toBe(
    'Headgate store /data/s.sqlite: attempt to write a readonly database; it cannot be written to: make file and folder writable for this process',
  );
});
