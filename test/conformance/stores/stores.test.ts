import { memoryStore } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { testStore } from '@headgate/testing';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { noRedis, type RedisServer, startRedis } from '../../support/redis.ts';

describe('the store in memory', () => {
  testStore({ it, create: () => memoryStore() });
});

describe.skipIf(noRedis())('the store on Redis', () => {
  let server: RedisServer;
  let next = 0;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server?.stop());
  testStore({
    it,
    create: () =>
      redisStore({
        client: server.connect(),
        prefix: `conformance-${process.pid}-${Date.now()}-${next++}`,
        timeoutMs: 5_000,
      }),
  });
});
