import { type Clock, memoryStore, type Store } from '@headgate/core';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe } from 'vitest';
import { script } from '../../../packages/redis/src/lua/script.ts';
import { storeOf } from '../../../packages/redis/src/store.ts';
import { noRedis, type RedisServer, startRedis } from '../../support/redis.ts';
import { START } from './commands.ts';

/** The time of a store, set by hand. */
export class SetClock {
  at = START;

  memory(): Store {
    const now = () => this.at;
    return memoryStore({ clock: { now, wall: now, after: () => ({ cancel() {} }) } as Clock });
  }

  /** The script that is run in earnest, on this clock instead of Redis's own. */
  redis(client: Redis, prefix: string): Store {
    return storeOf({ client, prefix, timeoutMs: 5_000 }, script('local now = tonumber(ARGV[4])'), () => [
      this.at,
    ]);
  }
}

/** The same tests of both stores, each on a clock of its own. */
export function describeStores(what: string, test: (create: (clock: SetClock) => Store) => void): void {
  describe(`${what}, with the store in memory`, () => {
    test((clock) => clock.memory());
  });
  describe.skipIf(noRedis())(`${what}, with the store on Redis`, () => {
    let server: RedisServer;
    let next = 0;
    beforeAll(async () => {
      server = await startRedis();
    });
    afterAll(() => server?.stop());
    test((clock) => clock.redis(server.connect(), `clocked-${process.pid}-${Date.now()}-${next++}`));
  });
}
