import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LinkedSet } from '../../packages/core/src/linked-set.ts';
import { PrefixSums } from '../../packages/core/src/prefix-sums.ts';
import { Slices } from '../../packages/core/src/slices.ts';

/** An event loop that turns when it is told to. */
function loop() {
  let due: (() => void)[] = [];
  return {
    next: (fn: () => void) => void due.push(fn),
    turn() {
      const now = due;
      due = [];
      for (const fn of now) fn();
      return now.length > 0;
    },
  };
}

describe('slices', () => {
  it('never do more with one turn of the event loop than fits, keep the order, and do everything', () => {
    const crowd = fc.record({
      size: fc.integer({ min: 0, max: 60 }),
      how: fc.constantFrom('run', 'each', 'room'),
    });
    fc.assert(
      fc.property(fc.array(fc.array(crowd, { maxLength: 3 }), { maxLength: 8 }), (turns) => {
        const { next, turn } = loop();
        const slices = new Slices(10, next);
        let id = 0;
        let done: number[] = [];
        const all: number[] = [];
        const look = (crowds: number) => {
          // The first of a crowd that comes by `each` is done whatever was done before.
          expect(done.length).toBeLessThanOrEqual(10 + crowds);
          all.push(...done);
          done = [];
        };
        let expected = 0;
        for (const crowds of turns) {
          for (const { size, how } of crowds) {
            const items = Array.from({ length: size }, () => id++);
            expected += size;
            if (how === 'each') void slices.each(items, (item) => done.push(item));
            else for (const item of items) slices.run(() => done.push(item));
          }
          look(crowds.length);
          turn();
          look(0);
        }
        for (let n = 0; slices.size > 0 && n < 1_000; n++) {
          turn();
          look(0);
        }
        expect(all).toHaveLength(expected);
        expect(new Set(all).size).toBe(expected);
      }),
    );
  });

  it('do at once what fits, and the rest in its order', () => {
    const { next, turn } = loop();
    const slices = new Slices(3, next);
    const done: number[] = [];
    for (let n = 0; n < 7; n++) slices.run(() => done.push(n));
    expect(done).toEqual([0, 1, 2]);
    turn();
    expect(done).toEqual([0, 1, 2, 3, 4, 5]);
    slices.run(() => done.push(7));
    turn();
    expect(done).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('let what goes on come before what is new', () => {
    const { next, turn } = loop();
    const slices = new Slices(2, next);
    const done: string[] = [];
    for (const name of ['a', 'b', 'c']) slices.run(() => done.push(name));
    slices.next(() => done.push('rest'));
    turn();
    expect(done).toEqual(['a', 'b', 'rest', 'c']);
  });

  it('give room to so many arrivals at once; the others wait, and nobody passes them', async () => {
    const { next, turn } = loop();
    const slices = new Slices(2, next);
    const come: number[] = [];
    const arrive = async (n: number) => {
      const room = slices.room();
      if (room !== undefined) await room;
      come.push(n);
    };
    const arrivals = [0, 1, 2, 3, 4].map(arrive);
    expect(come).toEqual([0, 1]);
    turn();
    arrivals.push(arrive(5));
    while (turn());
    await Promise.all(arrivals);
    expect(come).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('without a bound, as in a simulation, do everything at once', () => {
    const slices = new Slices();
    let done = 0;
    void slices.each(Array.from({ length: 50_000 }), () => done++);
    expect([done, slices.room(), slices.size]).toEqual([50_000, undefined, 0]);
  });
});

it('a linked set keeps what a set keeps, and its first', () => {
  const move = fc.record({ adds: fc.boolean(), value: fc.integer({ min: 0, max: 9 }) });
  fc.assert(
    fc.property(fc.array(move), (moves) => {
      const linked = new LinkedSet<number>();
      const set = new Set<number>();
      for (const { adds, value } of moves) {
        if (adds) {
          linked.add(value);
          set.add(value);
        } else expect(linked.delete(value)).toBe(set.delete(value));
        expect([linked.size, linked.first, [...linked.all()]]).toEqual([set.size, [...set][0], [...set]]);
      }
    }),
  );
});

it('sums from the start are those of the counts, however far they reach', () => {
  const change = fc.record({
    index: fc.integer({ min: 0, max: 200 }),
    delta: fc.integer({ min: -3, max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(change), fc.array(fc.nat(300)), (changes, indices) => {
      const sums = new PrefixSums();
      const counts = new Array<number>(301).fill(0);
      for (const { index, delta } of changes) {
        sums.add(index, delta);
        counts[index] = (counts[index] ?? 0) + delta;
      }
      for (const index of indices)
        expect(sums.upTo(index)).toBe(counts.slice(0, index + 1).reduce((sum, count) => sum + count, 0));
    }),
  );
});
