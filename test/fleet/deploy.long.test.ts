import { afterEach, describe, expect, it } from 'vitest';
import { noRedis, startRedis } from '../support/redis.ts';
import { configFor, LIMITS, pause, producedIn, startApi, startWorker, type Worker } from './harness.ts';
import { checkOut, olderRelease, withOtherSchema } from './release.ts';
import type { WorkerReport } from './worker-process.ts';

const SECONDS = Number(process.env.FLEET_SECONDS ?? 60);
/** The store's time-out is for a machine of its own: here everything shares two cores with the test. */
const TIMEOUT_MS = Number(process.env.FLEET_TIMEOUT_MS ?? 500);
const PROCESSES = 4;
/** A fifth lower. */
const LOWER = {
  requestsPerMinute: 800,
  inputTokensPerMinute: 320_000,
  outputTokensPerMinute: 64_000,
  burstSeconds: 6,
};
/** What a user may do in a day: used up in the middle of the deploy. */
const COUNTED = { name: 'counted', calls: 2, lane: 'interactive' };
const COUNTED_A_DAY = Math.round(SECONDS * 0.5);
const quotas = [{ name: 'daily', when: { user: COUNTED.name }, requests: `${COUNTED_A_DAY}/day` }];
const OLD_POLICY = configFor(LIMITS, { quotas });
const NEW_POLICY = configFor(LOWER, {
  quotas: [...quotas, { name: 'per-user', per: 'user', requests: '600/minute', concurrency: 20 }],
  lanes: {
    urgent: { weight: 4, guarantee: 0.2 },
    interactive: { weight: 4, guarantee: 0.3, maxWait: '2m' },
    background: { weight: 2, maxWait: '10m' },
  },
});

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** What one process of the fleet runs. */
interface Kind {
  readonly config: object;
  /** Of its release. */
  readonly folder?: string;
}

/**
 * A fleet whose processes are replaced one by one, as a deploy does: a new one is up before an old one goes. What was seen of it is
 * against the smallest limits that a process has.
 */
async function roll(before: Kind, after: Kind, smallest: typeof LIMITS) {
  const redis = await startRedis({ own: true });
  cleanups.push(() => redis.stop());
  const api = await startApi(LIMITS);
  cleanups.push(() => api.stop());
  const all: Worker[] = [];
  cleanups.push(() => {
    for (const worker of all) worker.kill();
  });
  let next = 0;
  const startOne = async ({ config, folder }: Kind) => {
    const n = next++;
    const users = [0, 1, 2].map((u) => ({ name: `user-${n}-${u}`, calls: 4, lane: 'interactive' }));
    const options = {
      apiUrl: api.url,
      redisUrl: redis.url,
      prefix: 'deploy',
      config,
      maxTokens: 1_000,
      timeoutMs: TIMEOUT_MS,
      users: [...users, { ...COUNTED, pauseMs: 1_500 }],
    };
    const worker = await startWorker(options, folder);
    all.push(worker);
    return worker;
  };
  const old = await Promise.all(Array.from({ length: PROCESSES }, () => startOne(before)));
  await pause(6_000);
  const reports: WorkerReport[] = [];
  const young = [await startOne(after)];
  // What was let in by the higher limit ends first.
  await pause(4_000);
  const from = await api.now();
  const endAt = performance.now() + SECONDS * 1_000;
  for (const [n, worker] of old.entries()) {
    await pause((SECONDS * 1_000) / (PROCESSES + 1));
    if (n > 0) young.push(await startOne(after));
    reports.push(await worker.stop());
  }
  await pause(Math.max(0, endAt - performance.now()));
  const to = await api.now();
  const ends = await Promise.all(young.map((worker) => worker.stop()));
  reports.push(...ends);
  const seen = await api.see(0, Number.MAX_SAFE_INTEGER);
  const refill = (smallest.outputTokensPerMinute / 60_000) * (to - from);
  const counted = seen.admitted.filter(({ userId }) => userId === COUNTED.name).length;
  const total = (of: (report: WorkerReport) => Record<string, number>) =>
    reports.map(of).reduce((sum, each) => {
      for (const [name, count] of Object.entries(each)) sum[name] = (sum[name] ?? 0) + count;
      return sum;
    }, {});
  const told = {
    used: producedIn(seen, from, to) / refill,
    counted,
    countedByOld: reports
      .slice(0, PROCESSES)
      .reduce((sum, { admitted }) => sum + (admitted[COUNTED.name] ?? 0), 0),
    refusedByApi: seen.refusals,
    calls: seen.admitted.length,
    refused: total(({ refused }) => refused),
    errors: total(({ errors }) => errors),
    moves: reports.flatMap(({ moves }, n) => moves.map((move) => `${n}: ${move}`)),
  };
  console.log(told);
  expect(reports.flatMap(({ rejections }) => rejections)).toEqual([]);
  expect(told.errors).toEqual({});
  // Those that waited as their process was told to go, or ran for longer than it may; and those of the user whose day is used up.
  const mayBe = ['quota_exceeded', 'upstream_unavailable', 'aborted'];
  expect(mayBe).toEqual(expect.arrayContaining(Object.keys(told.refused)));
  expect(told.moves.filter((move) => /refuses|does not answer/.test(move))).toEqual([]);
  expect(told.used).toBeLessThan(1.05);
  return { ...told, old: reports.slice(0, PROCESSES), young: ends };
}

type Rolled = Awaited<ReturnType<typeof roll>>;

function expectOneLedger({ refusedByApi, used, counted, countedByOld }: Rolled): void {
  expect(refusedByApi).toBe(0);
  expect(used).toBeGreaterThan(0.9);
  expect(counted).toBe(COUNTED_A_DAY);
  // Both have counted.
  expect(countedByOld).toBeGreaterThan(0);
  expect(countedByOld).toBeLessThan(COUNTED_A_DAY);
}

describe.skipIf(noRedis())('a rolling deploy', () => {
  it('of a stricter policy with other lanes and quotas keeps to it from its first process on', async () => {
    expectOneLedger(await roll({ config: OLD_POLICY }, { config: NEW_POLICY }, LOWER));
  }, 240_000);

  const commit = olderRelease();
  it.skipIf(commit === undefined)(
    'of this release over the oldest with the same SCHEMA loses no count',
    async () => {
      const release = checkOut(commit ?? '');
      cleanups.push(() => release.remove());
      const rolled = await roll(
        { config: OLD_POLICY, folder: release.folder },
        { config: OLD_POLICY },
        LIMITS,
      );
      expectOneLedger(rolled);
      expectEachRan(rolled);
    },
    240_000,
  );

  it('of a release that keeps something else in Redis shares the limits between the two ledgers', async () => {
    const release = withOtherSchema();
    cleanups.push(() => release.remove());
    const rolled = await roll({ config: OLD_POLICY, folder: release.folder }, { config: OLD_POLICY }, LIMITS);
    expectEachRan(rolled);
    expect(rolled.refusedByApi).toBe(0);
    // Shares of processes that have gone are free ten seconds later.
    expect(rolled.used).toBeGreaterThan(0.7);
    // Quotas begin anew.
    expect(rolled.counted).toBeGreaterThan(0);
    expect(rolled.counted).toBeLessThanOrEqual(2 * COUNTED_A_DAY);
  }, 240_000);
});

/** Each process its own release. */
function expectEachRan({ old, young }: Rolled): void {
  for (const { packages } of old) expect(packages).toContain('headgate-release-');
  for (const { packages } of young) expect(packages).not.toContain('headgate-release-');
}
