import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor } from '@headgate/core';

/**
 * What a crowd costs that comes, leaves, or is sent away at one moment: CPU of a call, and the longest time for which
 * the event loop did nothing else, as CPU of this thread, so that whatever else the machine does counts for nothing. One call
 * is in flight and the others wait for it. Where the cost is linear, it is the same in each row. The SDK alone stands beside: the
 * calls of one loop are all made by it before the first of them comes to Headgate.
 * `node --conditions=source --expose-gc test/bench/crowds.ts [calls ...]`
 */
const COUNTS = process.argv.length > 2 ? process.argv.slice(2).map(Number) : [10_000, 20_000, 40_000];

const config = (maxWait: string): ConfigInput => ({
  account: [{ name: 'all', models: ['*'], requestsPerMinute: 1_000_000, concurrency: 1 }],
  lanes: { only: { maxWait, maxQueued: 1_000_000, maxQueuedPerUser: 1_000_000 } },
  defaultLane: 'only',
  timeouts: { total: '2h' },
});
const hangs = (_url: unknown, init?: RequestInit) =>
  new Promise<Response>((_, reject) => {
    init?.signal?.addEventListener('abort', () => reject(init.signal?.reason), { once: true });
  });
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const cpuMs = () => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
};

interface Measured {
  readonly total: number;
  /** Of the caller's own loop, or of `abort()`: what has happened when it returns. */
  readonly own: number;
  /** The longest turn of the event loop after it. */
  readonly longest: number;
}

async function measured(work: () => void, isDone: () => boolean): Promise<Measured> {
  globalThis.gc?.();
  await turn();
  const from = cpuMs();
  work();
  const own = cpuMs() - from;
  let longest = 0;
  for (let before = cpuMs(); ; before = cpuMs()) {
    await turn();
    longest = Math.max(longest, cpuMs() - before);
    if (isDone()) return { total: cpuMs() - from, own, longest };
  }
}

type Ending = 'abort' | 'close' | 'reload';

interface Kind {
  readonly name: string;
  readonly users: number;
  readonly signalIn: 'scope' | 'options' | 'nothing';
  readonly ending: Ending;
  readonly isBare?: boolean;
}

async function crowd(count: number, { users, signalIn, ending, isBare = false }: Kind) {
  const governor = createGovernor({ config: config('60m'), logger: { info() {}, warn() {}, error() {} } });
  const bare = new Anthropic({
    apiKey: 'bench',
    baseURL: 'http://bench.invalid',
    fetch: hangs,
    logLevel: 'off',
    maxRetries: 0,
  });
  const client = isBare ? bare : governor.govern(bare);
  const controller = new AbortController();
  const { signal } = controller;
  let ended = 0;
  const call = (n: number) => {
    const params = {
      model: 'claude-sonnet-4-6',
      max_tokens: 100,
      messages: [{ role: 'user' as const, content: 'hi' }],
    };
    const caller = { user: `user ${n % users}`, ...(signalIn === 'scope' ? { signal } : {}) };
    const options = signalIn === 'options' ? { signal } : {};
    const made = isBare
      ? client.messages.create(params, options)
      : governor.run(caller, () => client.messages.create(params, options));
    made.then(
      () => ended++,
      () => ended++,
    );
  };
  call(0);
  await turn();
  const waiting = () => {
    const lanes = governor.snapshot().buckets[0]?.lanes ?? {};
    return Object.values(lanes).reduce((sum, { queued }) => sum + queued, 0);
  };
  let turns = 0;
  const arrival = await measured(
    () => {
      for (let n = 1; n < count; n++) call(n);
    },
    () => (isBare ? ++turns > 3 : waiting() >= count - 1),
  );
  const end = await measured(
    () => {
      if (ending === 'abort') controller.abort();
      else if (ending === 'close') void governor.close({ drainMs: 0 });
      else governor.update(config('50m'));
    },
    () => ending === 'reload' || ended >= count,
  );
  controller.abort();
  await governor.close({ drainMs: 0 });
  return { arrival, end };
}

const shown = ({ total, own, longest }: Measured, count: number) =>
  `${((total * 1_000) / count).toFixed(0).padStart(4)} µs a call, ${own.toFixed(0).padStart(5)} ms at once, then blocks of ${longest.toFixed(0).padStart(5)} ms at most`;

const KINDS: readonly Kind[] = [
  { name: 'the SDK alone, one signal', users: 1, signalIn: 'options', ending: 'abort', isBare: true },
  { name: 'one signal in the options', users: 100, signalIn: 'options', ending: 'abort' },
  { name: 'one signal in the scope', users: 100, signalIn: 'scope', ending: 'abort' },
  { name: 'one signal in the scope, one user', users: 1, signalIn: 'scope', ending: 'abort' },
  { name: 'close()', users: 100, signalIn: 'nothing', ending: 'close' },
  { name: 'close(), one user', users: 1, signalIn: 'nothing', ending: 'close' },
  { name: 'a reload', users: 100, signalIn: 'nothing', ending: 'reload' },
];
for (const kind of KINDS) {
  console.log(kind.name);
  for (const count of COUNTS) {
    const { arrival, end } = await crowd(count, kind);
    console.log(`  ${String(count).padStart(6)} come: ${shown(arrival, count)}`);
    console.log(`  ${kind.ending.padStart(11)}: ${shown(end, count)}`);
  }
}
// The SDK's own calls of the first kind have timers of ten minutes.
process.exit(0);
