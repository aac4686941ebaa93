import type { Store } from '@headgate/core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { noRedis, type RedisServer, startRedis } from '../../support/redis.ts';
import { SetClock } from './clocked.ts';
import { actions, limits } from './reference/actions.ts';
import { Fleet } from './reference/fleet.ts';

/** A slow machine that others use too runs them in it; MODEL_RUNS has more of them run. */
const TIMEOUT_MS = 120_000 + 200 * Number(process.env.MODEL_RUNS ?? 0);

/** What a store answers is what the contract promises: see reference/history.ts. */
function testContract(create: (clock: SetClock) => Store, runs: number): void {
  it(
    'answers what the contract promises, whatever happens to a fleet',
    async () => {
      const seen = new Map<string, number>();
      const fleets = fc.array(limits, { minLength: 3, maxLength: 3 });
      await fc.assert(
        fc.asyncProperty(fleets, actions, async (configured, what) => {
          const clock = new SetClock();
          const store = create(clock);
          const fleet = new Fleet(store, clock, configured);
          for (const each of what) await fleet.act(each);
          await store.close();
          for (const { answer } of fleet.history)
            for (const result of answer.results) {
              const kind = result.type === 'granted' ? 'granted' : `${result.type}: ${result.reason}`;
              seen.set(kind, (seen.get(kind) ?? 0) + 1);
            }
        }),
        { numRuns: Number(process.env.MODEL_RUNS ?? runs) },
      );
      // What never happens is not tested.
      for (const kind of [
        'granted',
        'waits: requests_per_minute',
        'waits: input_tokens_per_minute',
        'waits: output_tokens_per_minute',
        'waits: concurrency',
        'waits: upstream_paused',
        'exceeded: concurrency',
        'exceeded: user_quota',
      ])
        expect(seen.get(kind) ?? 0, kind).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );
}

describe('the store in memory', () => {
  testContract((clock) => clock.memory(), 300);
});

describe.skipIf(noRedis())('the store on Redis', () => {
  let server: RedisServer;
  let next = 0;
  let client: ReturnType<RedisServer['connect']>;
  beforeAll(async () => {
    server = await startRedis();
    client = server.connect();
    await new Promise<void>((resolve) => client.once('ready', () => resolve()));
  });
  afterAll(() => server?.stop());
  testContract((clock) => clock.redis(client, `reference-${process.pid}-${Date.now()}-${next++}`), 150);
});
