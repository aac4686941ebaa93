import type { Path, QuotaAsk } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { namesOf } from '../../packages/redis/src/keys.ts';
import { Peer } from '../../packages/testing/src/store/exchanges.ts';
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts';
import { pause } from './harness.ts';

const USERS = Number(process.env.FLEET_USERS ?? 1_000_000);
const AT_ONCE = 50;
const PREFIX = 'memory';
const BUCKET = 'bucket';
const LIMITS = { requests: 1e9, inputTokens: 1e12, outputTokens: 1e12, burst: 1 };
/** Names as long as the hashes that a process tells. */
const userOf = (n: number) => `user-${n}`.padEnd(22, 'x');
const keyOf = (n: number) => `quota-${n}`.padEnd(43, 'x');

/** Sixty a minute, and full again a minute after the last. */
const minuteQuota = (n: number, more: Partial<QuotaAsk> = {}): QuotaAsk => ({
  key: keyOf(n),
  onExceed: 'refuse',
  isHeld: false,
  meters: [
    { name: 'requests', amount: 1, quota: 60, kind: 'continuous', capacity: 60, ratePerMs: 1 / 1_000 },
  ],
  ...more,
});

const path: Path = {
  use: Array.from({ length: 20 }, (_, k) => 10 * k + 1),
  variance: Array.from({ length: 20 }, (_, k) => 100 * k + 1),
  most: Array.from({ length: 20 }, (_, k) => 30 * k + 1),
};

const usedBy = async (admin: Redis): Promise<number> =>
  Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1]);

const sizeOf = async (admin: Redis, ...keys: string[]): Promise<number> => {
  const sizes = await Promise.all(keys.map((key) => admin.call('MEMORY', 'USAGE', key, 'SAMPLES', '0')));
  return sizes.reduce<number>((sum, size) => sum + Number(size ?? 0), 0);
};

describe.skipIf(noRedis())('the memory that a fleet takes in Redis', () => {
  let server: RedisServer;
  let admin: Redis;
  beforeAll(async () => {
    server = await startRedis({ own: true });
    admin = server.connect();
  });
  afterAll(() => server?.stop());

  const open = (name: string) =>
    new Peer(redisStore({ client: server.connect(), prefix: PREFIX, timeoutMs: 10_000 }), BUCKET, name);

  it('is so much for a user, a quota and a process, and nothing for a call', async () => {
    const { own } = namesOf(PREFIX, BUCKET);
    const [state, side, tags] = [own, `${own}:side`, `${own}:tags:interactive`];
    const peer = open('peer');
    await peer.tell({ limits: LIMITS });
    const before = await usedBy(admin);
    const beginsAt = performance.now();
    for (let user = 0; user < USERS; user += AT_ONCE) {
      const each = Array.from({ length: AT_ONCE }, (_, n) => user + n);
      await peer.tell({
        candidates: each.map((n) => peer.call({ user: userOf(n), quotas: [minuteQuota(n)] })),
      });
    }
    const seconds = (performance.now() - beginsAt) / 1_000;
    // Beside the bucket's two keys and the processes of this release, and of all.
    const quotas = (await admin.dbsize()) - 4;
    const perQuotaWithCall = ((await usedBy(admin)) - before) / quotas;
    // A call that has ended frees its slot.
    const first = `${namesOf(PREFIX, BUCKET).base}:q:${keyOf(0)}`;
    const withCall = await sizeOf(admin, first);
    await peer.tell({ quotas: [{ key: keyOf(0), slots: -1, meters: [] }] });
    const perHoldOfQuota = withCall - (await sizeOf(admin, first));
    // Of calls in flight the bucket knows how many they are, and no more.
    const calls = (count: number) => ({ inputTokens: 100 * count, calls: count, variance: 1e6 });
    await peer.tell({ holds: calls(1) });
    const withOne = await sizeOf(admin, state);
    await peer.tell({ holds: calls(100_000) });
    const perHold = ((await sizeOf(admin, state)) - withOne) / 100_000;
    // A thousand go on waiting, or the lane would begin afresh and forget who was served.
    const many = Array.from({ length: 1_000 }, (_, n) =>
      peer.call({ user: userOf(n), isQueued: true, cost: 1e6, quotas: [] }),
    );
    await peer.tell({ limits: { ...LIMITS, concurrency: 900 }, users: 1_000, candidates: many });
    const served = await admin.zcard(tags);
    const perServedUser = (await sizeOf(admin, tags)) / served;
    // Ten more, each with calls under way and one that waits.
    const alone = await sizeOf(admin, state, side);
    const others = Array.from({ length: 10 }, (_, n) => open(`process-${n}`.padEnd(22, 'x')));
    for (const other of others) {
      await other.tell({
        limits: { ...LIMITS, concurrency: 900 },
        holds: calls(10),
        path,
        users: 1,
        candidates: [other.call({ isQueued: true, chargesTokens: true, outputTokens: 0, path })],
      });
    }
    const perProcess = ((await sizeOf(admin, state, side)) - alone) / others.length;
    console.log({
      users: USERS,
      seconds: Math.round(seconds),
      perQuotaWithCall: Math.round(perQuotaWithCall),
      perHoldOfQuota,
      perHold,
      served,
      perServedUser: Math.round(perServedUser),
      perProcess: Math.round(perProcess),
      ofBucketWithOneProcess: alone,
    });
    expect(quotas).toBe(USERS);
    expect(perQuotaWithCall).toBeGreaterThan(100);
    expect(perQuotaWithCall).toBeLessThan(500);
    expect(perHoldOfQuota).toBeLessThan(100);
    expect(perHold).toBe(0);
    expect(served).toBe(900);
    expect(perServedUser).toBeGreaterThan(20);
    expect(perServedUser).toBeLessThan(200);
    expect(perProcess).toBeGreaterThan(100);
    expect(perProcess).toBeLessThan(3_000);
  }, 900_000);

  it('is nothing when their windows are over', async () => {
    await admin.flushall();
    const peer = open('peer');
    await peer.tell({ limits: LIMITS });
    const before = await usedBy(admin);
    const beginsAt = performance.now();
    let most = 0;
    for (let user = 0; user < USERS; user += AT_ONCE) {
      const each = Array.from({ length: AT_ONCE }, (_, n) => user + n);
      await peer.tell({
        candidates: each.map((n) => peer.call({ user: userOf(n), quotas: [minuteQuota(n)] })),
      });
      await peer.tell({ quotas: each.map((n) => ({ key: keyOf(n), slots: -1, meters: [] })) });
      if (user % 10_000 === 0) most = Math.max(most, (await usedBy(admin)) - before);
    }
    const seconds = (performance.now() - beginsAt) / 1_000;
    expect(await admin.dbsize()).toBeGreaterThan(1_000);
    await pause(75_000);
    const left = await admin.keys('*');
    const leftBytes = (await usedBy(admin)) - before;
    console.log({
      users: USERS,
      seconds: Math.round(seconds),
      mostBytes: most,
      leftBytes,
      left: left.map((key) => key.replace(/b:[^:]+/, 'b:…')),
    });
    // The bucket's own, and the processes.
    expect(left.length).toBeLessThanOrEqual(4);
    expect(leftBytes).toBeLessThan(1_000_000);
  }, 900_000);
});
