import { manualClock } from '@headgate/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Bucket,
  boundAbove,
  fullBucket,
  levelAt,
  resize,
  take,
  waitFor,
} from '../../packages/core/src/admission/bucket.ts';
import { calendarWindow } from '../../packages/core/src/admission/calendar.ts';
import { createMeter } from '../../packages/core/src/admission/meter.ts';

const steps = fc.array(
  fc.record({
    after: fc.double({ min: 0, max: 5_000, noNaN: true }),
    amount: fc.double({ min: 0, max: 150, noNaN: true }),
  }),
  { maxLength: 60 },
);

describe('a bucket', () => {
  it('never lets more through in any window than its depth and its refill, but for one deep call', () => {
    fc.assert(
      fc.property(
        steps,
        fc.integer({ min: 1, max: 100 }),
        fc.double({ min: 0.001, max: 1, noNaN: true }),
        (moves, capacity, rate) => {
          let bucket = fullBucket(capacity, rate, 0);
          let now = 0;
          const taken: { at: number; amount: number }[] = [];
          for (const { after, amount } of moves) {
            now += after;
            if (waitFor(bucket, amount, 0, now) > 0) continue;
            bucket = take(bucket, amount, now);
            taken.push({ at: now, amount });
          }
          for (let from = 0; from < taken.length; from++) {
            let sum = 0;
            for (let to = from; to < taken.length; to++) {
              const { at, amount } = taken[to]!;
              sum += amount;
              // A call deeper than the bucket is let in by a full one, and what follows waits for its debt.
              const allowed =
                Math.max(capacity, amount) +
                rate * (at - taken[from]!.at) +
                deepest(taken, from, to, capacity);
              expect(sum).toBeLessThanOrEqual(allowed + 1e-6);
            }
          }
        },
      ),
    );
  });

  it('fits exactly when it says', () => {
    fc.assert(
      fc.property(steps, fc.double({ min: 0, max: 300, noNaN: true }), (moves, wanted) => {
        let bucket = fullBucket(100, 0.02, 0);
        let now = 0;
        for (const { after, amount } of moves) {
          now += after;
          bucket = take(bucket, amount, now);
        }
        const wait = waitFor(bucket, wanted, 0, now);
        expect(waitFor(bucket, wanted, 0, now + wait + 1e-6)).toBe(0);
        if (wait > 1) expect(waitFor(bucket, wanted, 0, now + wait - 1)).toBeGreaterThan(0);
      }),
    );
  });

  it('takes bounds as minima: their order and repetition do not matter', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -50, max: 150, noNaN: true }), { minLength: 1 }),
        fc.infiniteStream(fc.nat()),
        (bounds, picks) => {
          const shuffled = [...bounds, ...bounds].sort(
            () => (picks.next().value ?? 0) - (picks.next().value ?? 0),
          );
          const apply = (all: number[]) =>
            all.reduce((bucket: Bucket, bound) => boundAbove(bucket, bound, 10), fullBucket(100, 1, 0));
          // A bound of nothing and one of less than nothing by nothing are the same.
          expect(apply(shuffled).level).toBeCloseTo(apply(bounds).level, 9);
          expect(apply(bounds).level).toBeLessThanOrEqual(100);
        },
      ),
    );
  });

  it('never runs backwards, and never above its depth', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(
            fc.double({ min: 0, max: 100, noNaN: true }),
            fc.double({ min: -50, max: 50, noNaN: true }),
          ),
        ),
        (moves) => {
          let bucket = fullBucket(100, 1, 0);
          for (const [now, amount] of moves) {
            const at = bucket.at;
            bucket = take(bucket, amount, now);
            expect(bucket.at).toBeGreaterThanOrEqual(at);
            expect(levelAt(bucket, now + 1e9)).toBeLessThanOrEqual(100);
          }
        },
      ),
    );
  });

  it('keeps what is used when its limit changes', () => {
    const used = take(fullBucket(100, 1, 0), 80, 0);
    expect(levelAt(resize(used, 50, 1, 0), 0)).toBe(-30);
    expect(levelAt(resize(used, 200, 1, 0), 0)).toBe(120);
  });
});

/** What calls deeper than the bucket, the last one apart, may have taken beyond its depth. */
function deepest(
  taken: { at: number; amount: number }[],
  from: number,
  to: number,
  capacity: number,
): number {
  return taken.slice(from, to).reduce((sum, { amount }) => sum + Math.max(0, amount - capacity), 0);
}

