import { memoryStore, type Store } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { startRedis } from '../support/redis.ts';

/** What makes the store of each process of a fleet: one for all in memory, or a connection of its own to one Redis. */
export async function storesOf(
  kind: 'memory' | 'redis',
  cleanups: (() => Promise<unknown>)[],
): Promise<() => Store> {
  if (kind === 'memory') {
    const store = memoryStore();
    return () => store;
  }
  const server = await startRedis({ own: true });
  cleanups.push(() => server.stop());
  return () => redisStore({ client: server.connect(), timeoutMs: 1_000 });
}
