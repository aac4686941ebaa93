import { afterEach, describe, expect, it } from 'vitest';
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts';
import { configFor, LIMITS, pause, producedIn, startApi, startWorker, type Worker } from './harness.ts';

const SECONDS = Number(process.env.FLEET_SECONDS ?? 60);
const TIMEOUT_MS = Number(process.env.FLEET_TIMEOUT_MS ?? 500);
/** Tokens that the limits refill in a second. */
const PER_SECOND = LIMITS.outputTokensPerMinute / 60;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startAll(config: object = configFor(LIMITS)) {
  const redis: RedisServer = await startRedis({ own: true });
  cleanups.push(() => redis.stop());
  const api = await startApi(LIMITS);
  cleanups.push(() => api.stop());
  let next = 0;
  const workers: Worker[] = [];
  cleanups.push(() => {
    for (const worker of workers) worker.kill();
  });
  const startOne = async (more: object = {}) => {
    const n = next++;
    const worker = await startWorker({
      apiUrl: api.url,
      redisUrl: redis.url,
      prefix: 'kills',
      config,
      maxTokens: 1_000,
      timeoutMs: TIMEOUT_MS,
      users: Array.from({ length: 3 }, (_, u) => ({ name: `user-${n}-${u}`, calls: 4, lane: 'interactive' })),
      ...more,
    });
    workers.push(worker);
    return worker;
  };
  return { redis, api, workers, startOne };
}

const tokensOf = (admitted: readonly { outputTokens: number }[]) =>
  admitted.reduce((sum, { outputTokens }) => sum + outputTokens, 0);

describe.skipIf(noRedis())('a fleet whose processes', () => {
  it('are killed, one every second, keeps to its limits and loses no slot', async () => {
    const { redis, api, workers, startOne } = await startAll(
      configFor(LIMITS, {
        quotas: [{ name: 'slots', when: { user: 'user-0-*' }, per: 'all', concurrency: 6 }],
      }),
    );
    await Promise.all(Array.from({ length: 4 }, () => startOne()));
    await pause(4_000);
    const from = await api.now();
    const endAt = performance.now() + SECONDS * 1_000;
    while (performance.now() < endAt) {
      const startedAt = performance.now();
      const at = Math.floor(Math.random() * workers.length);
      workers.splice(at, 1)[0]?.kill();
      await startOne();
      await pause(Math.max(0, 1_000 - (performance.now() - startedAt)));
    }
    const to = await api.now();
    const seen = await api.see(from, to);
    const throughput = tokensOf(seen.admitted) / ((to - from) / 1_000) / PER_SECOND;
    console.log({
      calls: seen.admitted.length,
      refusedByApi: seen.refusals,
      ofPhysicalLimit: seen.utilization,
      throughput,
    });
    expect(seen.refusals).toBeLessThanOrEqual(SECONDS);
    expect(throughput).toBeGreaterThan(0.8);
    expect(seen.utilization?.outputTokens).toBeLessThan(1.001);
    const reports = await Promise.all(workers.splice(0).map((worker) => worker.stop()));
    expect(reports.flatMap(({ rejections }) => rejections)).toEqual([]);
    // Whatever the dead held is free when their leases are over, and one more process finds all of it.
    await pause(11_000);
    const last = await startOne({ users: [{ name: 'user-0-0', calls: 6, lane: 'interactive' }] });
    await pause(3_000);
    const { snapshot } = (await last.snapshot()) as unknown as {
      snapshot: { buckets: { fleet: { processes: number } }[] };
    };
    expect(snapshot.buckets[0]?.fleet.processes).toBe(1);
    expect((await last.stop()).admitted['user-0-0']).toBeGreaterThan(6);
    // Beside the last answers of those that were given up, which are kept for an hour in case that they come back.
    const left = (await redis.connect().keys('*')).filter((key) => !key.includes(':side:r:'));
    expect(left.length).toBeLessThan(12);
  }, 240_000);

  it('stand still for five seconds goes on at four fifths of its limit', async () => {
    const { api, startOne } = await startAll();
    const workers = await Promise.all(Array.from({ length: 4 }, () => startOne()));
    await pause(8_000);
    const from = await api.now();
    workers[0]?.child.kill('SIGSTOP');
    await pause(5_000);
    const to = await api.now();
    workers[0]?.child.kill('SIGCONT');
    await pause(5_000);
    const seen = await api.see(from, to);
    const rate = seen.admitted.length;
    const after = await api.see(to, await api.now());
    const share = tokensOf(seen.admitted) / (PER_SECOND * 5);
    console.log({
      calls: rate,
      share,
      after: tokensOf(after.admitted) / (PER_SECOND * 5),
      refused: seen.refusals,
    });
    expect(share).toBeGreaterThan(0.8);
    expect(seen.refusals + after.refusals).toBe(0);
    const reports = await Promise.all(workers.map((worker) => worker.stop()));
    expect(reports.flatMap(({ rejections }) => rejections)).toEqual([]);
  }, 120_000);

  it('have wrong clocks shares a day all the same', async () => {
    const { api, startOne } = await startAll(
      configFor(LIMITS, { quotas: [{ name: 'daily', per: 'all', requests: '40/day' }] }),
    );
    const workers = await Promise.all(
      [0, 86_400_000, -86_400_000, 3_600_000].map((clockOffMs) => startOne({ clockOffMs, timeoutMs: 5_000 })),
    );
    await pause(12_000);
    const seen = await api.see(0, Number.MAX_SAFE_INTEGER);
    await Promise.all(workers.map((worker) => worker.stop()));
    expect(seen.admitted.length).toBe(40);
  }, 120_000);

  it('have their clocks set an hour on and back under load goes on as before', async () => {
    const daily = 30;
    const quotas = [{ name: 'daily', when: { user: 'counted' }, requests: `${daily}/day` }];
    const { api, startOne } = await startAll(configFor(LIMITS, { quotas }));
    const users = [0, 1, 2, 3].map((n) => ({ name: `user-${n}`, calls: 3, lane: 'interactive' }));
    const counted = { name: 'counted', calls: 1, lane: 'interactive', pauseMs: 1_500 };
    const workers = await Promise.all([0, 1, 2, 3].map(() => startOne({ users: [...users, counted] })));
    await pause(6_000);
    const from = await api.now();
    const HOUR_MS = 3_600_000;
    for (const [at, ms] of [HOUR_MS, -HOUR_MS, 0, 24 * HOUR_MS, 0].entries()) {
      await workers[at % 2]?.step(ms);
      await pause(4_000);
    }
    const to = await api.now();
    const reports = await Promise.all(workers.map((worker) => worker.stop()));
    const seen = await api.see(0, Number.MAX_SAFE_INTEGER);
    const used = producedIn(seen, from, to) / ((PER_SECOND * (to - from)) / 1_000);
    const served = seen.admitted.filter(({ userId }) => userId === 'counted').length;
    const moves = reports.flatMap((report) => report.moves);
    console.log({ calls: seen.admitted.length, used, served, refused: seen.refusals, moves });
    expect(reports.flatMap(({ rejections }) => rejections)).toEqual([]);
    expect(reports.map(({ errors }) => errors)).toEqual(reports.map(() => ({})));
    expect(moves.filter((move) => /refuses|does not answer/.test(move))).toEqual([]);
    expect(seen.refusals).toBe(0);
    expect(served).toBe(daily);
    expect(used).toBeGreaterThan(0.9);
    expect(used).toBeLessThan(1.05);
  }, 120_000);
});
