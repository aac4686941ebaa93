import type { Answer } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectionTo } from '../../../packages/redis/src/connection.ts';
import { SCHEMA } from '../../../packages/redis/src/keys.ts';
import { Releases } from '../../../packages/redis/src/releases.ts';
import { Peer } from '../../../packages/testing/src/store/exchanges.ts';
import { noRedis, type RedisServer, startRedis } from '../../support/redis.ts';

const LIMITS = { requests: 600, inputTokens: 60_000, concurrency: 10, burst: 0.1 };
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

describe.skipIf(noRedis())('processes of a release that keeps something else in Redis', () => {
  let server: RedisServer;
  let prefix: string;
  let next = 0;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server?.stop());

  const open = (name: string) => {
    const store = redisStore({ client: server.connect(), prefix, timeoutMs: 5_000 });
    return { store, peer: new Peer(store, 'bucket', name) };
  };
  const refillOf = ({ levels }: Answer) => Math.round((levels.requests?.ratePerMs ?? 0) * 60_000);
  /** Until a process has heard of the others, and told its ledger. */
  async function untilRefillIs(perMinute: number, ...peers: Peer[]) {
    let told: number | undefined;
    for (let n = 0; n < 60; n++) {
      for (const peer of peers) told = refillOf(await peer.tell());
      if (told === perMinute) return;
      await pause(50);
    }
    expect(told).toBe(perMinute);
  }

  it('share the limits with it, each by its processes', async () => {
    prefix = `releases-${process.pid}-${next++}`;
    const { peer: one } = open('one');
    const first = await one.tell({ limits: LIMITS });
    expect(first.levels.requests?.perMinute).toBe(600);
    expect(first.concurrency).toBe(10);

    const another = new Releases(connectionTo(server.connect()), prefix, SCHEMA + 1);
    await another.meet('another');
    await untilRefillIs(300, one);
    const shared = await one.tell();
    expect(shared.levels.inputTokens?.capacity).toBe(3_000);
    // The process knows all of the limit, and all who share it.
    expect(shared.levels.inputTokens?.perMinute).toBe(60_000);
    expect(shared.processes).toBe(2);
    expect(shared.concurrency).toBe(5);

    // Who comes later has its share from the first message on.
    const { peer: two } = open('two');
    const answer = await two.tell({ limits: LIMITS });
    expect(refillOf(answer)).toBeLessThanOrEqual(400);
    await untilRefillIs(400, one, two);
    // And so has a limit that is changed.
    await one.tell({ limits: { ...LIMITS, requests: 300 } });
    expect(refillOf(await two.tell())).toBe(200);
    await one.tell({ limits: LIMITS });

    // Ten seconds after it was last heard of.
    const admin = server.connect();
    const key = `{${prefix}:releases}`;
    const member = `${SCHEMA + 1} another`;
    await admin.zadd(key, Number(await admin.zscore(key, member)) - 10_000, member);
    await untilRefillIs(600, one, two);
  });

  it('take nothing where there are none, and are no trouble where they cannot be told', async () => {
    prefix = `releases-${process.pid}-${next++}`;
    // What lies there is not what is expected.
    await server.connect().set(`{${prefix}:releases}`, 'something else');
    const { peer } = open('one');
    for (let n = 0; n < 3; n++)
      expect((await peer.tell({ limits: LIMITS })).levels.requests?.perMinute).toBe(600);
  });

  it('are told of the same share when a message is said again', async () => {
    prefix = `releases-${process.pid}-${next++}`;
    const client = server.connect();
    const own = new Releases(connectionTo(client), prefix, SCHEMA);
    await own.meet('one');
    await new Releases(connectionTo(server.connect()), prefix, SCHEMA + 1).meet('another');
    const { peer } = open('one');
    await peer.tell({ limits: LIMITS });
    const said = peer.last;
    if (said === undefined) throw new Error('nothing was said');
    expect(own.shared('bucket', said)).toBe(said);
    await pause(1_000);
    await own.meet('one');
    await pause(100);
    expect(own.shared('bucket', said)).toBe(said);
    const { limits: _, ...later } = said;
    expect(own.shared('bucket', later).limits?.requests).toBe(300);
    expect(own.shared('bucket', { ...later }).limits).toBeUndefined();
  });
});
