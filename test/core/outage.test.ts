import { describe, expect, it } from 'vitest';
import { LATENCY_MS, troubledWorld } from '../support/troubled-world.ts';

const ACCOUNT = [
  { name: 's', models: ['claude-sonnet-*'], requestsPerMinute: 15_000 },
  { name: 'h', models: ['claude-haiku-*'], requestsPerMinute: 15_000 },
];

describe('an outage of a minute, under 200 calls a second', () => {
  const outage = (at: number) => at >= 20_000 && at < 80_000;

  it('is not made larger, and is over soon after it ends', async () => {
    const { load, attempts, outcomes, between, end } = troubledWorld({ account: ACCOUNT }, (at) => ({
      status: outage(at) ? 529 : 200,
      ms: outage(at) ? 50 : LATENCY_MS,
    }));
    await load(200, 140_000);
    const calls = between(outcomes, 20_000, 80_000).length;
    const during = between(attempts, 20_000, 80_000).length;
    expect(calls).toBeGreaterThan(11_000);
    expect(during / calls).toBeLessThanOrEqual(1.2);
    // The breaker holds back nearly all of it.
    expect(during).toBeLessThan(1_500);

    // Full speed: every call of a second is answered. It comes within forty seconds, and stays.
    const recovered = (from: number) =>
      between(outcomes, from, from + 1_000).every(({ status }) => status === 200);
    let at = 80_000;
    while (!recovered(at)) at += 1_000;
    expect(at - 80_000).toBeLessThanOrEqual(40_000);
    for (let second = 121_000; second < 138_000; second += 1_000) expect(recovered(second)).toBe(true);

    // No burst above the limit, at any time: 250 a second, and a tenth of a minute at once.
    for (const { at: from } of attempts.filter((_, i) => i % 50 === 0)) {
      expect(between(attempts, from, from + 1_000).length).toBeLessThanOrEqual(1_500 + 250);
    }
    await end();
  }, 60_000);

  it('is hardly seen with a fallback', async () => {
    const { load, outcomes, between, end, clock } = troubledWorld(
      { account: ACCOUNT, fallbacks: { 'claude-sonnet-*': ['claude-haiku-4-5'] } },
      (at, model) => ({ status: outage(at) && model.includes('sonnet') ? 529 : 200 }),
    );
    await load(200, 100_000);
    await clock.advance(5_000);
    const calls = between(outcomes, 20_000, 80_000);
    const answered = calls.filter(({ status }) => status === 200).length;
    expect(answered / calls.length).toBeGreaterThanOrEqual(0.99);
    await end();
  }, 60_000);
});

describe('a limit halved without notice', () => {
  it('is met by those in flight and no more: one cooldown, and no rush after it', async () => {
    // The API's own bucket: 200 a second, from 20 s on 100, six seconds deep.
    let level = 1_200;
    let at = 0;
    const { load, attempts, outcomes, between, end } = troubledWorld(
      { account: [{ name: 's', models: ['*'], requestsPerMinute: 12_000 }] },
      (now) => {
        const perMs = now < 20_000 ? 0.2 : 0.1;
        level = Math.min(perMs * 6_000, level + perMs * (now - at));
        at = now;
        const limit = String(perMs * 60_000);
        if (level < 1) {
          const wait = Math.ceil((1 - level) / perMs / 1_000);
          return {
            status: 429,
            ms: 30,
            headers: {
              'retry-after': String(wait),
              'anthropic-ratelimit-requests-limit': limit,
              'anthropic-ratelimit-requests-remaining': '0',
            },
          };
        }
        level -= 1;
        return {
          status: 200,
          headers: {
            'anthropic-ratelimit-requests-limit': limit,
            'anthropic-ratelimit-requests-remaining': String(Math.floor(level)),
          },
        };
      },
    );
    await load(180, 60_000);
    const refused = attempts.filter(({ status }) => status === 429);
    // 180 a second for 0.4 s each, and what is sent until the first word of it is back.
    expect(refused.length).toBeLessThanOrEqual(180 * 0.45);
    const after = between(attempts, 25_000, 60_000);
    const mean = after.length / 350;
    const most = Math.max(
      ...Array.from({ length: 350 }, (_, i) => between(after, 25_000 + i * 100, 25_100 + i * 100).length),
    );
    expect(most).toBeLessThanOrEqual(3 * mean);
    expect(between(outcomes, 30_000, 58_000).some(({ status }) => status === 429)).toBe(false);
    expect(after.length / 35).toBeGreaterThan(90);
    await end();
  }, 60_000);
});

describe('a limit halved without notice, by an API that tells no limits at all', () => {
  it('is met by those in flight, and then kept to as nearly as trying can tell', async () => {
    // As above, for a provider whose answers have no headers of that kind.
    let level = 1_200;
    let at = 0;
    const { load, attempts, between, end } = troubledWorld(
      { account: [{ name: 's', models: ['*'], requestsPerMinute: 12_000 }] },
      (now) => {
        const perMs = now < 20_000 ? 0.2 : 0.1;
        level = Math.min(perMs * 6_000, level + perMs * (now - at));
        at = now;
        if (level < 1) {
          const wait = Math.ceil((1 - level) / perMs / 1_000);
          return { status: 429, ms: 30, headers: { 'retry-after': String(wait) } };
        }
        level -= 1;
        return { status: 200 };
      },
    );
    await load(180, 120_000);
    const refused = attempts.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    // Each time that it is tried: what is sent until the first word of it is back. There were ten thousand once.
    expect(refused.length).toBeLessThanOrEqual(40);
    const after = between(attempts, 30_000, 120_000);
    expect(after.length / 90).toBeGreaterThan(70);
    const mean = after.length / 900;
    const most = Math.max(
      ...Array.from({ length: 900 }, (_, i) => between(after, 30_000 + i * 100, 30_100 + i * 100).length),
    );
    expect(most).toBeLessThanOrEqual(3 * mean);
    await end();
  }, 60_000);
});
