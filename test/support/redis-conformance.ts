import { redisStore } from '@headgate/redis';
import { testStore } from '@headgate/testing';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { noRedis, type RedisServer, startRedis } from './redis.ts';
import type { Connected } from './redis-clients.ts';

/** Holds the store on Redis to what every store does, by clients of each of these kinds. */
export function testRedisStores(kinds: Readonly<Record<string, (url: string) => Connected>>): void {
  describe.skipIf(noRedis())('the store on Redis', () => {
    let server: RedisServer;
    const connected: Connected[] = [];
    let next = 0;
    beforeAll(async () => {
      server = await startRedis();
    });
    afterAll(async () => {
      for (const { end } of connected) end();
      await server?.stop();
    });
    for (const [kind, connect] of Object.entries(kinds)) {
      describe(`by ${kind}`, () => {
        testStore({
          it,
          create() {
            const one = connect(server.url);
            connected.push(one);
            const prefix = `conformance-${process.pid}-${Date.now()}-${next++}`;
            return redisStore({ client: one.client, prefix, timeoutMs: 5_000 });
          },
        });
      });
    }
  });
}
