import { fork } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, sqliteJournal, sqliteStore } from '@headgate/core';
import { metricRecorder } from '@headgate/testing';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { briefGovernor, configFor, isUncaused, nameOf, oneCall } from './load.ts';
import { soakRandom } from './random.ts';

/**
 * A service that runs for long: `npm run soak -- --minutes 60 --rate 100 --out FILE`. Each minute it prints what lives
 * after a collection; in the end it says whether the heap is flat from the tenth minute on, whether series, handles and
 * lines of the log are bounded, and whether any call was refused that the API has not made fail. Exit 1 if not.
 */
const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    rate: { type: 'string', default: '100' },
    out: { type: 'string' },
  },
});
const MINUTES = Number(values.minutes);
const RATE = Number(values.rate);
/** Calls at once, at most: a machine that is too slow makes fewer calls, and says so. */
const MOST_AT_ONCE = 400;
/** Minutes until everything has its size: users of the last minutes, and the SDK's own caches. */
const WARM = Math.min(10, Math.max(2, Math.floor(MINUTES / 3)));

const gc = globalThis.gc;
if (gc === undefined) throw new Error('run it with --expose-gc, as `npm run soak` does');

const folder = mkdtempSync(join(tmpdir(), 'headgate-soak-'));
const child = fork(join(import.meta.dirname, 'api-process.ts'), {
  execArgv: ['--conditions=source'],
  stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
});
const [{ url }] = (await once(child, 'message')) as [{ url: string }];

const counts = new Map<string, number>();
const count = (what: string) => void counts.set(what, (counts.get(what) ?? 0) + 1);
process.on('unhandledRejection', (error) => {
  count('unhandled rejections');
  print(`unhandled rejection: ${String(error)}`);
});
/** Lines of the log, at most: some kinds of warning about names that clients make up, each bounded. */
const MOST_LINES = 100;
let logLines = 0;
const log = (message: string) => {
  if (++logLines <= 5) print(`log: ${message}`);
};
function print(line: string): void {
  console.log(line);
  if (values.out !== undefined) appendFileSync(values.out, `${line}\n`);
}

const metrics = metricRecorder();
const reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 });
const governor = createGovernor({
  config: configFor(0),
  store: sqliteStore({ path: join(folder, 'counters.sqlite') }),
  journal: sqliteJournal({ path: join(folder, 'batches.sqlite') }),
  meterProvider: new MeterProvider({ readers: [reader] }),
  logger: { info: log, warn: log, error: log },
});
const client = governor.govern(new Anthropic({ apiKey: 'k', baseURL: url, logLevel: 'off' }));
const lane = governor.batches(client as never);
const random = soakRandom(2);

let told = 0;
const uncaused = (message: string) => {
  if (++told <= 20) print(`uncaused: ${message}`);
};
const isOverloaded = () =>
  governor.snapshot().buckets.some(({ name, concurrency }) => name === 'all' && concurrency !== undefined);
let made = 0;
let under = 0;
let skipped = 0;
const startedAt = performance.now();
const seconds = () => (performance.now() - startedAt) / 1_000;

const calls = setInterval(() => {
  for (let due = Math.floor(seconds() * RATE); made + skipped < due; ) {
    if (under >= MOST_AT_ONCE) {
      skipped++;
      continue;
    }
    under++;
    void oneCall({ governor, client, random, count, uncaused, isOverloaded }, made++).finally(() => under--);
  }
}, 10);
let generation = 1;
const reloads = setInterval(() => {
  governor.update(configFor(generation++));
  count('reloads');
}, 5_000);
const batches = setInterval(() => {
  const params = {
    model: 'claude-haiku-4-5',
    max_tokens: 20,
    messages: [{ role: 'user' as const, content: `batch ${generation}` }],
  };
  lane.submit(params as never, { caller: { user: `batch-${made}` } }).then(
    (handle) =>
      handle.result().then(
        () => count('batch results'),
        (error: unknown) => {
          count(`batch ${nameOf(error)}`);
          if (process.env.SOAK_DEBUG) print(String(error));
        },
      ),
    (error: unknown) => count(`batch submit ${nameOf(error)}`),
  );
}, 2_000);
const governors = setInterval(
  () => void briefGovernor(url, count).catch((error) => count(`brief close ${nameOf(error)}`)),
  10_000,
);
const scrapes = setInterval(() => void reader.forceFlush().then(() => count('scrapes')), 15_000);

