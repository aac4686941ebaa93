import type { Redis } from 'ioredis';
import { type RedisServer, type RedisServerOptions, startRedis } from '../support/redis.ts';
import { pause } from './harness.ts';

/** The name that sentinels know the master by. */
export const MASTER = 'ledger';

type Cleanups = (() => unknown)[];

export async function startServer(
  cleanups: Cleanups,
  options: RedisServerOptions = {},
): Promise<RedisServer> {
  // A replica gets what there is at once.
  const args = options.sentinel === undefined ? ['--repl-diskless-sync-delay', '0'] : [];
  const server = await startRedis({ own: true, args, ...options });
  cleanups.push(() => server.stop());
  return server;
}

export const infoOf = async (client: Redis, field: string): Promise<string | undefined> =>
  new RegExp(`^${field}:(.*?)\r?$`, 'm').exec(await client.info('replication').catch(() => ''))?.[1];

export async function untilIs(server: RedisServer, field: string, value: string): Promise<void> {
  const client = server.connect();
  for (let n = 0; n < 100; n++) {
    if ((await infoOf(client, field)) === value) return;
    await pause(100);
  }
  throw new Error(`${field} is not ${value}`);
}

export async function startReplicaOf(port: number, cleanups: Cleanups): Promise<RedisServer> {
  const replica = await startServer(cleanups);
  await replica.connect().replicaof('127.0.0.1', port);
  await untilIs(replica, 'master_link_status', 'up');
  return replica;
}

/** One sentinel, whose word is enough. */
export async function startSentinelOf(
  port: number,
  replica: number,
  cleanups: Cleanups,
): Promise<RedisServer> {
  const sentinel = await startServer(cleanups, {
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
