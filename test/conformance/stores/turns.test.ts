import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SetClock } from './clocked.ts';
import { LANES } from './commands.ts';
import { HonestProcess } from './reference/honest.ts';

const TIMEOUT_MS = 120_000;
/** A request takes a tenth of a second of it. */
const LIMITS = { requests: 600, burst: 0.1 };
const COST_MS = 100;
const CAPACITY = 60;
const RUN_MS = 20_000;
/** The bucket is empty, and everybody waits. */
const SETTLED_MS = 5_000;
/** A guarantee goes before a reserve that has kept a lane from it for so long. */
const LATE_MS = 60_000;
/** One process asks, then the next: each is heard of again within the time that the others wait for it. */
const STEP_MS = 15;

interface Crowd {
  readonly process: number;
  readonly lane: 'interactive' | 'background';
  readonly user: string;
  /** Calls of a dearer user cost so much more. */
  readonly dear: number;
}

const crowd: fc.Arbitrary<Crowd> = fc.record({
  process: fc.integer({ min: 0, max: 2 }),
  lane: fc.constantFrom('interactive' as const, 'background' as const),
  user: fc.constantFrom('anna', 'ben', 'cleo', 'dora', 'emil'),
  dear: fc.constantFrom(1, 1, 2, 4),
});
const crowds = (lane: fc.Arbitrary<Crowd>) =>
  fc.uniqueArray(lane, { minLength: 2, maxLength: 7, selector: (each) => `${each.lane}/${each.user}` });

interface Served {
  readonly at: number;
  readonly crowd: Crowd;
}

/** Users who never stop asking, of whom none is in two processes. */
async function serve(crowds: readonly Crowd[], lanes = LANES, runMs = RUN_MS): Promise<Served[]> {
  const clock = new SetClock();
  const store = clock.memory();
  const start = clock.at;
  const processes = [0, 1, 2].map((n) => new HonestProcess(`process-${n}`, LIMITS, true));
  const served: Served[] = [];
  for (let step = 0; clock.at < start + runMs; step++, clock.at += STEP_MS) {
    const process = processes[step % processes.length];
    if (process === undefined) continue;
    while (process.running.length > 0) process.end(0, 1);
    for (const each of crowds) {
      const { lane, user, dear } = each;
      if (processes[each.process] !== process) continue;
      const mine = process.waiting.filter(({ call }) => call.lane === lane && call.user === user);
      for (let n = mine.length; n < 3; n++)
        process.come(
          {
            lane,
            user,
            cost: dear * COST_MS,
            chargesTokens: false,
            inputTokens: 0,
            inputHeld: 0,
            outputTokens: 0,
            quotas: [],
          },
          clock.at,
        );
    }
    const exchange = process.say(clock.at, lanes);
    process.heard(await store.exchange('bucket', exchange), exchange);
    for (const { call } of process.running) {
      const whose = crowds.find(({ lane, user }) => lane === call.lane && user === call.user);
      if (whose !== undefined) served.push({ at: clock.at - start, crowd: whose });
    }
  }
  await store.close();
  return served;
}

const costOf = (served: readonly Served[], of: (crowd: Crowd) => boolean): number =>
  served.reduce((sum, { crowd }) => sum + (of(crowd) ? crowd.dear * COST_MS : 0), 0);

describe('whoever asks all the time', () => {
  it(
    'gets as much as any other of the lane, and nothing is left unused',
    async () => {
      await fc.assert(
        fc.asyncProperty(crowds(crowd), async (all) => {
          const served = await serve(all);
          const rate = LIMITS.requests / 60_000;
          expect(served.length).toBeLessThanOrEqual(CAPACITY / 2 + rate * RUN_MS);
          expect(served.length).toBeGreaterThan(0.97 * rate * RUN_MS);
          const late = served.filter(({ at }) => at > SETTLED_MS);
          for (const one of all)
            for (const other of all) {
              if (one.lane !== other.lane) continue;
              const difference =
                costOf(late, (each) => each === one) - costOf(late, (each) => each === other);
              expect(Math.abs(difference)).toBeLessThanOrEqual(2 * COST_MS * (one.dear + other.dear));
            }
        }),
        { numRuns: 60 },
      );
    },
    TIMEOUT_MS,
  );

  it(
    'has the guarantee of its lane at once, or after a minute where a reserve kept it from that',
    async () => {
      const { interactive, background } = LANES;
      const open = { interactive, background: { ...background, reserve: 0 } };
      await fc.assert(
        fc.asyncProperty(
          crowds(crowd.map((each) => ({ ...each, dear: 1 }))),
          fc.boolean(),
          async (all, isOpen) => {
            const lanes = new Set(all.map(({ lane }) => lane));
            fc.pre(lanes.size === 2);
            // What a full bucket gave at first is reckoned with as long as it lasts.
            const [runMs, from] = isOpen ? [RUN_MS, SETTLED_MS] : [2.5 * LATE_MS, 1.5 * LATE_MS];
            const served = await serve(all, isOpen ? open : LANES, runMs);
            const late = served.filter(({ at }) => at > from);
            for (const lane of lanes) {
              const share = costOf(late, (each) => each.lane === lane) / (runMs - from);
              expect(share, lane).toBeGreaterThan(0.9 * LANES[lane].guarantee);
            }
          },
        ),
        { numRuns: 20 },
      );
    },
    TIMEOUT_MS,
  );
});