interface Minute {
  readonly minute: number;
  readonly heapMb: number;
  readonly rssMb: number;
  readonly calls: number;
  readonly skipped: number;
  readonly series: number;
  readonly handles: number;
  readonly keys: number;
  readonly inFlight: number;
  readonly diskMb: number;
  readonly logLines: number;
}

/** What an ended request's finalizers hold is free one collection after they have run, and they run between two. */
async function collect(): Promise<void> {
  for (let n = 0; n < 4; n++) {
    gc?.();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  gc?.();
}

async function measure(minute: number): Promise<Minute> {
  await collect();
  const { heapUsed, external, rss } = process.memoryUsage();
  const mb = (bytes: number) => Math.round(bytes / 1e5) / 10;
  const { quotas, inFlight } = governor.snapshot();
  const size = (name: string) => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0;
  return {
    minute,
    heapMb: mb(heapUsed + external),
    rssMb: mb(rss),
    calls: made,
    skipped,
    series: metrics.names().reduce((sum, name) => sum + metrics.points(name).length, 0),
    handles: process.getActiveResourcesInfo().filter((kind) => kind !== 'Timeout').length,
    keys: quotas.reduce((sum, { keys }) => sum + keys, 0),
    inFlight,
    diskMb: mb(
      ['counters.sqlite', 'counters.sqlite-wal', 'batches.sqlite', 'batches.sqlite-wal']
        .map(size)
        .reduce((a, b) => a + b),
    ),
    logLines,
  };
}

const minutes: Minute[] = [];
for (let minute = 1; minute <= MINUTES; minute++) {
  await new Promise((resolve) => setTimeout(resolve, minute * 60_000 - seconds() * 1_000));
  const measured = await measure(minute);
  minutes.push(measured);
  print(JSON.stringify(measured));
}

for (const timer of [calls, reloads, batches, governors, scrapes]) clearInterval(timer);
await governor.close({ drainMs: 5_000 });
await reader.shutdown();
child.disconnect();
rmSync(folder, { recursive: true, force: true });
print(JSON.stringify(Object.fromEntries([...counts].sort())));
process.exitCode = verdict() ? 0 : 1;

/** Growth of a figure from the end of warming up, by least squares, for each minute. */
function growth(of: (minute: Minute) => number): number {
  const after = minutes.filter(({ minute }) => minute >= WARM);
  const mean = (read: (each: Minute) => number) =>
    after.reduce((sum, each) => sum + read(each), 0) / after.length;
  const [x, y] = [mean(({ minute }) => minute), mean(of)];
  const spread = after.reduce((sum, each) => sum + (each.minute - x) ** 2, 0);
  return spread === 0 ? 0 : after.reduce((sum, each) => sum + (each.minute - x) * (of(each) - y), 0) / spread;
}

function verdict(): boolean {
  const after = minutes.filter(({ minute }) => minute >= WARM);
  const heaps = after.map(({ heapMb }) => heapMb);
  const refused = [...counts].filter(([what]) => isUncaused(what));
  const last = minutes[minutes.length - 1];
  const first = after[0];
  const perMinute = growth(({ heapMb }) => heapMb);
  // Half of a per cent a minute is within what a collection leaves by chance.
  const isFlat = perMinute <= Math.max(0.1, 0.005 * (heaps[0] ?? 0));
  const isBounded =
    (last?.series ?? 0) <= 1.1 * (first?.series ?? 0) + 20 &&
    (last?.handles ?? 0) <= 2 * (first?.handles ?? 0) + 50 &&
    logLines <= MOST_LINES;
  print(
    `heap from minute ${WARM}: ${Math.min(...heaps)} to ${Math.max(...heaps)} MB, ${perMinute.toFixed(3)} MB a minute: ${isFlat ? 'flat' : 'GROWS'}`,
  );
  print(
    `series ${last?.series}, handles ${last?.handles}, log ${logLines} lines: ${isBounded ? 'bounded' : 'NOT BOUNDED'}`,
  );
  print(`refusals that the API did not cause: ${refused.length === 0 ? 'none' : JSON.stringify(refused)}`);
  const overloaded = [...counts].filter(([what]) => what.startsWith('overloaded '));
  print(`refusals while 529s capped the calls at once: ${JSON.stringify(overloaded)}`);
  print(
    `unhandled rejections: ${counts.get('unhandled rejections') ?? 0}; calls ${made}, skipped for want of time ${skipped}`,
  );
  return isFlat && isBounded && refused.length === 0 && !counts.has('unhandled rejections');
}
