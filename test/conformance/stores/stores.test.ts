import { memoryStore } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { testStore } from '@headgate/testing';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { noRedis, type RedisServer, startRedis } from '../../support/redis.ts';
import { CLIENTS, type Connected } from '../../support/redis-clients.ts';

describe('the store in memory', () => {
  testStore({ it, create: () => memoryStore() });
});

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
  for (const [name, connect] of Object.entries(CLIENTS)) {
    describe(`by ${name}`, () => {
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
