import type { EventEmitter } from 'node:events';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { Redis } from 'ioredis';
import { createClient, createClientPool } from 'redis';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Peer } from '../../packages/testing/src/store/exchanges.ts';
import { ANSWER, ask } from '../support/ask.ts';
import { until } from '../support/governed.ts';
import { freePort, noRedis, startRedis } from '../support/redis.ts';
import { CLIENTS } from '../support/redis-clients.ts';
import { pause } from './harness.ts';

/** A governor whose store is on a client of the kind, and an API that answers at once. */
function start(kind: string, url: string) {
  const { client, end } = (CLIENTS[kind] as (typeof CLIENTS)[string])(url);
  const warnings: string[] = [];
  const governor = createGovernor({
    config: { account: [{ name: 's', models: ['*'], requestsPerMinute: 6_000 }] },
    store: redisStore({ client, timeoutMs: 2_000 }),
    logger: { info() {}, warn: (message: string) => void warnings.push(message), error() {} },
  });
  const claude = governor.govern(new Anthropic({ apiKey: 'k', fetch: async () => Response.json(ANSWER) }));
  onTestFinished(async () => {
    await governor.close({ drainMs: 0 });
    end();
  });
  return {
    warnings,
    mode: () => governor.snapshot().buckets[0]?.fleet?.mode,
    call: () => claude.messages.create(ask()),
  };
}

/** How many listeners a client has, by event. */
const listenersOf = (client: object) => {
  const emitter = client as EventEmitter;
  return Object.fromEntries(emitter.eventNames().map((name) => [String(name), emitter.listenerCount(name)]));
};

const EVICTS = ['--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru'];

describe.skipIf(noRedis())('a store on a Redis', () => {
  it.each(Object.keys(CLIENTS))(
    'by %s is shared from the first call, and asked for its doubts',
    async (kind) => {
      const server = await startRedis({ own: true, args: EVICTS });
      onTestFinished(() => server.stop());
      const { call, mode, warnings } = start(kind, server.url);
      await call();
      expect(mode()).toBe('shared');
      await until(() => warnings.some((warning) => warning.includes('HG_STORE_EVICTS')));
      expect(warnings.filter((warning) => warning.includes('does not answer'))).toEqual([]);
    },
  );

  it.each(Object.keys(CLIENTS))(
    'by %s is asked for its doubts when Redis comes after the governor (never until 0.2)',
    async (kind) => {
      const port = await freePort();
      const { call, mode, warnings } = start(kind, `redis://127.0.0.1:${port}`);
      await call();
      expect(mode()).toBe('degraded');
      const server = await startRedis({ own: true, port, args: EVICTS });
      onTestFinished(() => server.stop());
      await until(() => warnings.some((warning) => warning.includes('HG_STORE_EVICTS')));
      await until(() => mode() === 'shared', 10_000);
    },
    20_000,
  );
});

describe.skipIf(noRedis())('a store that is closed', () => {
  it.each(Object.keys(CLIENTS))('leaves a client of %s as it was, with and without a Redis', async (kind) => {
    const server = await startRedis({ own: true });
    onTestFinished(() => server.stop());
    for (const url of [server.url, `redis://127.0.0.1:${await freePort()}`]) {
      const { client, end } = (CLIENTS[kind] as (typeof CLIENTS)[string])(url);
      onTestFinished(end);
      const before = listenersOf(client);
      const store = redisStore({ client, timeoutMs: 500 });
      store.listen('bucket', () => {});
      store.board?.watch('topic', () => {});
      const asked = [store.doubts?.(), new Peer(store, 'bucket', 'peer').tell()];
      await Promise.race([...asked, pause(100)]).catch(() => {});
      await store.close();
      await Promise.allSettled(asked);
      expect(listenersOf(client)).toEqual(before);
      await expect(new Peer(store, 'bucket', 'late').tell()).rejects.toThrow('closed');
    }
  });
});

describe('a store that is given no client it can use', () => {
  class GlideClient {}
  const unopened = () => createClient({ url: 'redis://:secret@127.0.0.1:1' });
  const cases: [name: string, client: unknown, told: RegExp][] = [
    ['nothing', undefined, /undefined/],
    ['null', null, /null/],
    ['a URL', 'redis://:secret@127.0.0.1:6379', /a string/],
    ['options of a client', { host: '127.0.0.1', password: 'secret' }, /none of their methods/],
    ['a class', Redis, /a function or class/],
    ['a promise of a client', Promise.resolve(unopened()), /await/],
    ['a pool of redis 6', createClientPool({ url: 'redis://127.0.0.1:1' }), /a pool/],
    ['the legacy mode of redis 6', unopened().legacy(), /legacy/],
    ['a client of redis 4', { isOpen: true, evalSha() {}, duplicate() {}, subscribe() {} }, /redis 4/],
    ['a client of redis 3', { send_command() {}, hgetall() {}, duplicate() {} }, /redis 3/],
    ['a client of another package', new GlideClient(), /GlideClient/],
  ];
  it.each(cases)('throws a TypeError for %s (degraded for good until 0.2)', (_, client, told) => {
    const make = () => redisStore({ client: client as Redis });
    expect(make).toThrow(TypeError);
    expect(make).toThrow(told);
    expect(make).toThrow(/`client` must be .*ioredis.*redis \(5 or later\)/);
    expect(make).not.toThrow(/secret/);
  });
});
