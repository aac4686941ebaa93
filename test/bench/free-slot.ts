import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor, memoryStore, type Store } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { ANSWER, ask } from '../support/ask.ts';
import { startRedis } from '../support/redis.ts';

/**
 * How long a slot that a call leaves stays empty while others wait for it: a governor alone, a fleet on the memory store,
 * and a fleet on a real Redis, one after the other in each scene, each beside the first. The time runs from the end of one
 * answer to the moment when the next request is handed to `fetch`. Messages to the store for each slot are counted.
 * `node --conditions=source test/bench/free-slot.ts [slots]`
 */
const HAND_OVERS = Number(process.argv[2] ?? 300);
/** Slots filled within this are counted. */
const SOON_MS = 10;
const PROCESSES = 3;

const AMPLE = {
  name: 's',
  models: ['*'],
  requestsPerMinute: 6_000_000,
  inputTokensPerMinute: 1_000_000_000,
};
/** `user` of a call: all are one user where a quota is waited for. */
const SCENES: Record<string, { config: ConfigInput; slots: number; user: (n: number) => string }> = {
  'one slot of a bucket': {
    config: { account: [{ ...AMPLE, concurrency: 1 }] },
    slots: 1,
    user: (n) => `u${n % 50}`,
  },
  'four slots of a bucket': {
    config: { account: [{ ...AMPLE, concurrency: 4 }] },
    slots: 4,
    user: (n) => `u${n % 50}`,
  },
  'one slot of a quota that waits': {
    config: {
      account: [AMPLE],
      quotas: [{ name: 'slots', per: 'user', concurrency: 1, onExceed: 'wait' }],
    },
    slots: 1,
    user: () => 'ada',
  },
};
const LANES: ConfigInput = {
  lanes: { only: { maxWait: '10m', maxQueued: 100_000, maxQueuedPerUser: 100_000 } },
  defaultLane: 'only',
  timeouts: { total: '1h' },
};
const quiet = { info() {}, warn() {}, error() {} };

/** Milliseconds for which each slot stayed empty. */
async function emptyFor(
  { config, slots, user }: (typeof SCENES)[string],
  stores: readonly (Store | undefined)[],
): Promise<number[]> {
  const running: (() => void)[] = [];
  let started = () => {};
  const governors = stores.map((store) =>
    createGovernor({
      config: { ...config, ...LANES },
      ...(store === undefined ? {} : { store }),
      logger: quiet,
    }),
  );
  const clients = governors.map((governor) =>
    governor.govern(
      new Anthropic({
        apiKey: 'k',
        fetch: () => {
          const { promise, resolve } = Promise.withResolvers<Response>();
          running.push(() => resolve(Response.json(ANSWER)));
          started();
          return promise;
        },
      }),
    ),
  );
  const untilRunning = async (count: number) => {
    while (running.length < count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      started = resolve;
      await promise;
    }
  };
  const calls = Array.from({ length: HAND_OVERS + slots }, (_, n) => {
    const at = n % governors.length;
    return governors[at]?.run({ user: user(n) }, () => clients[at]?.messages.create(ask()));
  });
  await untilRunning(slots);
  // All the others have joined their queues, and every process has told the store of them.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const taken: number[] = [];
  for (let n = 0; n < HAND_OVERS; n++) {
    const at = performance.now();
    running.shift()?.();
    await untilRunning(slots);
    taken.push(performance.now() - at);
  }
  for (const answer of running) answer();
  await Promise.all(calls);
  await Promise.all(governors.map((governor) => governor.close()));
  return taken.sort((a, b) => a - b);
}

let messages = 0;
/** The same store, whose messages are counted. */
const counted = (store: Store): Store => ({
  ...store,
  exchange(...said) {
    messages++;
    return store.exchange(...said);
  },
});

const server = await startRedis({ own: true });
let fleets = 0;
const KINDS: Record<string, () => (Store | undefined)[]> = {
  'no store, one process': () => [undefined],
  [`memory store, ${PROCESSES} processes`]: () => {
    const store = counted(memoryStore());
    return Array.from({ length: PROCESSES }, () => store);
  },
  [`Redis, ${PROCESSES} processes`]: () => {
    const prefix = `slots-${fleets++}`;
    return Array.from({ length: PROCESSES }, () =>
      // A machine that is busy with something else is no store that is lost.
      counted(redisStore({ client: server.connect(), prefix, timeoutMs: 5_000 })),
    );
  },
};
const at = (sorted: readonly number[], q: number) => sorted[Math.floor(q * (sorted.length - 1))] ?? 0;
for (const [scene, each] of Object.entries(SCENES)) {
  let base = 0;
  for (const [kind, stores] of Object.entries(KINDS)) {
    messages = 0;
    const taken = await emptyFor(each, stores());
    const median = at(taken, 0.5);
    base ||= median;
    const soon = taken.filter((ms) => ms <= SOON_MS).length;
    console.log(
      `${`${scene}: ${kind}`.padEnd(62)} p50 ${median.toFixed(2)} ms (${(median / base).toFixed(1)}×), p99 ${at(taken, 0.99).toFixed(2)} ms, most ${at(taken, 1).toFixed(1)} ms; within ${SOON_MS} ms: ${soon} of ${taken.length}; ${(messages / taken.length).toFixed(1)} messages each`,
    );
  }
}
await server.stop();
