import { redisStore } from '@headgate/redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dayQuota, Peer } from '../../packages/testing/src/store/exchanges.ts';
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts';

const USERS = Number(process.env.FLEET_USERS ?? 1_000_000);
const AT_ONCE = 50;

describe.skipIf(noRedis())('the memory that a fleet takes in Redis', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis({ own: true });
  });
  afterAll(() => server?.stop());

  it('is that of the users of now', async () => {
    const admin = server.connect();
    const store = redisStore({ client: server.connect(), prefix: 'memory', timeoutMs: 10_000 });
    const peer = new Peer(store, 'bucket', 'peer');
    const limits = { requests: 1e9, burst: 1 };
    const { now } = await peer.tell({ limits });
    const used = async () => Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1]);
    const before = await used();
    const beginsAt = performance.now();
    for (let user = 0; user < USERS; user += AT_ONCE) {
      await peer.tell({
        limits,
        candidates: Array.from({ length: AT_ONCE }, (_, n) =>
          peer.call({
            user: `a-user-by-its-hash-${user + n}`.slice(0, 22),
            quotas: [
              {
                ...dayQuota(`a-quota-of-a-user-by-its-hash-of-43-bytes-${user + n}`, 5, now),
                meters: [
                  {
                    name: 'requests',
                    amount: 1,
                    quota: 60,
                    kind: 'continuous',
                    capacity: 60,
                    ratePerMs: 1 / 1_000,
                  },
                ],
              },
            ],
          }),
        ),
      });
    }
    // What was there at once: those that came in the last minute, and none before.
    const seconds = (performance.now() - beginsAt) / 1_000;
    const keys = await admin.dbsize();
    const perQuota = ((await used()) - before) / keys;
    // A tenth of them goes on waiting, or the lane would begin afresh and forget them all.
    const waiting = Array.from({ length: 1_000 }, (_, n) =>
      peer.call({ user: `waiting-user-no-${n}`.padEnd(22, 'x'), isQueued: true, cost: 1e6 }),
    );
    await peer.tell({ limits: { ...limits, concurrency: 900 }, users: 1_000, candidates: waiting });
    const bucket = `{memory:1}:b:${await bucketHash(admin)}`;
    const tags = await admin.memory('USAGE', `${bucket}:tags:interactive`);
    const state = await admin.memory('USAGE', bucket);
    console.log({
      users: USERS,
      seconds: Math.round(seconds),
      keysAtTheEnd: keys,
      bytesPerQuota: Math.round(perQuota),
      bytesPerServedUser: Math.round((tags ?? 0) / 900),
      bytesOfBucketWithOneProcess: state,
    });
    expect(perQuota).toBeLessThan(600);
    expect((tags ?? 0) / 900).toBeGreaterThan(20);
    expect((tags ?? 0) / 900).toBeLessThan(200);
    // Calls in flight hold a slot of their quota: the process says that they have ended by being gone.
    await peer.tell({ holds: { inputTokens: 0, calls: 0, variance: 0 } });
    await store.close();
  }, 400_000);

  it('is nothing when their windows are over', async () => {
    const admin = server.connect();
    await admin.flushall();
    const store = redisStore({ client: server.connect(), prefix: 'idle', timeoutMs: 10_000 });
    const peer = new Peer(store, 'bucket', 'peer');
    await peer.tell({ limits: { requests: 1e9, burst: 1 } });
    const meters = [
      { name: 'requests', amount: 1, quota: 60, kind: 'continuous' as const, capacity: 60, ratePerMs: 1 },
    ];
    for (let user = 0; user < USERS; user += AT_ONCE) {
      const keys = Array.from({ length: AT_ONCE }, (_, n) => `quota-${user + n}`);
      const ask = (key: string) => ({ key, onExceed: 'refuse' as const, isHeld: false, meters });
      await peer.tell({ candidates: keys.map((key) => peer.call({ user: key, quotas: [ask(key)] })) });
      await peer.tell({
        quotas: keys.map((key) => ({ key, slots: -1, meters: [] })),
      });
    }
    expect(await admin.dbsize()).toBeGreaterThan(1_000);
    await new Promise((resolve) => setTimeout(resolve, 75_000));
    const left = await admin.keys('*');
    console.log({ left: left.map((key) => key.replace(/b:[^:]+/, 'b:…')) });
    expect(left.length).toBeLessThanOrEqual(4);
    await store.close();
  }, 400_000);
});

async function bucketHash(admin: { keys(pattern: string): Promise<string[]> }): Promise<string> {
  const [side] = await admin.keys('*:side');
  return /:b:([^:]+):side/.exec(side ?? '')?.[1] ?? '';
}
