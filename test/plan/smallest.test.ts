import { describe, expect, it } from 'vitest';
import type { SmallestReport } from '../../packages/cli/src/plan/smallest.ts';
import { tiersOf } from '../../packages/cli/src/plan/tiers.ts';
import { bucket, even, folderWith, planIn, reportOf } from './support.ts';

const TRAFFIC = {
  duration: '10m',
  calls: [
    even({
      name: 'chat',
      users: 100,
      input: 900,
      output: 300,
      arrivals: { shape: 'poisson', rate: '2/second' },
    }),
  ],
};
const LIMITS = { requestsPerMinute: 1_000, inputTokensPerMinute: 450_000, outputTokensPerMinute: 90_000 };
const GOALS = ['--goal', 'p95 < 2s', '--goal', 'refused < 2%'];

describe('headgate plan --smallest', () => {
  it('names limits that meet the goals, and a twentieth less does not', async () => {
    const folder = folderWith({ 'headgate.yaml': { account: [bucket(LIMITS)] }, 'traffic.yaml': TRAFFIC });
    const { code, out } = await planIn(folder, ...GOALS, '--smallest', '--json');
    expect(code).toBe(0);
    const { limits, factor, missed } = JSON.parse(out) as SmallestReport;
    expect(factor).toBeLessThan(1);
    expect(missed?.goals.every(({ isMet }) => isMet)).toBe(false);
    // Played once more, as anybody would who writes these limits into the configuration.
    const [{ name: _, ...found } = { name: '' }] = limits;
    const played = (share: number) =>
      reportOf(
        {
          account: [
            bucket(
              Object.fromEntries(
                Object.entries(found).map(([key, limit]) => [key, Math.floor(limit * share)]),
              ),
            ),
          ],
        },
        TRAFFIC,
        ...GOALS,
      );
    expect((await played(1)).code).toBe(0);
    expect((await played(0.95)).code).toBe(1);
  }, 60_000);

  it('grows limits that are too small', async () => {
    const small = { requestsPerMinute: 50, inputTokensPerMinute: 20_000, outputTokensPerMinute: 5_000 };
    const folder = folderWith({ 'headgate.yaml': { account: [bucket(small)] }, 'traffic.yaml': TRAFFIC });
    const { code, out } = await planIn(folder, ...GOALS, '--smallest');
    expect(code).toBe(0);
    expect(out).toMatch(/the smallest limits that meet the goals: [2-9]\d?\.\d+ times those given/);
  }, 60_000);

  it('says so where no limits would help', async () => {
    const quotas = [{ name: 'few', per: 'all', requests: '10/minute' }] as const;
    const folder = folderWith({
      'headgate.yaml': { account: [bucket(LIMITS)], quotas },
      'traffic.yaml': TRAFFIC,
    });
    const { code, out } = await planIn(folder, '--goal', 'refused < 2%', '--smallest');
    expect([code, out]).toEqual([1, expect.stringContaining('no limits meet the goals, up to 64 times')]);
    const none = await planIn(folder, '--smallest');
    expect([none.code, none.out]).toEqual([2, expect.stringContaining('expected a --goal')]);
  }, 60_000);

  it('scales one dimension alone where it is asked for', async () => {
    const folder = folderWith({ 'headgate.yaml': { account: [bucket(LIMITS)] }, 'traffic.yaml': TRAFFIC });
    const { code, out } = await planIn(folder, ...GOALS, '--smallest', 'output', '--json');
    expect(code).toBe(0);
    const { limits, factor = 0, dimension, missed } = JSON.parse(out) as SmallestReport;
    expect(dimension).toBe('output');
    const { requestsPerMinute, inputTokensPerMinute, outputTokensPerMinute = 0 } = limits[0] ?? {};
    expect({ requestsPerMinute, inputTokensPerMinute }).toEqual({
      requestsPerMinute: LIMITS.requestsPerMinute,
      inputTokensPerMinute: LIMITS.inputTokensPerMinute,
    });
    expect(outputTokensPerMinute).toBe(Math.ceil(LIMITS.outputTokensPerMinute * factor));
    // 2 calls a second of 300 tokens: 36,000 a minute.
    expect(outputTokensPerMinute).toBeGreaterThan(36_000);
    expect(missed?.factor).toBeCloseTo(0.95 * factor, 10);
    const play = (output: number) =>
      reportOf({ account: [bucket({ ...LIMITS, outputTokensPerMinute: output })] }, TRAFFIC, ...GOALS);
    expect((await play(outputTokensPerMinute)).code).toBe(0);
    expect((await play(Math.ceil(0.95 * factor * LIMITS.outputTokensPerMinute))).code).toBe(1);
    const input = await planIn(
      folderWith({
        'headgate.yaml': { account: [bucket({ ...LIMITS, outputTokensPerMinute: 5_000 })] },
        'traffic.yaml': TRAFFIC,
      }),
      ...GOALS,
      '--smallest',
      'input',
    );
    expect([input.code, input.out]).toEqual([
      1,
      expect.stringContaining(
        'no input limits meet the goals, up to 64 times those given, the others as they are',
      ),
    ]);
  }, 60_000);

  it('names the smallest published tier that meets the goals', async () => {
    const told = async (limits: object, calls: object) => {
      const folder = folderWith({
        'headgate.yaml': { account: [bucket(limits)] },
        'traffic.yaml': { duration: '1m', calls: [even(calls)] },
      });
      return (await planIn(folder, '--goal', 'refused < 1%', '--goal', 'p95 < 500ms', '--smallest')).out;
    };
    // 900 requests a minute, and 1,200: Start has 1,000.
    const rate = (amount: number) => ({
      users: 100,
      arrivals: { shape: 'steady', rate: `${amount}/second` },
    });
    expect(await told(LIMITS, rate(15))).toMatch(
      /tier that meets the goals: Start \(as of \d{4}-\d\d-\d\d\)/,
    );
    expect(await told(LIMITS, rate(20))).toContain('tier that meets the goals: Build');
    // Of some models nothing is published, and then no tier is named.
    expect(tiersOf(['claude-sonnet-4-*', 'claude-sonnet-5-5*'])).toBeUndefined();
    expect(tiersOf(['claude-fable-5-2'])?.map(({ inputTokensPerMinute }) => inputTokensPerMinute)).toEqual([
      500_000, 1_500_000, 4_000_000,
    ]);
  }, 60_000);
});
