import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BatchItem, type BatchJournal, memoryJournal, sqliteJournal } from '@headgate/core';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';

const tempFile = () => {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-journal-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, 'batches.sqlite');
};

const item = (id: string, over: Partial<BatchItem> = {}): BatchItem => ({
  id,
  account: 'default',
  params: `{"n":"${id}"}`,
  owner: { user: 'ada', tenant: undefined, tier: undefined, route: '/r', lane: 'l', model: 'm' },
  charges: [{ rule: 'q', key: 'k', name: 'usd', amount: 0.5, windowStart: 7, at: 8 }],
  trace: '00-1-2-01',
  submittedAt: 1_000,
  attempts: 0,
  ...over,
});

const ids = (items: readonly { readonly id: string }[]) => items.map(({ id }) => id);

/** What every journal keeps its word on. */
function testJournal(name: string, make: () => BatchJournal): void {
  describe(`the ${name} journal`, () => {
    const fresh = () => {
      const journal = make();
      onTestFinished(() => journal.end());
      return journal;
    };

    it('takes each id once, and tells what waits', async () => {
      const journal = fresh();
      expect(await journal.waiting('default')).toEqual({ count: 0, bytes: 0, oldestAt: undefined });
      expect(await journal.add(item('a'))).toBe(true);
      expect(await journal.add(item('a', { params: 'another' }))).toBe(false);
      expect(await journal.add(item('b', { submittedAt: 2_000 }))).toBe(true);
      expect(await journal.add(item('c', { account: 'other' }))).toBe(true);
      expect(await journal.waiting('default')).toEqual({ count: 2, bytes: 18, oldestAt: 1_000 });
      expect(await journal.state('a')).toMatchObject({ id: 'a', state: 'waiting' });
      expect(await journal.state('z')).toBeUndefined();
      expect(ids(await journal.pending('default'))).toEqual(['a', 'b']);
    });

    it('opens a submission with the oldest that fit, whole', async () => {
      const journal = fresh();
      for (const id of ['a', 'b', 'c', 'd']) await journal.add(item(id));
      const taken = await journal.open({ id: 's1', account: 'default', at: 5 }, 2, 1_000);
      expect(taken).toEqual([item('a'), item('b')].map((each) => ({ ...each })));
      expect(ids(await journal.open({ id: 's2', account: 'default', at: 6 }, 10, 1))).toEqual(['c']);
      expect(await journal.inProcessing('default')).toBe(3);
      expect(await journal.submissions('default')).toEqual([
        { id: 's1', account: 'default', at: 5, items: 2, batchId: undefined },
        { id: 's2', account: 'default', at: 6, items: 1, batchId: undefined },
      ]);
      expect(ids(await journal.open({ id: 's3', account: 'default', at: 7 }, 10, 1_000))).toEqual(['d']);
      expect(await journal.open({ id: 's4', account: 'default', at: 8 }, 10, 1_000)).toEqual([]);
      expect(await journal.submissions('default')).toHaveLength(3);
    });

    it('releases what was not taken, and keeps what was', async () => {
      const journal = fresh();
      for (const id of ['a', 'b', 'c']) await journal.add(item(id));
      await journal.open({ id: 's1', account: 'default', at: 5 }, 2, 1_000);
      await journal.open({ id: 's2', account: 'default', at: 6 }, 2, 1_000);
      await journal.accepted('s2', 'batch');
      await journal.released('s1');
      await journal.released('s2');
      expect((await journal.waiting('default')).count).toBe(2);
      expect(await journal.submissions('default')).toEqual([
        { id: 's2', account: 'default', at: 6, items: 1, batchId: 'batch' },
      ]);
      expect(await journal.knownBatches('default')).toEqual(new Set(['batch']));
      await journal.close('s2', 9);
      expect(await journal.submissions('default')).toEqual([]);
      expect(await journal.knownBatches('default')).toEqual(new Set(['batch']));
    });

    it('finishes once, deletes the body, and keeps the outcome until it is purged', async () => {
      const journal = fresh();
      for (const id of ['a', 'b', 'c']) await journal.add(item(id));
      await journal.open({ id: 's', account: 'default', at: 5 }, 3, 1_000);
      expect(ids(await journal.itemsOf('s', ['c', 'a', 'x']))).toEqual(['c', 'a']);
      await journal.finish([{ id: 'a', outcome: '{"type":"expired"}' }], 100);
      await journal.finish([{ id: 'a', outcome: '{"type":"canceled"}' }], 200);
      expect(await journal.state('a')).toEqual({ id: 'a', state: 'done', outcome: '{"type":"expired"}' });
      expect(ids(await journal.itemsOf('s', ['a', 'b']))).toEqual(['b']);
      expect(ids(await journal.restOf('s', 10))).toEqual(['b', 'c']);
      expect(ids(await journal.restOf('s', 1))).toHaveLength(1);
      await journal.retry(['b', 'a']);
      const [again] = await journal.open({ id: 's2', account: 'default', at: 6 }, 3, 1_000);
      expect(again).toMatchObject({ id: 'b', attempts: 1, params: '{"n":"b"}' });
      await journal.delivered('a', 150);
      await journal.purge({ deliveredBefore: 150, doneBefore: 50 });
      expect(await journal.state('a')).toBeDefined();
      await journal.purge({ deliveredBefore: 151, doneBefore: 50 });
      expect(await journal.state('a')).toBeUndefined();
      await journal.finish([{ id: 'c', outcome: '1' }], 100);
      await journal.purge({ deliveredBefore: 0, doneBefore: 101 });
      expect(await journal.state('c')).toBeUndefined();
      expect(await journal.state('b')).toMatchObject({ state: 'sent' });
    });

    it('gives back only what waits', async () => {
      const journal = fresh();
      for (const id of ['a', 'b']) await journal.add(item(id, { submittedAt: id === 'a' ? 10 : 20 }));
      await journal.open({ id: 's', account: 'default', at: 5 }, 1, 1_000);
      expect(await journal.withdraw('a', 'x', 1)).toBeUndefined();
      expect(await journal.stale('default', 20, 10)).toEqual([]);
      expect(await journal.stale('default', 21, 10)).toEqual(['b']);
      expect(await journal.withdraw('b', 'x', 1)).toMatchObject({ id: 'b', charges: item('b').charges });
      expect(await journal.withdraw('b', 'x', 1)).toBeUndefined();
      expect((await journal.waiting('default')).count).toBe(0);
    });

    it('has each request in exactly one place, whatever is done', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(fc.nat(6), fc.nat(5)), { maxLength: 60 }), async (moves) => {
          const journal = make();
          const model = new Map<string, { state: string; submission?: string }>();
          const open = new Set<string>();
          let next = 0;
          const of = (submission: string) =>
            [...model].filter(([, each]) => each.state === 'sent' && each.submission === submission);
          try {
            for (const [move, pick] of moves) {
              const submission = [...open][pick % Math.max(1, open.size)];
              if (move === 0 || move === 1) {
                const id = `i${pick}`;
                expect(await journal.add(item(id))).toBe(!model.has(id));
                if (!model.has(id)) model.set(id, { state: 'waiting' });
              } else if (move === 2) {
                const id = `s${next++}`;
                const taken = await journal.open({ id, account: 'default', at: next }, pick + 1, 1_000);
                const waiting = [...model].filter(([, { state }]) => state === 'waiting');
                expect(taken).toHaveLength(Math.min(pick + 1, waiting.length));
                for (const each of taken) model.set(each.id, { state: 'sent', submission: id });
                if (taken.length > 0) open.add(id);
              } else if (submission === undefined) continue;
              else if (move === 3) {
                await journal.released(submission);
                for (const [id] of of(submission)) model.set(id, { state: 'waiting' });
                open.delete(submission);
              } else if (move === 4) {
                const [first] = of(submission);
                if (first === undefined) continue;
                await journal.finish([{ id: first[0], outcome: '{}' }], 1);
                model.set(first[0], { state: 'done' });
              } else {
                const [first] = of(submission);
                if (first === undefined) continue;
                await journal.retry([first[0]]);
                model.set(first[0], { state: 'waiting' });
              }
            }
            for (const [id, { state }] of model) expect((await journal.state(id))?.state).toBe(state);
            const count = (state: string) =>
              [...model.values()].filter((each) => each.state === state).length;
            expect((await journal.waiting('default')).count).toBe(count('waiting'));
            expect(await journal.inProcessing('default')).toBe(count('sent'));
            expect(await journal.pending('default')).toHaveLength(count('waiting') + count('sent'));
          } finally {
            await journal.end();
          }
        }),
        { numRuns: 60 },
      );
    });
  });
}

