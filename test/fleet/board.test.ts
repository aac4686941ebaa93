import Anthropic from '@anthropic-ai/sdk';
import {
  type Board,
  createGovernor,
  type Governor,
  memoryStore,
  type Store,
  systemClock,
} from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { afterEach, describe, expect, it } from 'vitest';
import { Alarms } from '../../packages/core/src/alarms.ts';
import { Breakers } from '../../packages/core/src/attempts/breakers.ts';
import { openTopics } from '../../packages/core/src/attempts/topics.ts';
import { type EstimateKey, Estimator } from '../../packages/core/src/estimate/estimator.ts';
import { boardKey } from '../../packages/redis/src/keys.ts';
import { pause, rejection, until } from '../support/governed.ts';
import { instantFetch, MODEL } from '../support/instant-fetch.ts';
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts';
import { storesOf } from './stores-of.ts';

const quiet = { info() {}, warn() {}, error() {} };
const params = { model: MODEL, max_tokens: 50, messages: [{ role: 'user' as const, content: 'hello' }] };
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A process of a fleet, and what the API answers it: `status` with `error`, or as ever. */
function start(store: Store, config: object = {}) {
  const api: { status: number; error: object; attempts: number } = { status: 200, error: {}, attempts: 0 };
  const governor = createGovernor({
    config: {
      account: [{ name: 's', models: ['*'], requestsPerMinute: 60_000 }],
      retries: { maxAttempts: 1 },
      ...config,
    },
    store,
    logger: quiet,
  });
  cleanups.push(() => governor.close({ drainMs: 100 }));
  const fetch = async (url: unknown, init?: RequestInit) => {
    api.attempts++;
    if (api.status === 200) return instantFetch(url, init);
    return new Response(JSON.stringify({ type: 'error', error: api.error }), {
      status: api.status,
      headers: { 'content-type': 'application/json' },
    });
  };
  const claude = governor.govern(new Anthropic({ apiKey: 'k', fetch: fetch as typeof globalThis.fetch }));
  const ask = (user?: string) => governor.run({ user }, () => claude.messages.create(params));
  return { governor, api, ask };
}

const breakersOf = (governor: Governor) => governor.snapshot().breakers.map(({ state }) => state);

for (const kind of ['memory', 'redis'] as const) {
  describe.skipIf(kind === 'redis' && noRedis())(`processes that share a ${kind} store`, () => {
    it('open their breakers by what all of them see, close them together, and know of a spend limit', async () => {
      const makeStore = await storesOf(kind, cleanups);
      const processes = [start(makeStore()), start(makeStore()), start(makeStore())];
      const [one, two, idle] = processes as [
        (typeof processes)[0],
        (typeof processes)[0],
        (typeof processes)[0],
      ];
      for (const { ask } of processes) await ask();
      await pause(100);
      for (const { api } of processes)
        Object.assign(api, { status: 529, error: { type: 'overloaded_error', message: 'x' } });
      for (let n = 0; n < 60 && breakersOf(idle.governor).length === 0; n++) {
        // Of four users: what one alone sees is no fact about the API.
        await Promise.allSettled([one, one, two, two].map(({ ask }, user) => ask(`user ${user}`)));
        await pause(60);
      }
      await until(() => processes.every(({ governor }) => breakersOf(governor).length === 1));
      // One has seen no failure of its own.
      expect(idle.api.attempts).toBe(1);
      for (const { api } of processes) api.status = 200;
      for (let n = 0; n < 400 && processes.some(({ governor }) => breakersOf(governor).length > 0); n++) {
        await Promise.allSettled(processes.map(({ ask }) => ask()));
        await pause(25);
      }
      expect(processes.map(({ governor }) => breakersOf(governor))).toEqual([[], [], []]);

      const code = 'enforced_spend_limit_reached';
      Object.assign(one.api, {
        status: 429,
        error: { type: 'rate_limit_error', message: 'x', details: { error_code: code }, code },
      });
      await rejection(one.ask());
      const limits = () => processes.map(({ governor }) => governor.snapshot().spendLimits.length);
      await until(() => `${limits()}` === '1,1,1');
      expect(await rejection(two.ask())).toMatchObject({ reason: 'spend_limit' });
      one.api.status = 200;
      two.governor.reset();
      await until(() => `${limits()}` === '0,0,0');
      await one.ask();
    }, 40_000);
  });
}

describe('a store without a board', () => {
  it('shares the ledger alone', async () => {
    const { board: _, ...store } = memoryStore();
    const [one, two] = [start(store), start(store)];
    one.api.status = 402;
    await rejection(one.ask());
    await pause(50);
    expect(two.governor.snapshot().spendLimits).toEqual([]);
    await two.ask();
  });
});

describe('a board that fails', () => {
  it('holds up no call, and no end', async () => {
    const failing: Board = {
      post: async () => {
        throw new Error('no');
      },
      watch: () => {
        throw new Error('no');
      },
    };
    const hanging: Board = { post: () => new Promise(() => {}), watch: () => () => {} };
    for (const board of [failing, hanging]) {
      const { governor, ask } = start({ ...memoryStore(), board });
      for (let n = 0; n < 20; n++) await ask();
      const from = performance.now();
      await governor.close({ drainMs: 100 });
      expect(performance.now() - from).toBeLessThan(10_000);
    }
  }, 30_000);
});

