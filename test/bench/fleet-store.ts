import { createHash } from 'node:crypto';
import {
  type AmountName,
  type Answer,
  type Candidate,
  type Exchange,
  memoryStore,
  type Path,
  type Store,
} from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import { type RedisServer, startRedis } from '../support/redis.ts';

/**
 * What an admission through Redis costs, beside one counter of rate-limiter-flexible on the same Redis in the same run:
 * that counts one number in a fixed window, ours decides over three limits, output that is yet to come, lanes, users and quotas.
 */
const POINT_MS = Array.from({ length: 20 }, (_, k) => 100 * 1.5 ** k);
/** What answers are going to produce at each point: so many tokens in all, over so many milliseconds. */
const pathOf = (tokens: number, ms: number): Path => ({
  use: POINT_MS.map((at) => Math.round(tokens * Math.min(1, at / ms) * 10) / 10),
  variance: POINT_MS.map((at) => Math.round(20 * tokens * Math.min(1, at / ms) * 10) / 10),
  most: POINT_MS.map((at) => Math.round(5 * tokens * Math.min(1, at / (5 * ms)) * 10) / 10),
});
const ANSWER_TOKENS = 200;
const ANSWER_MS = 4_000;
const BURST = 0.02;
const CALL = pathOf(ANSWER_TOKENS, ANSWER_MS);
/** Redis sees hashes of users and of quotas; a process makes them as a call joins its queue. */
const hashOf = (text: string) => createHash('sha256').update(text).digest('base64url').slice(0, 22);
const USERS = Array.from({ length: 1_000 }, (_, n) => ({
  user: hashOf(`user-${n}`),
  key: hashOf(`quota-${n}`),
}));
const NOBODY = { user: '', key: '' };
const LANES = {
  interactive: { weight: 8, guarantee: 0.5, reserve: 0, order: 0, users: 0 },
  background: { weight: 1, guarantee: 0.05, reserve: 0.15, order: 1, users: 0 },
};

/**
 * What is under way in a process, and how it stands to the limit. With few answers there is room for all that is to come; with
 * many, as near the limit, each admission looks through the sums of all processes for the lowest level ahead.
 */
const loadOf = (running: number, outputTokens: number) => ({
  running,
  outputTokens,
  path: pathOf((ANSWER_TOKENS / 2) * running, ANSWER_MS),
});
const LOADS = {
  'with room': loadOf(20, 1e12),
  'near the limit': loadOf(100_000, 1.2e9),
};
type Load = keyof typeof LOADS;

/** A process that goes on as one does that has long been running: each call let in is one that has ended, and is told of. */
class Process {
  readonly #store: Store;
  readonly #name: string;
  readonly #bucket: string;
  readonly #load: Load;
  #seq = 0;
  #answer: Answer | undefined;

  constructor(store: Store, name: string, bucket: string, load: Load) {
    this.#store = store;
    this.#name = name;
    this.#bucket = bucket;
    this.#load = load;
  }

  async admit(calls: number, withQuota = false): Promise<number> {
    const { running, outputTokens, path } = LOADS[this.#load];
    const seq = ++this.#seq;
    const callers = Array.from(
      { length: calls },
      (_, n) => USERS[(seq * calls + n) % USERS.length] ?? NOBODY,
    );
    const candidates = callers.map(
      ({ user, key }, n): Candidate => ({
        id: n + 1,
        lane: 'interactive',
        user,
        cost: 60,
        chargesTokens: true,
        inputTokens: 400,
        inputHeld: 60,
        outputTokens: 0,
        path: CALL,
        waitedMs: 0,
        isQueued: false,
        quotas: withQuota ? [quotaOf(key)] : [],
      }),
    );
    const hints: Partial<Record<AmountName, number>> = {};
    for (const [name, told] of Object.entries(this.#answer?.levels ?? {}))
      hints[name as AmountName] = told.level;
    const limits = { requests: 1e9, inputTokens: 1e12, outputTokens };
    const shown = (limit: number) => ({ limit, remaining: BURST * limit });
    const headroom = {
      requests: shown(limits.requests),
      inputTokens: shown(limits.inputTokens),
      outputTokens: shown(outputTokens),
    };
    const exchange: Exchange = {
      process: this.#name,
      seq,
      acked: seq - 1,
      charges: { requests: 0, inputTokens: 12.5 * calls, outputTokens: (ANSWER_TOKENS + 0.5) * calls },
      holds: { inputTokens: 60 * running, calls: running, variance: 0 },
      path,
      hints,
      ...(this.#answer?.isUnknown === false ? {} : { limits: { ...limits, burst: BURST } }),
      lanes: LANES,
      events: callers.map(() => ({ type: 'headers', sentAgo: 900, isAnswer: true, headroom })),
      quotas: withQuota
        ? callers.map(({ key }) => ({
            key,
            slots: -1,
            meters: [{ name: 'requests', released: 0, used: 0.5, at: 0 }],
          }))
        : [],
      spent: [],
      reserve: [],
      candidates,
    };
    this.#answer = await this.#store.exchange(this.#bucket, exchange);
    const { results } = this.#answer;
    if (results.some(({ type }) => type !== 'granted')) throw new Error('what is measured is admissions');
    return results.filter(({ type }) => type === 'granted').length;
  }
}

const quotaOf = (key: string) => ({
  key,
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
      while (performance.now() - startedAt < ms) {
        const more = await line();
        // Not in one statement: that would add to what was there before the others' went.
        done += more;
      }
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
let buckets = 0;
/** Processes of a bucket of their own, which it has heard of. */
async function fleet(load: Load): Promise<Process[]> {
  const bucket = `${load} ${buckets++}`;
  const processes = stores.map((store, n) => new Process(store, `process-${n}`, bucket, load));
  for (const process of processes) await process.admit(1);
  return processes;
}

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
async function admissions(load: Load, withQuota: boolean): Promise<number[]> {
  // One message at a time, as a process's line to the store has it.
  const lines = (await fleet(load)).map((process) => ({ process, last: Promise.resolve(0) }));
  return latencies(200, 2_000, () => {
    const line = lines[turn++ % lines.length];
    if (line !== undefined) line.last = line.last.then(() => line.process.admit(1, withQuota));
    return line?.last ?? Promise.resolve();
  });
}
for (const load of Object.keys(LOADS) as Load[])
  shown(`200/s, one bucket: admission, ${load}`, await admissions(load, false), peer);
shown('200/s, one bucket: the same with a quota of the user', await admissions('near the limit', true), peer);

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
for (const load of Object.keys(LOADS) as Load[])
  for (const calls of [1, 4, 16]) {
    const processes = await fleet(load);
    const { rate, us } = await throughput(
      4_000,
      processes.map((process) => () => process.admit(calls)),
    );
    console.log(
      `${`${LINES} processes ${load}, ${calls} with each message: admissions`.padEnd(58)} ${Math.round(rate)}/s (${(rate / peers.rate).toFixed(2)}×), ${Math.round(us)} µs of Redis each: ${Math.round(1e6 / us)}/s of one core`,
    );
  }
const inMemory = new Process(memoryStore(), 'process', 'memory', 'near the limit');
const { rate: memory } = await throughput(2_000, [() => inMemory.admit(1)]);
console.log(`${'the same ledger in memory, 1 with each message'.padEnd(58)} ${Math.round(memory)}/s`);
await Promise.all(stores.map((store) => store.close()));
await server.stop();