testJournal('memory', memoryJournal);
testJournal('SQLite', () => sqliteJournal({ path: tempFile() }));

describe('the SQLite journal’s file', () => {
  it('is its owner’s alone, and outlives its process', async () => {
    const path = tempFile();
    const first = sqliteJournal({ path });
    await first.add(item('a', { params: '{"secret":"words"}' }));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await first.end();
    const second = sqliteJournal({ path });
    expect(await second.state('a')).toMatchObject({ state: 'waiting' });
    await second.end();
    await expect(second.state('a')).rejects.toThrow(/it is closed/);
  });

  it('is one process’s at a time, and the next one’s when that is gone', async () => {
    const path = tempFile();
    const first = sqliteJournal({ path });
    await first.add(item('a'));
    const second = sqliteJournal({ path });
    await expect(second.state('a')).rejects.toThrow(`${path}: cannot be opened (another process has it)`);
    await first.end();
    expect(await second.state('a')).toMatchObject({ state: 'waiting' });
    await second.end();
  });

  it('that cannot be opened is named', async () => {
    const journal = sqliteJournal({ path: '/nowhere/at/all.sqlite' });
    await expect(journal.add(item('a'))).rejects.toThrow(
      'Headgate batch journal /nowhere/at/all.sqlite: cannot be opened',
    );
  });
});
