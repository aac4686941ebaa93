import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { afterEach, describe, expect, it } from 'vitest';
import { listen } from '../support/listen.ts';
import { noRedis } from '../support/redis.ts';
import { storesOf } from './stores-of.ts';

const PER_SECOND = 30;
const PROCESSES = 3;
const CALLS = 75;
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** An API that refuses for growth what is more than so many in a second, and says nothing of limits. */
async function startApi() {
  const attempts: { at: number; isRefused: boolean }[] = [];
  const url = await listen(async (request, response) => {
    for await (const _ of request);
    const at = performance.now();
    const recent = attempts.filter((each) => !each.isRefused && each.at > at - 1_000);
    const isRefused = recent.length >= PER_SECOND;
    attempts.push({ at, isRefused });
    const error = { type: 'rate_limit_error', message: 'x', details: { error_code: 'ramp_limit_exceeded' } };
    const message = { id: 'm', type: 'message', role: 'assistant', content: [], stop_reason: 'end_turn' };
    response.writeHead(isRefused ? 429 : 200, {
      'content-type': 'application/json',
      ...(isRefused ? { 'retry-after': '1' } : {}),
    });
    response.end(
      JSON.stringify(
        isRefused ? { type: 'error', error } : { ...message, usage: { input_tokens: 9, output_tokens: 9 } },
      ),
    );
  });
  return { url, attempts };
}

describe.each(['memory', 'redis'] as const)('processes on one %s store', (kind) => {
  it.skipIf(kind === 'redis' && noRedis())(
    'all slow down where the API refuses one of them for growth (was: each went on at once after the pause)',
    async () => {
      const { url, attempts } = await startApi();
      const makeStore = await storesOf(kind, cleanups);
      const fleet = Array.from({ length: PROCESSES }, () => {
        const config = { account: [{ name: 's', models: ['*'], requestsPerMinute: 6_000, burst: 1 }] };
        const logger = { info() {}, warn() {}, error() {} };
        const governor = createGovernor({ config, store: makeStore(), logger });
        cleanups.push(() => governor.close({ drainMs: 100 }));
        return { governor, claude: governor.govern(new Anthropic({ apiKey: 'k', baseURL: url })) };
      });
      await Promise.all(
        Array.from({ length: CALLS }, async (_, n) => {
          const { governor, claude } = fleet[n % PROCESSES] as (typeof fleet)[number];
          const messages = [{ role: 'user' as const, content: 'hello' }];
          await governor.run({ user: `user ${n % 9}`, deadlineMs: 30_000 }, () =>
            claude.messages.create({ model: 'claude-sonnet-4-6', max_tokens: 50, messages }),
          );
        }),
      );
      const refusals = attempts.filter(({ isRefused }) => isRefused);
      // Those of the first volley: nobody knew.
      expect(refusals.length).toBeLessThanOrEqual(CALLS - PER_SECOND + 2);
      const [first] = refusals;
      const later = attempts.filter(({ at }) => at > (first?.at ?? 0) + 900);
      expect(later.length).toBeGreaterThan(20);
      for (const { at: from } of later)
        expect(
          later.filter(({ at }) => at >= from && at < from + 500).length,
          'of all processes, at half of what was borne',
        ).toBeLessThanOrEqual(0.8 * PER_SECOND);
      for (const { governor } of fleet)
        expect(governor.snapshot().buckets[0]?.pacePerMinute).toBeLessThan(60 * PER_SECOND);
    },
  );
});
