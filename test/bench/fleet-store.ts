import { type Candidate, type Exchange, memoryStore, type Store } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import { type RedisServer, startRedis } from '../support/redis.ts';

/**
 * What an admission through Redis costs, beside one counter of rate-limiter-flexible on the same Redis in the same run:
 * that counts one number in a fixed window, ours decides over three limits, output that is yet to come, lanes, users and quotas.
 */
const POINTS = 20;
const rising = (most: number) =>
  Array.from({ length: POINTS }, (_, k) => Math.round(Math.min(most, 5 * 1.5 ** k) * 10) / 10);
const path = { use: rising(200), variance: rising(4_000), most: rising(1_000) };

class Process {
  readonly #store: Store;
  readonly #name: string;
  #seq = 0;

  constructor(store: Store, name: string) {
    this.#store = store;
    this.#name = name;
  }

  async admit(calls: number, withQuota: boolean): Promise<number> {
    const seq = ++this.#seq;
    const candidates = Array.from(
      { length: calls },
      (_, n): Candidate => ({
        id: n + 1,
        lane: 'interactive',
        user: `user-${(seq * calls + n) % 1_000}`,
        cost: 60,
        chargesTokens: true,
        inputTokens: 400,
        inputHeld: 60,
        outputTokens: 0,
        path,
        waitedMs: 0,
        isQueued: false,
        quotas: withQuota ? [quotaOf((seq * calls + n) % 1_000)] : [],
      }),
    );
    const exchange: Exchange = {
      process: this.#name,
      seq,
      acked: seq - 1,
      charges: { requests: 0, inputTokens: 0, outputTokens: 0 },
      holds: { inputTokens: 0, calls: 5, variance: 0 },
      ...(seq === 1 ? { limits: { requests: 1e9, inputTokens: 1e12, outputTokens: 1e12, burst: 0.1 } } : {}),
      lanes: { interactive: { weight: 8, guarantee: 0.5, reserve: 0, order: 0, users: 0 } },
      events: [],
      quotas: [],
      spent: [],
      reserve: [],
      candidates,
    };
    const { results } = await this.#store.exchange('bench', exchange);
    return results.filter(({ type }) => type === 'granted').length;
  }
}

const quotaOf = (user: number) => ({
  key: `quota-of-${user}`,
  onExceed: 'refuse' as const,
  isHeld: false,
  meters: [
    { name: 'requests', amount: 1, quota: 1e6, kind: 'continuous' as const, capacity: 1e6, ratePerMs: 1 },
  ],
});

const quantile = (values: number[], q: number) =>
  values.sort((a, b) => a - b)[Math.floor(values.length * q)] ?? 0;

/** Milliseconds of each of so many calls, `perSecond` of them a second. */
async function latencies(perSecond: number, count: number, one: () => Promise<unknown>): Promise<number[]> {
  const taken: number[] = [];
  const startedAt = performance.now();
  const all: Promise<void>[] = [];
  for (let n = 0; n < count; n++) {
    const due = startedAt + (n * 1_000) / perSecond;
    const wait = due - performance.now();
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    const at = performance.now();
    all.push(one().then(() => void taken.push(performance.now() - at)));
  }
  await Promise.all(all);
  return taken;
}

/** Microseconds of Redis's own processor time: what a busy machine does not change. */
async function spentUs(): Promise<number> {
  const info = await admin.info('cpu');
  const of = (name: string) => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0);
  return 1e6 * (of('used_cpu_user_main_thread') + of('used_cpu_sys_main_thread'));
}

/** Done a second, by so many at once for so long, and Redis's time for each. */
async function throughput(
  ms: number,
  lines: readonly (() => Promise<number>)[],
): Promise<{ rate: number; us: number }> {
  const startedAt = performance.now();
  const before = await spentUs();
  let done = 0;
  await Promise.all(
    lines.map(async (line) => {
      while (performance.now() - startedAt < ms) done += await line();
    }),
  );
  const rate = (done / (performance.now() - startedAt)) * 1_000;
  return { rate, us: ((await spentUs()) - before) / done };
}

const server: RedisServer = await startRedis({ own: true });
const LINES = 4;
const admin = server.connect();
const open = async () => {
  const client = server.connect();
  await new Promise<void>((resolve) => client.once('ready', () => resolve()));
  return client;
};
const clients = await Promise.all(Array.from({ length: LINES }, open));
const limiters = clients.map(
  (storeClient) => new RateLimiterRedis({ storeClient, points: 1e9, duration: 60, keyPrefix: 'peer' }),
);
const stores = clients.map((client) => redisStore({ client, prefix: 'bench', timeoutMs: 5_000 }));
const processes = stores.map((store, n) => new Process(store, `process-${n}`));
for (const process of processes) await process.admit(1, false);

const shown = (name: string, taken: number[], base?: number[]) =>
  console.log(
    `${name.padEnd(58)} p50 ${quantile(taken, 0.5).toFixed(2)} ms, p99 ${quantile(taken, 0.99).toFixed(2)} ms${base === undefined ? '' : ` (${(quantile(taken, 0.5) / quantile(base, 0.5)).toFixed(1)}×)`}`,
  );
let turn = 0;
const peer = await latencies(
  200,
  2_000,
  () => limiters[0]?.consume(`user-${turn++ % 1_000}`) ?? Promise.resolve(),
);
shown('200/s, one bucket: rate-limiter-flexible, one counter', peer);
let queue: Promise<unknown> = Promise.resolve();
const inTurn = (quota: boolean) => () => {
  // One message at a time, as a process's line to the store has it.
  queue = queue.then(() => processes[0]?.admit(1, quota));
  return queue;
};
shown('200/s, one bucket: admission', await latencies(200, 2_000, inTurn(false)), peer);
shown(
  '200/s, one bucket: admission with a quota of the user',
  await latencies(200, 2_000, inTurn(true)),
  peer,
);

const peers = await throughput(
  4_000,
  limiters.map((limiter) => async () => {
    await limiter.consume(`user-${turn++ % 1_000}`);
    return 1;
  }),
);
console.log(
  `${`${LINES} connections: rate-limiter-flexible`.padEnd(58)} ${Math.round(peers.rate)}/s, ${Math.round(peers.us)} µs of Redis each`,
);
for (const calls of [1, 4, 16]) {
  const { rate, us } = await throughput(
    4_000,
    processes.map((process) => () => process.admit(calls, false)),
  );
  console.log(
    `${`${LINES} processes, ${calls} waiting with each message: admissions`.padEnd(58)} ${Math.round(rate)}/s (${(rate / peers.rate).toFixed(2)}×), ${Math.round(us)} µs of Redis each: ${Math.round(1e6 / us)}/s of one core`,
  );
}
const inMemory = new Process(memoryStore(), 'process');
const { rate: memory } = await throughput(2_000, [() => inMemory.admit(1, false)]);
console.log(`${'the same ledger in memory, 1 with each message'.padEnd(58)} ${Math.round(memory)}/s`);
await Promise.all(stores.map((store) => store.close()));
await server.stop();
