import { describe, expect, it } from 'vitest';
import type { RealReport } from '../../packages/cli/src/plan/ways.ts';
import { bucket, folderWith, planIn } from './support.ts';

const SERVICE = { firstToken: '500ms', tokensPerSecond: 80, network: '20ms' };
const LANES = {
  interactive: { weight: 8, guarantee: 0.5, maxWait: '20s' },
  background: { weight: 1, guarantee: 0.05, reserve: 0.15, maxWait: '2m', maxQueuedPerUser: 1_000 },
};

const drawn = (name: string, more: object) => ({
  name,
  lane: 'interactive',
  users: 40,
  model: 'claude-sonnet-4-6',
  input: { mean: 600, spread: 0.5 },
  output: { mean: 120, spread: 0.6 },
  maxTokens: 1_000,
  ...more,
});

/** Each has a lane whose p95 wait is seconds, so that a share of it means something. */
const SCENARIOS = {
  'steady calls, and bursts that have to queue': {
    limits: { requestsPerMinute: 360, inputTokensPerMinute: 1_000_000, outputTokensPerMinute: 200_000 },
    calls: [
      drawn('chat', { arrivals: { shape: 'poisson', rate: '3/second' } }),
      drawn('launch', { arrivals: { shape: 'cron', every: '25s', at: '3s', calls: 90, within: '2s' } }),
    ],
    waits: ['interactive'],
  },
  'more output than the limit lets through': {
    limits: { requestsPerMinute: 2_000, inputTokensPerMinute: 1_000_000, outputTokensPerMinute: 45_000 },
    calls: [
      drawn('chat', { arrivals: { shape: 'poisson', rate: '5/second' }, output: { mean: 220, spread: 0.6 } }),
    ],
    waits: ['interactive'],
  },
  'an import in the background, beside people': {
    limits: { requestsPerMinute: 1_000, inputTokensPerMinute: 300_000, outputTokensPerMinute: 60_000 },
    calls: [
      drawn('chat', { arrivals: { shape: 'poisson', rate: '3/second' } }),
      drawn('import', {
        lane: 'background',
        users: 2,
        arrivals: { shape: 'burst', at: '5s', calls: 150, within: '2s' },
        input: { mean: 2_000, spread: 0.4 },
        output: { mean: 150, spread: 0.4 },
        streaming: 0,
      }),
    ],
    waits: ['background'],
  },
} as const;

describe('the model of headgate plan, against calls over HTTP', () => {
  for (const [name, { limits, calls, waits }] of Object.entries(SCENARIOS))
    it(`${name}: use within 2 points, p95 within 15 %`, async (context) => {
      const folder = folderWith({
        'headgate.yaml': { account: [bucket(limits)], lanes: LANES },
        'traffic.yaml': { duration: '55s', service: SERVICE, calls },
      });
      const { out } = await planIn(folder, '--real', '--json');
      const { model, real, differences, machine } = JSON.parse(out) as RealReport;
      for (const { bucket: of, kind, model: share, real: truth, points } of differences.used)
        console.log(
          `${of} ${kind}: ${(100 * share).toFixed(1)} % and ${(100 * truth).toFixed(1)} %, ${points.toFixed(2)} points`,
        );
      for (const { lane, modelMs, realMs, percent } of differences.p95)
        console.log(
          `${lane} p95: ${modelMs.toFixed(0)} and ${realMs.toFixed(0)} ms, ${percent?.toFixed(1) ?? '–'} %`,
        );
      console.log(
        `refused: ${JSON.stringify(model.all.refused)} and ${JSON.stringify(real.all.refused)}; 429s: ${model.refusals429} and ${real.refusals429}; ${JSON.stringify(machine)}`,
      );
      if (machine.isVoid !== undefined) context.skip(machine.isVoid);
      expect(real.all.calls).toBe(model.all.calls);
      for (const { points } of differences.used) expect(Math.abs(points)).toBeLessThanOrEqual(2);
      for (const lane of waits) {
        const found = differences.p95.find((each) => each.lane === lane);
        expect(found?.realMs).toBeGreaterThan(2_000);
        expect(Math.abs(found?.percent ?? Number.POSITIVE_INFINITY)).toBeLessThanOrEqual(15);
      }
    }, 300_000);
});
