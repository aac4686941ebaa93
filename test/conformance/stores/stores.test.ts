import { memoryStore } from '@headgate/core';
import { testStore } from '@headgate/testing';
import { describe, it } from 'vitest';
import { CLIENTS } from '../../support/redis-clients.ts';
import { testRedisStores } from '../../support/redis-conformance.ts';

describe('the store in memory', () => {
  testStore({ it, create: () => memoryStore() });
});

testRedisStores(CLIENTS);
