import { readFile } from 'node:fs/promises';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { describe, expect, it, onTestFinished } from 'vitest';
import { instantFetch, MODEL, WIDE_ACCOUNT } from '../support/instant-fetch.ts';
import { startTelemetry } from '../support/telemetry.ts';

const QUESTIONS = new URL('../../packages/core/docs/questions.md', import.meta.url);
const TIERS = ['free', 'paid', 'staff'];

/** Governed calls at full speed, on an SDK with its own bound of 2,000 series to an instrument. */
function setUp(account = WIDE_ACCOUNT) {
  const { metrics, meterProvider, collect } = startTelemetry();
  const governor = createGovernor({
    config: { account, quotas: [{ name: 'per-user', requests: '100M/minute' }] },
    meterProvider,
  });
  onTestFinished(() => governor.close({ drainMs: 0 }));
  const claude = governor.govern(
    new Anthropic({ apiKey: 'k', baseURL: 'http://api.invalid', fetch: instantFetch }),
  );
  const call = (user: string, tier: string, lane: string, model = MODEL) =>
    governor.run({ user, tier, lane }, () =>
      claude.messages.create({ model, max_tokens: 200, messages: [{ role: 'user', content: 'hi' }] }),
    );
  /** Series by metric, and of how many the SDK has lost count. */
  const series = async () => {
    await collect();
    const counts = metrics.names().map((name) => [name, metrics.points(name).length] as const);
    const overflows = metrics
      .names()
      .filter((name) => metrics.points(name).some(({ attributes }) => attributes['otel.metric.overflow']));
    return { counts: Object.fromEntries(counts), overflows };
  };
  return { call, series };
}

describe('the number of series', () => {
  it('is the same for a hundred thousand users as for twelve', async () => {
    const { call, series } = setUp();
    const callers = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => from + i).map((i) =>
        call(`user-${i}`, TIERS[i % 3] ?? '', i % 2 === 0 ? 'interactive' : 'background'),
      );
    await Promise.all(callers(0, 12));
    const before = await series();
    for (let from = 12; from < 100_000; from += 500)
      await Promise.all(callers(from, Math.min(100_000, from + 500)));
    const after = await series();
    expect(after.overflows).toEqual([]);
    const sum = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0);
    expect(after.counts).toEqual(before.counts);
    // The documentation says how many that is.
    expect(await readFile(QUESTIONS, 'utf8')).toContain(`the same ${sum(after.counts)} series`);
  });

  it('is bounded, and nothing overflows, were every tier and every model another one', async () => {
    const { call, series } = setUp(WIDE_ACCOUNT.map((bucket) => ({ ...bucket, models: ['model-*'] })));
    for (let from = 0; from < 5_000; from += 500) {
      const some = Array.from({ length: 500 }, (_, i) => from + i);
      await Promise.all(some.map((i) => call(`user-${i}`, `tier-${i}`, 'interactive', `model-${i % 777}`)));
    }
    const { counts, overflows } = await series();
    expect(overflows).toEqual([]);
    expect(Math.max(...Object.values(counts))).toBeLessThanOrEqual(2 * 65);
  });
});
