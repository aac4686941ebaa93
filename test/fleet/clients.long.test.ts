import type { Answer, Wake } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { afterEach, describe, expect, it } from 'vitest';
import { namesOf } from '../../packages/redis/src/keys.ts';
import { Peer } from '../../packages/testing/src/store/exchanges.ts';
import { freePort, noRedis, startRedis } from '../support/redis.ts';
import { CLIENTS, type Connected, MORE_CLIENTS, SENTINELS } from '../support/redis-clients.ts';
import { testRedisStores } from '../support/redis-conformance.ts';
import { pause } from './harness.ts';
import { MASTER, startReplicaOf, startSentinelOf, startServer } from './replicas.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A store of one process, and what it hears of its bucket. */
function open({ client, end }: Connected) {
  const store = redisStore({ client, prefix: 'clients', timeoutMs: 1_000 });
  const wakes: Wake[] = [];
  const silence = store.listen('bucket', (wake) => wakes.push(wake));
  cleanups.push(async () => {
    silence();
    await store.close();
    end();
  });
  return { store, wakes };
}

/** What was not answered is said again, as a line does it. */
async function insist(peer: Peer, told: Parameters<Peer['tell']>[0] = {}): Promise<Answer> {
  let saying = peer.tell(told);
  for (let n = 0; n < 300; n++) {
    try {
      return await saying;
    } catch {
      await pause(100);
      saying = peer.again();
    }
  }
  return saying;
}

/**
 * One waits for the slot that another has; whether it hears when it is left. Tried until the connection for messages, which comes
 * back by itself, has done so too.
 */
async function hearsOfSlots({ store, wakes }: ReturnType<typeof open>, when: string): Promise<boolean> {
  const limits = { requests: 600, concurrency: 1 };
  for (let round = 0; round < 30; round++) {
    const ends = new Peer(store, 'bucket', `ends ${when} ${round}`);
    const waits = new Peer(store, 'bucket', `waits ${when} ${round}`);
    await insist(ends, { limits, holds: { inputTokens: 0, calls: 1, variance: 0 } });
    await insist(waits, { limits, candidates: [waits.call({ isQueued: true })], users: 1 });
    await insist(ends, {});
    await pause(200);
    await insist(waits, {});
    if (wakes.some((wake) => wake.process === waits.name)) return true;
  }
  return false;
}

testRedisStores(MORE_CLIENTS);

describe.skipIf(noRedis()).each(Object.entries({ ...CLIENTS, ...MORE_CLIENTS }))(
  'a store by %s',
  (_, connect) => {
    it('hears of free slots, also after a Redis that was started anew', async () => {
      const port = await freePort();
      const before = await startRedis({ own: true, port });
      cleanups.push(() => before.stop());
      const fleet = open(connect(`redis://127.0.0.1:${port}`));
      expect(await hearsOfSlots(fleet, 'before')).toBe(true);
      await before.stop();
      await expect(new Peer(fleet.store, 'bucket', 'lost').tell()).rejects.toThrow();
      const after = await startRedis({ own: true, port });
      cleanups.push(() => after.stop());
      expect(await hearsOfSlots(fleet, 'after')).toBe(true);
    });
  },
);

describe.skipIf(noRedis()).each(Object.entries(SENTINELS))(
  'a store that finds its Redis by a sentinel, by %s',
  (_, connect) => {
    it('goes on with the replica when the master ends, and hears of free slots there', async () => {
      const master = await startServer(cleanups);
      const replica = await startReplicaOf(master.port, cleanups);
      const sentinel = await startSentinelOf(master.port, replica.port, cleanups);
      const fleet = open(connect(MASTER, sentinel.port));
      const peer = new Peer(fleet.store, 'bucket', 'peer');
      await insist(peer, { limits: { requests: 600 } });
      expect(await fleet.store.doubts?.()).toEqual([]);
      expect(await hearsOfSlots(fleet, 'before')).toBe(true);
      // Else the process would be taken for one that has ended: messages reach a replica too.
      await insist(peer);
      const alive = `${namesOf('clients', 'bucket').alive}peer`;
      expect(await master.connect().pubsub('NUMSUB', alive)).toEqual([alive, 1]);
      await pause(200);
      await master.stop();
      await insist(peer);
      expect(await hearsOfSlots(fleet, 'after')).toBe(true);
    });
  },
);
