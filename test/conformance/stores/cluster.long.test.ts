import type { Answer } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { testStore } from '@headgate/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { baseOf, SCHEMA } from '../../../packages/redis/src/keys.ts';
import { Peer } from '../../../packages/testing/src/store/exchanges.ts';
import { noRedis, type RedisServer, startRedis } from '../../support/redis.ts';
import { CLUSTERS, type Connected } from '../../support/redis-clients.ts';

const MASTERS = 3;
const SLOTS = 16_384;
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (let n = 0; n < 200; n++) {
    if (await isSo().catch(() => false)) return;
    await pause(100);
  }
  throw new Error(`${what}: not in time`);
}

/** Three masters on this machine, each with a third of the slots, and a replica of each. */
async function startCluster() {
  const args = [
    '--cluster-enabled',
    'yes',
    '--cluster-node-timeout',
    '1000',
    '--repl-diskless-sync-delay',
    '0',
  ];
  const nodes = await Promise.all(Array.from({ length: 2 * MASTERS }, () => startRedis({ own: true, args })));
  const admins = nodes.map((node) => node.connect());
  const info = async (n: number) => String(await admins[n]?.cluster('INFO'));
  for (const [n, admin] of admins.entries()) {
    if (n >= MASTERS) continue;
    const first = Math.ceil((n * SLOTS) / MASTERS);
    const next = Math.ceil(((n + 1) * SLOTS) / MASTERS);
    await admin.cluster('ADDSLOTS', ...Array.from({ length: next - first }, (_, at) => first + at));
  }
  for (const node of nodes.slice(1)) await admins[0]?.cluster('MEET', '127.0.0.1', node.port);
  for (const n of nodes.keys())
    await until(`node ${n} knows all others`, async () =>
      (await info(n)).includes(`cluster_known_nodes:${nodes.length}`),
    );
  for (let n = 0; n < MASTERS; n++) {
    const id = String(await admins[n]?.cluster('MYID'));
    const replica = admins[MASTERS + n];
    await until('a replica of it', async () => (await replica?.cluster('REPLICATE', id)) === 'OK');
  }
  for (const n of nodes.keys())
    await until(`node ${n} is ready`, async () => (await info(n)).includes('cluster_state:ok'));
  return { nodes, admins };
}

describe.skipIf(noRedis()).each(Object.entries(CLUSTERS))(
  'the store on a Redis Cluster by %s',
  (kind, make) => {
    let nodes: RedisServer[] = [];
    let admins: ReturnType<RedisServer['connect']>[] = [];
    const clients: Connected[] = [];
    let next = 0;
    beforeAll(async () => {
      ({ nodes, admins } = await startCluster());
    }, 60_000);
    afterAll(async () => {
      for (const { end } of clients) end();
      await Promise.all(nodes.map((node) => node.stop()));
    });

    const connect = (): Connected['client'] => {
      const connected = make(nodes.map(({ port }) => port));
      clients.push(connected);
      return connected.client;
    };
    const createStore = (prefix: string) =>
      redisStore({ client: connect(), prefix: `${prefix}-${process.pid}-${next++}`, timeoutMs: 5_000 });

    testStore({ it, create: () => createStore('conformance') });

    it('has met all of its nodes', async () => {
      const sizes = await Promise.all(admins.slice(0, MASTERS).map((admin) => admin.dbsize()));
      for (const size of sizes) expect(size).toBeGreaterThan(0);
    });

    it('has no doubts, and every key of a ledger in one slot', async () => {
      const store = createStore('slots');
      await new Peer(store, 'one', 'peer').tell({ limits: { requests: 600 } });
      await new Peer(store, 'other', 'peer').tell({ limits: { requests: 600 } });
      const lists = await Promise.all(
        admins.slice(0, MASTERS).map((admin) => admin.keys(`{slots-*:${SCHEMA}}*`)),
      );
      const keys = lists.flat();
      expect(keys.length).toBeGreaterThanOrEqual(5);
      const slots = await Promise.all(keys.map((key) => admins[0]?.cluster('KEYSLOT', key)));
      expect(new Set(slots).size).toBe(1);
      expect(await store.doubts?.()).toEqual([]);
      await store.close();
    });

    it('is not disturbed by what the app sends at the same time, nor disturbs it', async () => {
      const client = connect();
      const app = client as unknown as { get(key: string): Promise<string | null> };
      // Ledgers in slots of each node.
      for (let round = 0; round < 12; round++) {
        const store = redisStore({ client, prefix: `app-${process.pid}-${next++}`, timeoutMs: 5_000 });
        const peer = new Peer(store, 'bucket', 'peer');
        await peer.tell({ limits: { requests: 600 } });
        const keys = Array.from({ length: 20 }, (_, n) => `app-${round}-${n}`);
        const [answer, ...values] = await Promise.all([peer.tell(), ...keys.map((key) => app.get(key))]);
        expect(answer.processes).toBe(1);
        expect(values).toEqual(keys.map(() => null));
        await store.close();
      }
    });

    // The cluster client of redis 5 asks nobody for the new master as long as the old one does not answer.
    it.runIf(kind !== 'redis 5')(
      'goes on from what the replica has when the master of its slot ends',
      async () => {
        const prefix = `failover-${process.pid}`;
        const store = redisStore({ client: connect(), prefix, timeoutMs: 1_000 });
        const peer = new Peer(store, 'bucket', 'peer');
        const limits = { requests: 600, burst: 0.1 };
        const before = await peer.tell({
          limits,
          charges: { requests: 50, inputTokens: 0, outputTokens: 0 },
          holds: { inputTokens: 0, calls: 1, variance: 0 },
        });
        const sizes = await Promise.all(
          admins.slice(0, MASTERS).map((admin) => admin.keys(`${baseOf(prefix)}*`)),
        );
        const owner = sizes.findIndex((keys) => keys.length > 0);
        const copies = () => Promise.all(admins.slice(MASTERS).map((admin) => admin.dbsize()));
        await until('its replica has it', async () => ((await copies())[owner] ?? 0) > 0);
        await pause(200);
        await nodes[owner]?.stop();
        const startedAt = performance.now();
        let answer: Answer | undefined;
        let isSaid = false;
        await until('an answer of the replica', async () => {
          // As a line does: what was not answered is said again.
          const saying = isSaid ? peer.again() : peer.tell();
          isSaid = true;
          answer = await saying;
          return true;
        });
        console.log({ backAfterMs: Math.round(performance.now() - startedAt) });
        expect(answer?.isUnknown).toBe(false);
        const passed = (answer?.now ?? 0) - before.now;
        const expected = Math.min(60, (before.levels.requests?.level ?? 0) + (600 / 60_000) * passed);
        expect(answer?.levels.requests?.level).toBeCloseTo(expected, 1);
        await store.close();
      },
      60_000,
    );
  },
);
