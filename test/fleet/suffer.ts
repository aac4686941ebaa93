import { expect } from 'vitest';
import {
  configFor,
  LIMITS,
  pause,
  producedIn,
  type Seen,
  startApi,
  startWorker,
  type Worker,
} from './harness.ts';
import type { Sentinels, WorkerReport } from './worker-process.ts';

/** Tokens that the limits refill in a millisecond. */
const REFILL = LIMITS.outputTokensPerMinute / 60_000;
const BEFORE_MS = 8_000;
/** Back within ten seconds, and five in which it is seen. */
const AFTER_MS = 15_500;
const WINDOW_MS = 5_000;
export const PROCESSES = 4;

/** At a fourth of its limit: whoever waits, waits for the store. */
export const LIGHT = { calls: 1, pauseMs: 4_000 };
/** At twice its limit. */
const HEAVY = { calls: 4 };

export interface Told {
  readonly seen: Seen;
  /** From the fault to the next call that the API has let in, at the longest. */
  readonly stallMs: number;
  /** Of the admissions about the fault: the longest, and the longest less what its own process was late meanwhile. */
  readonly slowestMs: number;
  readonly slowestOnTimeMs: number;
  /** Share of the refill that was used while the fault lasted. */
  readonly during: number;
  /** From the fault's end to the first five seconds in which nine tenths of the refill were used; infinite where none came. */
  readonly backAfterMs: number;
  /** The same share, of the last five seconds. */
  readonly after: number;
  readonly moves: readonly string[];
  readonly reports: readonly WorkerReport[];
}

export interface Load {
  readonly calls: number;
  readonly pauseMs?: number;
}

/** How the processes reach their Redis. */
export interface Way {
  readonly url: string;
  readonly sentinels?: Sentinels;
  readonly timeoutMs?: number;
}

/** Four processes under load, a fault, and what the API saw of it. `cleanups` ends what is still there. */
export async function suffer(
  { url, sentinels, timeoutMs }: Way,
  cleanups: (() => unknown)[],
  fault: (workers: readonly Worker[]) => Promise<void>,
  load: Load = HEAVY,
): Promise<Told> {
  const api = await startApi(LIMITS);
  cleanups.push(() => api.stop());
  const workers: Worker[] = [];
  cleanups.push(() => {
    for (const worker of workers) worker.kill();
  });
  const startOne = async (n: number) => {
    const { calls, pauseMs } = load;
    const users = [0, 1, 2].map((u) => ({ name: `user-${n}-${u}`, calls, lane: 'interactive' }));
    workers.push(
      await startWorker({
        apiUrl: api.url,
        redisUrl: url,
        prefix: 'outage',
        config: configFor(LIMITS),
        maxTokens: 1_000,
        isTraced: true,
        users,
        ...(sentinels === undefined ? {} : { sentinels }),
        ...(timeoutMs === undefined ? {} : { timeoutMs }),
        ...(pauseMs === undefined ? {} : { pauseMs }),
      }),
    );
  };
  await Promise.all(Array.from({ length: PROCESSES }, (_, n) => startOne(n)));
  const from = await api.now();
  await pause(BEFORE_MS);
  const faultAt = await api.now();
  const faultedAt = Date.now();
  await fault(workers);
  const overAt = await api.now();
  await pause(AFTER_MS);
  const to = await api.now();
  const seen = await api.see(from, to);
  const reports = await Promise.all(workers.map((worker) => worker.stop()));

  const share = (start: number, end: number) => producedIn(seen, start, end) / (REFILL * (end - start));
  const told = {
    seen,
    reports,
    stallMs: stallOf(seen, faultAt, overAt, to),
    ...slowestOf(reports, faultedAt),
    during: overAt - faultAt < 500 ? Number.NaN : share(faultAt, overAt),
    backAfterMs: backAfter((start) => share(start, start + WINDOW_MS), overAt, to),
    after: share(to - WINDOW_MS, to),
    moves: reports.flatMap(({ moves }, n) => moves.map((move) => `${n}: ${move}`)),
  };
  const { seen: _, reports: __, ...numbers } = told;
  console.log({
    ...numbers,
    faultMs: Math.round(overAt - faultAt),
    calls: seen.admitted.length,
    refusedByApi: seen.refusals,
    ofPhysicalLimit: seen.utilization?.outputTokens,
    latestMs: Math.max(...reports.flatMap(({ late }) => late.map(([, ms]) => Math.round(ms)))),
    admittedDegraded: reports.map(
      ({ admissions }) => admissions.filter(([, , mode]) => mode === 'degraded').length,
    ),
  });
  expect(reports.flatMap(({ rejections }) => rejections)).toEqual([]);
  expect(reports.map(({ errors }) => errors)).toEqual(reports.map(() => ({})));
  return told;
}