describe.skipIf(noRedis())('the board on Redis', () => {
  const open = async () => {
    const server: RedisServer = await startRedis({ own: true });
    cleanups.push(() => server.stop());
    const storeOf = (prefix = 'headgate') => {
      const store = redisStore({ client: server.connect(), prefix, timeoutMs: 2_000 });
      cleanups.push(() => store.close());
      return store.board as Board;
    };
    return { server, storeOf };
  };
  const hearing = (board: Board, topic: string) => {
    const heard: { process: string; notice: string; ageMs: number }[] = [];
    const end = board.watch(topic, (process, notice, ageMs) => heard.push({ process, notice, ageMs }));
    cleanups.push(async () => end());
    return { heard };
  };

  it('makes a process that joins estimate as the others do, from its first call', async () => {
    const { server, storeOf } = await open();
    const key: EstimateKey = { modelClass: 'sonnet-4', purpose: '/secret-route', maxTokens: 1_000 };
    const join = (process: string) => {
      const alarms = new Alarms(systemClock);
      const estimator = new Estimator(() => 0);
      const breakers = new Breakers(systemClock, Math.random, () => {});
      const topics = openTopics({
        board: storeOf(),
        process,
        alarms,
        clock: systemClock,
        breakers,
        estimator,
        accounts: () => ['default'],
      });
      return { estimator, topics };
    };
    const old = join('old');
    for (let n = 0; n < 200; n++) old.estimator.learnOutput(key, 80 + (n % 41));
    await old.topics.close();
    const late = join('late');
    await until(() => late.estimator.knows(key));
    expect(late.estimator.rest(key, 0)).toEqual({
      mean: expect.closeTo(old.estimator.rest(key, 0).mean, 2),
      variance: expect.closeTo(old.estimator.rest(key, 0).variance, 0),
    });
    expect(new Estimator(() => 0).rest(key, 0).mean).toBe(500);
    await late.topics.close();
    const redis = server.connect();
    for (const name of await redis.keys('*')) {
      expect(name).toMatch(/^\{headgate:\d+\}/);
      expect(await redis.pttl(name)).toBeGreaterThan(0);
      expect(JSON.stringify(await redis.hgetall(name))).not.toMatch(/secret|sonnet/);
    }
  });

  it('tells again of all that is up after a break, in which nothing was heard', async () => {
    const { server, storeOf } = await open();
    const listener = hearing(storeOf(), 'news');
    const teller = storeOf();
    await teller.post('news', 'one', 'before', 60_000);
    await until(() => listener.heard.some(({ notice }) => notice === 'before'));
    const redis = server.connect();
    // Nobody is told of this: as a message that is lost with its connection.
    await redis.hset(boardKey('headgate', 'news'), 'two', `${Date.now()} ${Date.now() + 60_000} missed`);
    await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until(() => listener.heard.some(({ notice }) => notice === 'missed'));
    await teller.post('news', 'one', 'after', 60_000);
    await until(() => listener.heard.some(({ notice, ageMs }) => notice === 'after' && ageMs === 0));
  });

  it('keeps as many notices as there may be, and forgets what is past its time', async () => {
    const { server, storeOf } = await open();
    const board = storeOf();
    await board.post('many', 'short', 'gone', 1);
    for (let n = 0; n < 80; n++) await board.post('many', `process ${n}`, `notice ${n}`, 60_000);
    const redis = server.connect();
    const kept = await redis.hkeys(boardKey('headgate', 'many'));
    expect(kept.length).toBe(64);
    expect(kept).toContain('process 79');
    expect(kept).not.toContain('process 0');
    expect(kept).not.toContain('short');
    await expect(board.post('many', 'x', 'x'.repeat(70_000), 60_000)).rejects.toThrow(RangeError);
  });

  it('is one for each prefix, and bears what others write into it', async () => {
    const { server, storeOf } = await open();
    const redis = server.connect();
    const key = boardKey('headgate', 'odd');
    await redis.hset(key, {
      a: 'nonsense',
      b: '1 2',
      c: `x y z`,
      d: `${Date.now()} ${Date.now() + 60_000} fine`,
    });
    const own = hearing(storeOf(), 'odd');
    const foreign = hearing(storeOf('elsewhere'), 'odd');
    await until(() => own.heard.length > 0);
    await redis.publish(key, 'no line break');
    await redis.publish(key, `p\n${'x'.repeat(100_000)}`);
    await storeOf().post('odd', 'e', 'last', 60_000);
    await until(() => own.heard.some(({ notice }) => notice === 'last'));
    expect([...new Set(own.heard.map(({ notice }) => notice))]).toEqual(['fine', 'last']);
    expect(foreign.heard).toEqual([]);
    // Not even a key of another kind is more than an error that nobody sees.
    await redis.del(key);
    await redis.set(key, 'a string');
    await expect(storeOf().post('odd', 'e', 'never', 60_000)).rejects.toThrow();
  });
});