describe('a meter of a quota', () => {
  const rate = { amount: 10, per: 'minute' } as const;

  it('is as if nothing had happened after a hold that is released', () => {
    const clock = manualClock();
    const meter = createMeter(rate, 1, 'UTC', clock);
    meter.hold(4);
    expect(meter.remaining).toBe(6);
    expect(meter.waitMs(7)).toBeCloseTo(6_000, 3);
    meter.release(4);
    expect([meter.remaining, meter.isIdle]).toEqual([10, true]);
  });

  it('lets nothing pass that is larger than the whole quota', () => {
    const clock = manualClock();
    expect(createMeter(rate, 1, 'UTC', clock).waitMs(11)).toBe(Number.POSITIVE_INFINITY);
    expect(createMeter({ amount: 1, per: 'day' }, 1, 'UTC', clock).waitMs(1.5)).toBe(
      Number.POSITIVE_INFINITY,
    );
  });

  it('lets pass what is only thought to be larger, when all of the quota is there, and goes into debt', () => {
    for (const per of ['minute', 'day'] as const) {
      const meter = createMeter({ amount: 10, per }, 1, 'UTC', manualClock());
      expect(meter.waitMs(50, 3)).toBe(0);
      meter.charge(50);
      expect(meter.remaining).toBe(-40);
      expect(meter.waitMs(50, 3)).toBeGreaterThan(0);
      expect(meter.waitMs(50, 3)).toBeLessThan(Number.POSITIVE_INFINITY);
      expect(meter.waitMs(50, 11)).toBe(Number.POSITIVE_INFINITY);
    }
  });

  it.each([
    ['minute', 0.5, 120_000],
    ['minute', 0.1, 600_000],
    ['second', 0.0001, 1e7],
    ['hour', 0.25, 4 * 3_600_000],
  ] as const)(
    'of requests by the %s, %d of them, lets one through now and then (was: never)',
    async (per, amount, ms) => {
      const clock = manualClock();
      const meter = createMeter({ amount, per }, 1, 'UTC', clock, undefined, 1);
      expect(meter.waitMs(1)).toBe(0);
      meter.charge(1);
      expect(meter.waitMs(1)).toBeCloseTo(ms, 3);
      await clock.advance(ms);
      expect(meter.waitMs(1)).toBe(0);
    },
  );

  it('of a day begins anew at midnight of its time zone, and ignores late corrections of the day before', async () => {
    const clock = manualClock(Date.parse('2026-03-28T22:00:00Z')); // 23:00 in Berlin, the night the clocks change
    const meter = createMeter({ amount: 3, per: 'day' }, 1, 'Europe/Berlin', clock);
    const charge = meter.charge(3);
    expect(meter.waitMs(1)).toBe(3_600_000);
    await clock.advance(3_600_000);
    expect(meter.waitMs(3)).toBe(0);
    meter.correct(charge, -3);
    expect(meter.remaining).toBe(3);
    meter.charge(3);
    expect(meter.waitMs(1)).toBe(23 * 3_600_000);
  });

  it('of a calendar window never gives more than its quota within one, whatever the order of charges and corrections', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(
            fc.integer({ min: 0, max: 9 * 3_600_000 }),
            fc.integer({ min: 1, max: 5 }),
            fc.integer({ min: 0, max: 5 }),
          ),
          { maxLength: 40 },
        ),
        async (moves) => {
          const zone = 'Europe/Berlin';
          const clock = manualClock(Date.parse('2026-10-24T10:00:00Z'));
          const meter = createMeter({ amount: 10, per: 'day' }, 1, zone, clock);
          const used = new Map<number, number>();
          for (const [after, estimate, actual] of moves) {
            await clock.advance(after);
            if (meter.waitMs(estimate) > 0) continue;
            const day = calendarWindow(clock.wall(), 'day', zone).start;
            const charge = meter.charge(estimate);
            meter.correct(charge, Math.min(actual, estimate) - estimate);
            used.set(day, (used.get(day) ?? 0) + Math.min(actual, estimate));
          }
          for (const sum of used.values()) expect(sum).toBeLessThanOrEqual(10);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('a calendar window', () => {
  it('holds its instant, touches the next one, and starts at local midnight where there is one', () => {
    const zones = [
      'UTC',
      'Europe/Berlin',
      'America/New_York',
      'Australia/Lord_Howe',
      'America/Santiago',
      'Asia/Kathmandu',
      'Pacific/Apia',
      'Africa/Cairo',
    ];
    const instant = fc.integer({ min: Date.UTC(2012, 0, 1), max: Date.UTC(2037, 0, 1) });
    fc.assert(
      fc.property(
        instant,
        fc.constantFrom(...zones),
        fc.constantFrom('day' as const, 'month' as const),
        (wall, zone, unit) => {
          const window = calendarWindow(wall, unit, zone);
          expect(window.start).toBeLessThanOrEqual(wall);
          expect(window.end).toBeGreaterThan(wall);
          expect(calendarWindow(window.end, unit, zone).start).toBe(window.end);
          expect(calendarWindow(window.start, unit, zone)).toEqual(window);
          expect(calendarWindow(window.end - 1, unit, zone)).toEqual(window);
          if (unit === 'day') {
            const hours = (window.end - window.start) / 3_600_000;
            expect(hours).toBeGreaterThanOrEqual(23);
            expect(hours).toBeLessThanOrEqual(25);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
