import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ramp } from '../../packages/core/src/admission/ramp.ts';
import { troubledWorld } from '../support/troubled-world.ts';

/** Sends as fast as the pace allows until `end`; gives the times. */
function sendAll(ramp: Ramp, limitPerMs: number | undefined, from: number, end: number): number[] {
  const times: number[] = [];
  for (let now = from; now < end; ) {
    const wait = ramp.waitMs(limitPerMs, now);
    if (wait > 0) {
      now += Math.max(wait, 0.01);
      continue;
    }
    if (ramp.pacePerMs === undefined && limitPerMs === undefined) break;
    ramp.sent(now);
    times.push(now);
    // No faster than the bucket itself would let them go.
    now += limitPerMs === undefined ? 0 : 1 / limitPerMs;
  }
  return times;
}

/** A second of so many requests, of which those after the first `borne` are refused, in whatever order they come back. */
function volley(ramp: Ramp, sent: number, borne: number, limitPerMs: number | undefined, order?: number[]) {
  const at = 10_000;
  for (let i = 0; i < sent; i++) ramp.sent(at + i * (900 / sent));
  const refused = Array.from({ length: sent - borne }, (_, i) => at + (borne + i) * (900 / sent));
  const shuffled =
    order === undefined
      ? refused
      : refused.sort((a, b) => (order[(a % 97) | 0] ?? 0) - (order[(b % 97) | 0] ?? 0));
  for (const sentAt of shuffled) ramp.refused(sentAt, 12_900, limitPerMs, 10_910);
}

describe('the pace at which use may grow', () => {
  it('is none until the API has refused for it once', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(50), { maxLength: 300 }),
        fc.double({ min: 0.001, max: 10, noNaN: true }),
        (gaps, limit) => {
          const ramp = new Ramp();
          let now = 0;
          for (const gap of gaps) {
            now += gap;
            expect(ramp.waitMs(limit, now)).toBe(0);
            ramp.sent(now);
          }
          expect(ramp.pacePerMs).toBeUndefined();
        },
      ),
    );
  });

  it('is half of what was borne, in whatever order the refusals of a volley come back', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 400 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.array(fc.nat(), { minLength: 97, maxLength: 97 }),
        (sent, share, order) => {
          const borne = Math.floor(share * (sent - 1));
          const ramp = new Ramp();
          volley(ramp, sent, borne, undefined, order);
          expect((ramp.pacePerMs ?? 0) * 1_000).toBeCloseTo(Math.max(1, borne / 2), 6);
        },
      ),
    );
  });

  it('is a tenth of the limit at the first refusal at least, and half of itself at each one more', () => {
    const ramp = new Ramp();
    const paces: number[] = [];
    for (let now = 10_000; now < 60_000; now += 10_000) {
      ramp.sent(now);
      ramp.refused(now, now + 1_000, 0.2, now + 30);
      paces.push(Math.round((ramp.pacePerMs ?? 0) * 1e6) / 1_000);
    }
    expect(paces).toEqual([20, 10, 5, 2.5, 1.25]);
  });

  it('is never passed: in any time no more goes than the pace and a little at once', () => {
    fc.assert(
      fc.property(fc.integer({ min: 20, max: 400 }), fc.integer({ min: 1, max: 19 }), (sent, borne) => {
        const ramp = new Ramp();
        volley(ramp, sent, borne, 0.2);
        const pace = ramp.pacePerMs ?? 0;
        const times = sendAll(ramp, 0.2, 12_900, 22_900);
        // A tenth of a minute's growth is added to the pace meanwhile.
        const most = pace + 0.05 * 0.2;
        times.forEach((from, i) => {
          const inSecond = times.slice(i).filter((at) => at < from + 1_000).length;
          expect(inSecond).toBeLessThanOrEqual(most * 1_000 + Math.max(1, most * 100) + 1);
        });
        expect(times.length).toBeGreaterThanOrEqual(Math.floor(pace * 9_000));
      }),
      { numRuns: 40 },
    );
  });

  it('grows while it is what holds calls up, by a twentieth of the limit in ten seconds', () => {
    const ramp = new Ramp();
    volley(ramp, 100, 40, 0.2);
    let from = 12_900;
    for (const [end, perSecond] of [
      [22_900, 30],
      [62_900, 70],
      [192_900, 200],
    ] as const) {
      sendAll(ramp, 0.2, from, end);
      from = end;
      expect((ramp.pacePerMs ?? 0) * 1_000).toBeGreaterThan(0.9 * perSecond);
      expect((ramp.pacePerMs ?? 0) * 1_000).toBeLessThan(1.05 * perSecond);
    }
  });

  it('is gone when it has reached the limit, and has held nobody up for a minute', () => {
    const ramp = new Ramp();
    volley(ramp, 100, 40, 0.2);
    sendAll(ramp, 0.2, 12_900, 205_000);
    expect(ramp.pacePerMs).toBeGreaterThan(0.18);
    for (let now = 205_000; now < 330_000; now += 10) {
      if (ramp.waitMs(0.2, now) === 0) ramp.sent(now);
    }
    expect(ramp.pacePerMs).toBeUndefined();
  });

  it('does not grow for nobody: what is not asked for is not known to be borne', () => {
    const ramp = new Ramp();
    volley(ramp, 100, 40, 0.2);
    for (let now = 13_000; now < 600_000; now += 1_000) {
      expect(ramp.waitMs(0.2, now)).toBe(0);
      ramp.sent(now);
    }
    expect((ramp.pacePerMs ?? 0) * 1_000).toBeCloseTo(20, 6);
  });

  it('starts out of the cold with a tenth of the limit, and doubles, once it is known that there is a limit to growth', () => {
    const ramp = new Ramp();
    volley(ramp, 100, 99, 1);
    const times = sendAll(ramp, 1, 400_000, 420_000);
    const perSecond = (second: number) =>
      times.filter((at) => at >= 400_000 + second * 1_000 && at < 401_000 + second * 1_000).length;
    expect(perSecond(0)).toBeGreaterThanOrEqual(49);
    for (let second = 1; second < 20; second++)
      expect(perSecond(second)).toBeLessThanOrEqual(Math.max(120, 2.3 * perSecond(second - 1)));
  });

  it('is lifted by an operator', () => {
    const ramp = new Ramp();
    volley(ramp, 100, 4, 0.2);
    ramp.reset();
    expect([ramp.waitMs(0.2, 13_000), ramp.pacePerMs]).toEqual([0, undefined]);
  });
});

