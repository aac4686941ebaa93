import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Limit } from '../../packages/core/src/admission/limit.ts';

const make = () => new Limit('inputTokens', 600_000, 'configured', 0.1, 0);

/** Some traffic, so that the level has a history. */
function busy(limit: Limit): void {
  for (let now = 0; now <= 5_000; now += 50) limit.send(600, 0, now);
}

describe('what responses say of a limit', () => {
  const seen = fc.array(
    fc.record({
      remaining: fc.integer({ min: 0, max: 60_000 }),
      sentAt: fc.integer({ min: 3_000, max: 5_000 }),
    }),
    { minLength: 1, maxLength: 8 },
  );

  it('lowers it the same in whatever order, and however often it is said', () => {
    fc.assert(
      fc.property(seen, fc.infiniteStream(fc.nat()), (all, picks) => {
        const low = all.map((each) => ({ ...each, remaining: Math.min(each.remaining, 20_000) }));
        const shuffled = [...low, ...low].sort(() => (picks.next().value ?? 0) - (picks.next().value ?? 0));
        const after = (observations: typeof low) => {
          const limit = make();
          busy(limit);
          for (const { remaining, sentAt } of observations) limit.observe(remaining, sentAt, 0, 5_000);
          return limit.available(5_000);
        };
        expect(after(shuffled)).toBeCloseTo(after(low), 3);
      }),
    );
  });

  it('never raises it above what was seen, and never above its depth', () => {
    fc.assert(
      fc.property(seen, (all) => {
        const limit = make();
        busy(limit);
        const before = limit.available(5_000);
        for (const { remaining, sentAt } of all) limit.observe(remaining, sentAt, 0, 5_000);
        const most = Math.max(...all.map(({ remaining }) => remaining));
        expect(limit.available(5_000)).toBeLessThanOrEqual(Math.max(before, most) + 1e-6);
        expect(limit.available(1e9)).toBeLessThanOrEqual(limit.capacity);
      }),
    );
  });

  it('keeps to a limit that is lower than the account’s, whatever remains of that', () => {
    const limit = new Limit('inputTokens', 60_000, 'configured', 0.1, 0);
    for (let now = 0; now <= 5_000; now += 100) limit.send(100, 0, now);
    const before = limit.available(5_000);
    for (let now = 5_000; now < 6_000; now += 100) limit.observe(590_000, now, 0, now, 600_000);
    expect(limit.available(6_000)).toBeLessThanOrEqual(before + 1_000 + 1e-6);
    // Where less remains of the account than we think is left to us, that holds.
    limit.observe(0, 6_000, 0, 6_000, 600_000);
    expect(limit.available(6_000)).toBeLessThanOrEqual(500);
    expect(limit.refillPerMs).toBe(1);
  });

  it('tells a depth that was taken for too large from a refusal', () => {
    const limit = new Limit('requests', 6_000, 'configured', 0.1, 0);
    for (let i = 0; i < 100; i++) limit.send(1, 0, 0);
    expect(limit.available(0)).toBeGreaterThan(400);
    limit.refused(0, 50);
    // A hundred went before it: less than a hundred it is taken for from now on.
    expect(limit.capacity).toBeLessThanOrEqual(120);
    expect(limit.capacity).toBeGreaterThan(80);
  });

  it('keeps what is used when the limit is halved', () => {
    const limit = make();
    for (let i = 0; i < 50; i++) limit.send(1_000, 0, 0);
    const used = limit.capacity - limit.available(0);
    limit.resize(300_000, 0.1, 0);
    expect(limit.capacity - limit.available(0)).toBeCloseTo(used, 6);
    expect(limit.available(0)).toBeLessThan(0);
  });
});
