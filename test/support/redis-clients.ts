import type { RedisStoreOptions } from '@headgate/redis';
import { Cluster, Redis, type RedisOptions } from 'ioredis';
import { Cluster as OldestCluster, Redis as OldestIoredis } from 'ioredis-oldest';
import { createClient, createCluster, createSentinel, type RedisClientOptions } from 'redis';
import {
  createClient as createClient5,
  createCluster as createCluster5,
  createSentinel as createSentinel5,
} from 'redis-5';

export interface Connected {
  readonly client: RedisStoreOptions['client'];
  /** Ends the connection at once. */
  end(): void;
}

type MakeClient = (url: string) => Connected;

interface Ioredis {
  on(event: 'error', listener: () => void): unknown;
  disconnect(): void;
}
interface NodeRedis {
  readonly isOpen: boolean;
  on(event: 'error', listener: () => void): unknown;
  connect(): Promise<unknown>;
  destroy(): unknown;
}

export function ofIoredis<T extends Ioredis>(client: T) {
  client.on('error', () => {});
  return { client, end: () => client.disconnect() };
}

export function ofNodeRedis<T extends NodeRedis>(client: T) {
  client.on('error', () => {});
  client.connect().catch(() => {});
  return {
    client,
    end() {
      if (client.isOpen) client.destroy();
    },
  };
}

const OPTIONS = { maxRetriesPerRequest: 0, retryStrategy: () => 100 };
type Ways = 'enableAutoPipelining' | 'enableOfflineQueue' | 'lazyConnect' | 'keyPrefix' | 'protocol';
const ioredis =
  (options: Pick<RedisOptions, Ways> = {}): MakeClient =>
  (url) =>
    ofIoredis(new Redis(url, { ...OPTIONS, ...options }));
const oldestIoredis =
  (enableAutoPipelining: boolean): MakeClient =>
  (url) =>
    ofIoredis(new OldestIoredis(url, { ...OPTIONS, enableAutoPipelining }));
const socket = { reconnectStrategy: () => 100 };
const redis6 =
  (options: Omit<RedisClientOptions, 'RESP'> & { RESP?: 2 } = {}): MakeClient =>
  (url) =>
    ofNodeRedis(createClient({ url, socket, ...options }));

/** Each kind of client that a store can be given, connecting to a Redis at `url`, as apps set them up. */
export const CLIENTS: Record<string, MakeClient> = {
  ioredis: ioredis(),
  'ioredis with enableAutoPipelining': ioredis({ enableAutoPipelining: true }),
  'ioredis with enableOfflineQueue: false': ioredis({ enableOfflineQueue: false }),
  'redis 6': redis6(),
};

/** More of them, for the long suite. */
export const MORE_CLIENTS: Record<string, MakeClient> = {
  'ioredis with lazyConnect and no offline queue': ioredis({ lazyConnect: true, enableOfflineQueue: false }),
  'ioredis with keyPrefix and enableAutoPipelining': ioredis({
    keyPrefix: 'app:',
    enableAutoPipelining: true,
  }),
  'ioredis with RESP 3': ioredis({ protocol: 3 }),
  'ioredis 5.4': oldestIoredis(false),
  'ioredis 5.4 with enableAutoPipelining': oldestIoredis(true),
  'redis 6 with RESP 2': redis6({ RESP: 2 }),
  'redis 6 with keyPrefix and no offline queue': redis6({ keyPrefix: 'app:', disableOfflineQueue: true }),
  'redis 6 whose replies are mapped to other types': redis6({
    commandOptions: { typeMapping: { 36: Buffer, 58: String } },
  }),
  'redis 5': (url) => ofNodeRedis(createClient5({ url, socket })),
};

const hostsOf = (ports: readonly number[]) => ports.map((port) => ({ host: '127.0.0.1', port }));
const CLUSTER_OPTIONS = { redisOptions: { maxRetriesPerRequest: 0 }, clusterRetryStrategy: () => 100 };
const ioredisCluster =
  (enableAutoPipelining: boolean) =>
  (ports: readonly number[]): Connected =>
    ofIoredis(new Cluster(hostsOf(ports), { ...CLUSTER_OPTIONS, enableAutoPipelining }));
const nodesAt = (ports: readonly number[]) => ({
  rootNodes: ports.map((port) => ({ url: `redis://127.0.0.1:${port}` })),
  defaults: { socket },
});

/** Each kind of client of a Cluster whose nodes are on these ports of this machine. */
export const CLUSTERS: Record<string, (ports: readonly number[]) => Connected> = {
  ioredis: ioredisCluster(false),
  'ioredis with enableAutoPipelining': ioredisCluster(true),
  'ioredis 5.4 with enableAutoPipelining': (ports) =>
    ofIoredis(new OldestCluster(hostsOf(ports), { ...CLUSTER_OPTIONS, enableAutoPipelining: true })),
  'redis 6': (ports) => ofNodeRedis(createCluster(nodesAt(ports))),
  'redis 5': (ports) => ofNodeRedis(createCluster5(nodesAt(ports))),
};

const sentinelAt = (name: string, port: number) => ({
  name,
  sentinelRootNodes: [{ host: '127.0.0.1', port }],
  nodeClientOptions: { socket },
});

/** Each kind of client that finds its master, `name`, by the sentinel on a port of this machine. */
export const SENTINELS: Record<string, (name: string, port: number) => Connected> = {
  ioredis: (name, port) =>
    ofIoredis(
      new Redis({
        name,
        sentinels: [{ host: '127.0.0.1', port }],
        socketTimeout: 1_000,
        maxRetriesPerRequest: 0,
        retryStrategy: () => 100,
        enableAutoPipelining: true,
      }),
    ),
  'redis 6': (name, port) => ofNodeRedis(createSentinel(sentinelAt(name, port))),
  'redis 5': (name, port) => ofNodeRedis(createSentinel5(sentinelAt(name, port))),
};
