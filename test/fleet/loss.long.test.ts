import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, it } from 'vitest';
import { type CountingApi, startCountingApi } from '../support/counting-api.ts';
import { until } from '../support/governed.ts';
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts';
import { startWire, type Wire } from './wire.ts';

const PROCESSES = 6;
/** Share of every quota that all processes together give while the store is away. */
const DEGRADED = 0.8;
/** Every answer is as long as it may be, and so is every estimate. */
const OUTPUT = 50;
/** What a call of this file costs. */
const USD = (10 * 3 + OUTPUT * 15) / 1e6;
/** Calls of each user in each process, at once. */
const CALLS = 15;
const quiet = { info() {}, warn() {}, error() {} };
const account = [{ name: 's', models: ['*'], requestsPerMinute: 600_000, burst: 1 }];

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Member {
  ask(user: string): Promise<string>;
  mode(): string | undefined;
  processes(): number | undefined;
}

function join(api: CountingApi, url: string, config: ConfigInput): Member {
  const client = new Redis(url, { maxRetriesPerRequest: 0, retryStrategy: () => 100 });
  client.on('error', () => {});
  const store = redisStore({ client, prefix: 'loss' });
  const governor = createGovernor({ config: { account, ...config }, store, logger: quiet });
  cleanups.push(async () => {
    await governor.close({ drainMs: 0 });
    client.disconnect();
  });
  const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: api.url }));
  const bucket = () => governor.snapshot().buckets[0]?.fleet;
  return {
    mode: () => bucket()?.mode,
    processes: () => bucket()?.processes,
    ask: (user) =>
      governor
        .run({ user }, () =>
          claude.messages.create({
            model: 'claude-sonnet-4-6',
            max_tokens: OUTPUT,
            messages: [{ role: 'user', content: 'hello' }],
            metadata: { user_id: user },
          }),
        )
        .then(
          () => 'ok',
          (error: { code?: string; reason?: string }) => `${error.code}/${error.reason}`,
        ),
  };
}

/** Six processes that know each other, before an API that counts. */
async function startFleet(url: string, config: ConfigInput, delayMs = 5) {
  const api = await startCountingApi({ delayMs, outputTokens: OUTPUT });
  cleanups.push(() => api.stop());
  const members = Array.from({ length: PROCESSES }, () => join(api, url, config));
  // What answers cost is known: as many have come.
  for (let n = 0; n < 3; n++)
    await Promise.all(members.flatMap((member) => Array.from({ length: 8 }, () => member.ask('warm'))));
  await until(
    () => members.every((member) => member.processes() === PROCESSES && member.mode() === 'shared'),
    10_000,
  );
  return { api, members };
}

const WAYS: Record<string, (redis: RedisServer, wire: Wire) => Promise<() => unknown>> = {
  'is stopped': async (redis) => {
    redis.process?.kill('SIGSTOP');
    return () => redis.process?.kill('SIGCONT');
  },
  'answers nobody': async (redis) => {
    await redis.connect().call('CLIENT', 'PAUSE', '60000', 'ALL');
    return () => {};
  },
  'is behind a wire that went silent': async (_redis, wire) => {
    wire.isBlocked = true;
    return () => {
      wire.isBlocked = false;
    };
  },
};

describe.skipIf(noRedis())('a fleet whose Redis', () => {
  it.each(Object.entries(WAYS))(
    '%s gives no quota beyond its share, to those that wait neither',
    async (_, lose) => {
      const redis = await startRedis({ own: true });
      cleanups.push(() => redis.stop());
      const wire = await startWire(redis.port);
      cleanups.push(() => wire.stop());
      const { api, members } = await startFleet(wire.url, {
        quotas: [
          { name: 'requests', when: { user: 'r*' }, requests: '50/day' },
          { name: 'money', when: { user: 'm*' }, usd: `${20 * USD}/day` },
          { name: 'slots', when: { user: 's*' }, concurrency: 3, onExceed: 'wait' },
        ],
      });
      const back = await lose(redis, wire);
      cleanups.push(back);
      // All at once, while everybody still takes the store to be there.
      const outcomes = await Promise.all(
        members.flatMap((member) =>
          Array.from({ length: CALLS }, () => [member.ask('r1'), member.ask('m1'), member.ask('s1')]).flat(),
        ),
      );
      expect(members.map((member) => member.mode())).toEqual(new Array(PROCESSES).fill('degraded'));
      expect(new Set(outcomes)).toEqual(
        new Set(['ok', 'quota_exceeded/user_quota', 'quota_exceeded/budget']),
      );
      // One request, and one call at a time, are within the share of each.
      expect(api.of('r1').calls).toBeLessThanOrEqual(DEGRADED * 50);
      expect(api.of('r1').calls).toBeGreaterThanOrEqual(DEGRADED * 50 - PROCESSES);
      expect(api.of('m1').usd).toBeLessThanOrEqual(DEGRADED * 20 * USD);
      expect(api.of('s1').most).toBeLessThanOrEqual(PROCESSES);
      expect(api.of('s1').calls).toBe(CALLS * PROCESSES);
    },
    30_000,
  );
});
