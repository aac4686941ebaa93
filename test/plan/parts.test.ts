import { describe, expect, it } from 'vitest';
import { drawCalls } from '../../packages/cli/src/plan/arrivals.ts';
import { Histogram } from '../../packages/cli/src/plan/histogram.ts';
import { lognormal, seeded } from '../../packages/cli/src/plan/random.ts';
import { isRecorded, trafficSchema } from '../../packages/cli/src/plan/traffic.ts';
import { even } from './support.ts';

const HOUR = 3_600_000;

function timesOf(arrivals: object, until = HOUR, seed = 1, more: object = {}): number[] {
  const [calls] = trafficSchema.parse({ calls: [even({ arrivals, ...more })] }).calls;
  if (calls === undefined || isRecorded(calls)) throw new Error('no calls');
  return [...drawCalls(calls, seed, until)].map(({ at }) => at);
}

const between = (times: readonly number[], from: number, to: number) =>
  times.filter((at) => at >= from && at < to).length;

describe('arrivals', () => {
  it('are in order and in their time, whatever the shape', () => {
    for (const arrivals of [
      { shape: 'steady', rate: '10/second' },
      { shape: 'poisson', rate: '10/second' },
      { shape: 'ramp', from: '1/second', to: '9/second' },
      { shape: 'burst', at: '5m', calls: 500, within: '10s' },
      { shape: 'cron', every: '5m', calls: 50, within: '5m' },
      { shape: 'diurnal', low: '1/second', high: '9/second', period: '30m', peak: '5m' },
    ]) {
      const times = timesOf(arrivals, HOUR, 3, { start: '10m', end: '40m' });
      expect(times.length, arrivals.shape).toBeGreaterThan(100);
      expect(times, arrivals.shape).toEqual([...times].sort((a, b) => a - b));
      expect(times[0], arrivals.shape).toBeGreaterThanOrEqual(600_000);
      expect(times.at(-1), arrivals.shape).toBeLessThan(2_400_000);
    }
  });

  it('are as many as their rates say', () => {
    expect(timesOf({ shape: 'steady', rate: '10/second' })).toHaveLength(36_000);
    // Four standard deviations of a Poisson count.
    const count = timesOf({ shape: 'poisson', rate: '10/second' }).length;
    expect(Math.abs(count - 36_000)).toBeLessThan(4 * Math.sqrt(36_000));
    const ramp = timesOf({ shape: 'ramp', from: '2/second', to: '10/second' });
    expect(between(ramp, 0, HOUR / 2) / between(ramp, HOUR / 2, HOUR)).toBeCloseTo(4 / 8, 1);
    expect(ramp.length / 21_600).toBeCloseTo(1, 1);
  });

  it('come at once in a burst, and again and again by cron', () => {
    const burst = timesOf({ shape: 'burst', at: '5m', calls: 500, within: '10s' });
    expect(burst).toHaveLength(500);
    expect(between(burst, 300_000, 310_000)).toBe(500);
    // Spread evenly over it.
    expect(Math.abs(between(burst, 300_000, 305_000) - 250)).toBeLessThan(60);
    const cron = timesOf({ shape: 'cron', every: '15m', at: '5m', calls: 20, within: '1s' });
    for (const minute of [5, 20, 35, 50])
      expect(between(cron, minute * 60_000, minute * 60_000 + 1_000)).toBe(20);
    expect(cron).toHaveLength(80);
  });

  it('swell and ebb with the day', () => {
    const times = timesOf({ shape: 'diurnal', low: '1/minute', high: '1/second', peak: '14h' }, 24 * HOUR);
    expect(between(times, 13 * HOUR, 15 * HOUR)).toBeGreaterThan(20 * between(times, HOUR, 3 * HOUR));
  });

  it('are others with another seed', () => {
    const arrivals = { shape: 'poisson', rate: '1/second' };
    expect(timesOf(arrivals, HOUR, 1)).toEqual(timesOf(arrivals, HOUR, 1));
    expect(timesOf(arrivals, HOUR, 2)).not.toEqual(timesOf(arrivals, HOUR, 1));
  });
});

describe('the histogram of waits', () => {
  it('is at most one per cent above the truth, and never below', () => {
    const random = seeded(7);
    const values = Array.from({ length: 20_000 }, () => lognormal(random, 3_000, 1.5));
    const histogram = new Histogram();
    for (const value of values) histogram.add(value);
    values.sort((a, b) => a - b);
    for (const q of [0.01, 0.5, 0.9, 0.95, 0.99, 0.999, 1]) {
      const truth = values[Math.ceil(q * values.length) - 1] ?? 0;
      expect(histogram.quantile(q)).toBeGreaterThanOrEqual(truth);
      expect(histogram.quantile(q)).toBeLessThanOrEqual(truth * 1.0101);
    }
  });

  it('has nothing to tell of nothing', () => {
    expect(new Histogram().quantile(0.95)).toBe(0);
  });
});
