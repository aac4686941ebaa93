import type { Redis } from 'ioredis';
import { afterEach, describe, expect, it } from 'vitest';
import { noRedis, type RedisServer, type RedisServerOptions, startRedis } from '../support/redis.ts';
import { pause } from './harness.ts';
import { expectBorne, suffer } from './suffer.ts';
import { startWire, type Wire } from './wire.ts';

const TIMEOUT_MS = Number(process.env.FLEET_TIMEOUT_MS ?? 250);
const MASTER = 'ledger';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const start = async (options: RedisServerOptions = {}): Promise<RedisServer> => {
  // A replica gets what there is at once.
  const args = options.sentinel === undefined ? ['--repl-diskless-sync-delay', '0'] : [];
  const server = await startRedis({ own: true, args, ...options });
  cleanups.push(() => server.stop());
  return server;
};

const infoOf = async (client: Redis, field: string): Promise<string | undefined> =>
  new RegExp(`^${field}:(.*?)\r?$`, 'm').exec(await client.info('replication').catch(() => ''))?.[1];

async function untilIs(server: RedisServer, field: string, value: string): Promise<void> {
  const client = server.connect();
  for (let n = 0; n < 100; n++) {
    if ((await infoOf(client, field)) === value) return;
    await pause(100);
  }
  throw new Error(`${field} is not ${value}`);
}

const startWireTo = async (port: number): Promise<Wire> => {
  const wire = await startWire(port);
  cleanups.push(() => wire.stop());
  return wire;
};

const startReplicaOf = async (port: number): Promise<RedisServer> => {
  const replica = await start();
  await replica.connect().replicaof('127.0.0.1', port);
  await untilIs(replica, 'master_link_status', 'up');
  return replica;
};

/** One sentinel, whose word is enough. */
async function startSentinelOf(port: number, replica: number): Promise<RedisServer> {
  const sentinel = await start({
    sentinel: [
      `sentinel monitor ${MASTER} 127.0.0.1 ${port} 1`,
      `sentinel down-after-milliseconds ${MASTER} 500`,
      `sentinel failover-timeout ${MASTER} 5000`,
      '',
    ].join('\n'),
  });
  const client = sentinel.connect();
  for (let n = 0; n < 150; n++) {
    const replicas = await client.call('SENTINEL', 'REPLICAS', MASTER);
    if (JSON.stringify(replicas).includes(`"${replica}"`)) return sentinel;
    await pause(100);
  }
  throw new Error('the sentinel does not find the replica');
}

describe.skipIf(noRedis())('a fleet whose Redis fails over', () => {
  it('to a replica that has lost the last second', async () => {
    const master = await start();
    const between = await startWireTo(master.port);
    const replica = await startReplicaOf(between.port);
    const wire = await startWireTo(master.port);
    const [masterClient, replicaClient] = [master.connect(), replica.connect()];
    const told = await suffer({ url: wire.url, timeoutMs: TIMEOUT_MS }, cleanups, async () => {
      between.isBlocked = true;
      await pause(1_000);
      const [written, had] = await Promise.all([
        infoOf(masterClient, 'master_repl_offset'),
        infoOf(replicaClient, 'master_repl_offset'),
      ]);
      // Else it would be a test of nothing lost.
      expect(Number(had)).toBeLessThan(Number(written));
      console.log({ bytesLost: Number(written) - Number(had) });
      await master.stop();
      await replicaClient.replicaof('NO', 'ONE');
      wire.target = replica.port;
      wire.cut();
    });
    expectBorne(told);
  }, 120_000);

  it.each(['ends', 'stands still'] as const)(
    'as a sentinel says, when its master %s',
    async (what) => {
      const master = await start();
      const replica = await startReplicaOf(master.port);
      const sentinel = await startSentinelOf(master.port, replica.port);
      const told = await suffer(
        {
          url: '',
          timeoutMs: TIMEOUT_MS,
          sentinels: {
            sentinels: [{ host: '127.0.0.1', port: sentinel.port }],
            name: MASTER,
            // Who is still connected to a master that stands still is told that there is another.
            failoverDetector: true,
          },
        },
        cleanups,
        async () => {
          if (what === 'ends') await master.stop();
          else master.process?.kill('SIGSTOP');
          await untilIs(replica, 'role', 'master');
        },
      );
      expectBorne(told, true);
    },
    120_000,
  );
});