/** Minutes under an API that bounds growth; its buckets are full all the while, and its headers say so. */
describe('an API that refuses for growth', () => {
  const account = [{ name: 's', models: ['*'], requestsPerMinute: 12_000 }];
  const headers = {
    'anthropic-ratelimit-requests-limit': '12000',
    'anthropic-ratelimit-requests-remaining': '11000',
  };
  const refusal = (named: boolean) => ({
    status: 429,
    ms: 30,
    headers: { ...headers, 'retry-after': '2' },
    ...(named ? { errorCode: 'ramp_limit_exceeded' } : {}),
  });

  /** More than so many in a second are refused. */
  const capped = (perSecond: number, named: boolean) => {
    let recent: number[] = [];
    return (now: number) => {
      recent = recent.filter((at) => at > now - 1_000);
      if (recent.length >= perSecond) return refusal(named);
      recent.push(now);
      return { status: 200, headers };
    };
  };

  /** The rate may be half as much again as ever in the ten seconds before, and ten a second at any time. */
  const sloped = () => {
    const accepted: number[] = [];
    return (now: number) => {
      const inSecond = (end: number) => accepted.filter((at) => at > end - 1_000 && at <= end).length;
      const before = Math.max(...[1, 3, 5, 7, 9].map((seconds) => inSecond(now - seconds * 1_000)));
      if (inSecond(now) >= Math.max(10, 1.5 * before)) return refusal(true);
      accepted.push(now);
      if (accepted.length > 4_000) accepted.splice(0, 1_000);
      return { status: 200, headers };
    };
  };

  it.each([
    ['says so', true],
    ['says nothing but has plenty left of everything', false],
  ])(
    'above sixty a second, and %s: is met by those in flight, and then kept to',
    async (_, named) => {
      const { load, attempts, between, end } = troubledWorld({ account }, capped(60, named));
      await load(20, 30_000);
      expect(attempts.filter(({ status }) => status === 429)).toHaveLength(0);
      await load(150, 120_000);
      const refused = attempts.filter(({ status }) => status === 429);
      // Each time it is tried: what is sent until the first word of it is back, and what went at once. Without a pace
      // it would be some hundred every two seconds.
      expect(refused.length).toBeLessThanOrEqual(40);
      const steady = between(attempts, 90_000, 150_000).filter(({ status }) => status === 200);
      // Three quarters of the cap are what halving and growing back make of it.
      expect(steady.length / 60).toBeGreaterThan(0.6 * 60);
      expect(steady.length / 60).toBeLessThanOrEqual(60);
      await end();
    },
    60_000,
  );

  it('by its slope: full speed is reached, and few are refused on the way', async () => {
    const { load, attempts, between, end } = troubledWorld({ account }, sloped());
    await load(5, 30_000);
    await load(150, 300_000);
    const refused = attempts.filter(({ status }) => status === 429);
    expect(refused.length).toBeLessThanOrEqual(60);
    const last = between(attempts, 300_000, 330_000).filter(({ status }) => status === 200);
    expect(last.length / 30).toBeGreaterThan(140);
    await end();
  }, 60_000);
});
