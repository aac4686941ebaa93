import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ANSWER_MS,
  CallersWorld,
  type End,
  type PlannedCall,
  TROUBLES,
  type Trouble,
  WORLD_CONFIG,
} from '../support/callers-world.ts';

const OTHERS = 20;
/** One fair turn: an answer's time. */
const TURN_MS = ANSWER_MS;

type WorldOptions = ConstructorParameters<typeof CallersWorld>[0];

const play = async (calls: readonly PlannedCall[], options?: WorldOptions): Promise<Map<number, End>> => {
  const world = new CallersWorld(options);
  const ends = await world.play(calls);
  await world.close();
  return new Map(ends.map((end) => [end.id, end]));
};

/** The calls of others end alike with and without those of A: answered or not, by which model, after how many attempts. */
async function expectUnmoved(
  others: readonly PlannedCall[],
  ofA: readonly PlannedCall[],
  options?: WorldOptions,
): Promise<void> {
  const [alone, beside] = [await play(others, options), await play([...others, ...ofA], options)];
  for (const { id } of others) {
    const [before, after] = [alone.get(id), beside.get(id)];
    const seen = (end: End | undefined) => [end?.user, end?.outcome, end?.model, end?.attempts];
    expect(seen(after)).toEqual(seen(before));
    expect((after?.endedAt ?? 0) - (before?.endedAt ?? 0)).toBeLessThanOrEqual(TURN_MS);
  }
}

const plainly = (from: number, to: number, everyMs = 50): PlannedCall[] => {
  const calls: PlannedCall[] = [];
  for (let at = from; at < to; at += everyMs) {
    const id = 10_000 + calls.length;
    // A single 500 now and then: its caller's first retry is always there.
    const trouble: Trouble = calls.length % 37 === 36 ? 'once 500' : 'well';
    calls.push({ id, at, user: `other ${calls.length % OTHERS}`, trouble });
  }
  return calls;
};

const troubleOf = (trouble: Trouble, times: readonly number[]): PlannedCall[] =>
  times.map((at, id) => ({ id, at, user: 'A', trouble }));

const TROUBLED = TROUBLES.filter((trouble) => trouble !== 'well');

describe('one caller whose calls go wrong', () => {
  it.each(TROUBLED)('sixty at once, before anybody else asks, and then for 3 s: %s', async (trouble) => {
    const times = [...new Array<number>(60).fill(0), ...Array.from({ length: 60 }, (_, i) => 1_000 + 50 * i)];
    await expectUnmoved(plainly(500, 5_000), troubleOf(trouble, times));
  });

  // A look at an unknown bucket that taught nothing kept others waiting for 1,900 ms before, one that was never sent for all of A's.
  it.each(TROUBLED)('sixty at once, before anybody knows a limit: %s', async (trouble) => {
    const config = { fallbacks: WORLD_CONFIG.fallbacks };
    const ofA = troubleOf(trouble, new Array<number>(60).fill(0));
    await expectUnmoved(plainly(500, 3_000), ofA, { config, headers: {} });
  });

  // A 429 without a time moved others by up to 10,217 ms before, a 529 by 468 ms.
  it.each(TROUBLED)('in bursts, beside others who come seldom and all at once: %s', async (trouble) => {
    const seldom: PlannedCall[] = [];
    for (let at = 5; at < 5_000; at += 900)
      for (let i = 0; i < 5; i++)
        seldom.push({ id: 10_000 + seldom.length, at: at + 7 * i, user: `other ${i}`, trouble: 'well' });
    for (const well of [0, 30]) {
      const ofA: PlannedCall[] = [];
      for (let at = 0; at < 5_000; at += 1_000)
        for (let i = 0; i < well + 20; i++)
          ofA.push({
            id: ofA.length,
            at: i < well ? at : at + 10 + i - well,
            user: 'A',
            trouble: i < well ? 'well' : trouble,
          });
      await expectUnmoved(seldom, ofA);
    }
  });

  it('moves nobody else, whatever it does and whenever', async () => {
    const trouble = fc.constantFrom<Trouble>(...TROUBLED, 'well', 'well');
    const ofA = fc.array(fc.record({ at: fc.integer({ min: 0, max: 8_000 }), trouble }), { maxLength: 80 });
    const others = fc.array(
      fc.record({
        at: fc.integer({ min: 0, max: 8_000 }),
        user: fc.integer({ min: 0, max: OTHERS - 1 }),
        trouble: fc.constantFrom<Trouble>('well', 'well', 'well', 'well', 'well', 'well', 'once 500'),
      }),
      { minLength: 20, maxLength: 80 },
    );
    await fc.assert(
      fc.asyncProperty(others, ofA, async (plain, wrong) => {
        await expectUnmoved(
          plain.map((each, i) => ({ ...each, id: 10_000 + i, user: `other ${each.user}` })),
          wrong.map((each, id) => ({ ...each, id, user: 'A' })),
        );
      }),
      { numRuns: 12 },
    );
  });
});