function stallOf({ admitted }: Seen, faultAt: number, overAt: number, to: number): number {
  const times = admitted.map(({ at }) => at).sort((a, b) => a - b);
  let stallMs = 0;
  for (const [n, at] of times.entries()) {
    const next = times[n + 1] ?? to;
    if (next > faultAt && at < overAt + 5_000) stallMs = Math.max(stallMs, next - Math.max(at, faultAt));
  }
  return stallMs;
}

/**
 * Everything here shares two cores, and a process that was not given any cannot notice a time-out: what its own event loop was
 * late by while a call waited is told apart.
 */
function slowestOf(reports: readonly WorkerReport[], faultedAt: number) {
  let slowestMs = 0;
  let slowestOnTimeMs = 0;
  for (const { admissions, late } of reports) {
    for (const [at, ms] of admissions) {
      if (at < faultedAt - 500 || at > faultedAt + 8_000) continue;
      const lateMs = late
        .filter(([lateAt, by]) => lateAt > at && lateAt - by < at + ms)
        .reduce((sum, [lateAt, by]) => sum + Math.min(lateAt, at + ms) - Math.max(lateAt - by, at), 0);
      slowestMs = Math.max(slowestMs, ms);
      slowestOnTimeMs = Math.max(slowestOnTimeMs, ms - lateMs);
    }
  }
  return { slowestMs, slowestOnTimeMs };
}

function backAfter(shareFrom: (start: number) => number, overAt: number, to: number): number {
  for (let at = overAt; at + WINDOW_MS <= to; at += 250) if (shareFrom(at) >= 0.9) return at - overAt;
  return Number.POSITIVE_INFINITY;
}

/** `isDegraded` is left out where a process may or may not have had a message under way, or time. */
export function expectBorne(
  { seen, stallMs, during, backAfterMs, after, moves, reports }: Told,
  isDegraded?: boolean,
): void {
  // One for each process, at the most.
  expect(seen.refusals).toBeLessThanOrEqual(PROCESSES);
  // What runs was let in by the whole limit, and is more than a share bears: that ends first.
  expect(stallMs).toBeLessThan(4_000);
  expect(backAfterMs).toBeLessThanOrEqual(10_000);
  expect(after).toBeGreaterThan(0.8);
  if (isDegraded === undefined) return;
  expect(moves.some((move) => move.includes('does not answer'))).toBe(isDegraded);
  if (!isDegraded) return;
  // Four fifths, of which what had been let in before may have taken a part.
  expect(during).toBeGreaterThan(0.5);
  expect(moves.filter((move) => move.includes('is back')).length).toBeGreaterThanOrEqual(1);
  // The same by metrics and spans, of every process.
  for (const { storeMoves } of reports) {
    expect(storeMoves.degraded).toBeGreaterThanOrEqual(1);
    expect(storeMoves.shared).toBeGreaterThanOrEqual(1);
  }
  const modes = new Set(reports.flatMap(({ admissions }) => admissions.map(([, , mode]) => mode)));
  expect(modes).toContain('degraded');
  expect(modes).toContain('shared');
}
