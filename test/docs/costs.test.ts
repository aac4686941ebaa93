import { describe, expect, it } from 'vitest';
import { pageInRepo, runWay, WAYS } from './costs.ts';

/** A minute of the workload of the page: the long test runs all ten, and compares the page to the letter. */
describe('the worked page on costs', () => {
  it('tells what each way does for the same calls', async () => {
    const figures = new Map<string, Awaited<ReturnType<typeof runWay>>>();
    for (const way of WAYS) figures.set(way.name, await runWay(way, 1));
    const of = (name: string) => figures.get(name)!;
    const base = of('default');
    for (const { calls, refused } of figures.values()) expect([calls, refused]).toEqual([base.calls, 0]);
    expect(of('caps').output).toBeLessThan(base.output);
    expect(of('caching').usd).toBeLessThan(0.6 * base.usd);
    expect(of('caching').perMinute).toBeLessThan(0.5 * base.perMinute);
    expect(of('routing').usd).toBeLessThan(0.95 * base.usd);
    expect(of('batch').usd).toBeLessThan(0.95 * base.usd);
    const least = Math.min(...[...figures.values()].map(({ usd }) => usd));
    expect(of('all of it').usd).toBe(least);
    for (const { name } of WAYS) expect(pageInRepo()).toContain(`| ${name} |`);
  }, 60_000);
});
