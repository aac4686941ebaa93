import type { Snapshot } from '@headgate/core';
import type { SpanRecorder, Utilization } from '@headgate/testing';
import { type Api, startApi } from './api.ts';
import type { ApiReport } from './api-worker.ts';
import { demoApp } from './app.ts';
import { type CallResult, drive } from './driver.ts';
import { listen } from './listen.ts';
import { plainApp } from './plain-app.ts';
import { type Progress, watch } from './progress.ts';
import { checkPromises, type PromiseCheck } from './promises.ts';
import { type ClassStats, type StatsByClass, statsByClass, statsOf } from './stats.ts';
import { type Metered, meter, meteredSince, startTelemetry, waitsByTrace } from './telemetry.ts';
import { drawTrace } from './trace.ts';
import { type PlannedCall, planBaseline, planTraffic, tokensOf } from './traffic.ts';

export interface DemoOptions {
  /** Seconds of traffic in each of the two runs. */
  readonly seconds: number;
  /** @default 1 */
  readonly seed?: number;
  /** Calls of the one user on an idle account. @default 20 */
  readonly baselineCalls?: number;
  /** Stops everything; `runDemo` then rejects with its reason. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/** One of the two runs. Attempts, 429s and tokens are the API's own numbers. */
export interface RunResult {
  readonly byClass: StatsByClass;
  readonly all: ClassStats;
  readonly attempts: number;
  readonly status429: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Of all that the bucket could give while calls were being sent. */
  readonly used: Utilization;
}

export interface DemoResult {
  readonly seconds: number;
  readonly offered: { readonly calls: number; readonly outputTokens: number };
  readonly idle: ClassStats;
  readonly governed: RunResult;
  readonly plain: RunResult;
  /** What Headgate's own metrics say of the run with it, to be compared with the API's ledger. */
  readonly metered: Metered;
  /** The spans of one streamed call that waited; undefined when none did. */
  readonly trace: string | undefined;
  readonly promises: readonly PromiseCheck[];
}

/** Calls a second of the idle account: under half of what the limit allows. */
const BASELINE_RATE = 5;
/** What is still open this long after the last call is counted as failed. */
const PATIENCE_MS = 12_000;

/** The whole story: an idle account, then the traffic with Headgate, then the same traffic without. */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { seconds, seed = 1 } = options;
  const calls = planTraffic(seconds, seed);
  const { idle, run: governed, metered, trace } = await runGoverned(calls, options);
  const plain = await runPlain(calls, options);
  const offered = { calls: calls.length, outputTokens: tokensOf(calls) };
  const seen = { seconds, offered, idle, governed, plain, metered, trace };
  return { ...seen, promises: checkPromises(seen) };
}

async function runGoverned(calls: readonly PlannedCall[], options: DemoOptions) {
  const { seed = 1, baselineCalls = 20 } = options;
  await using telemetry = startTelemetry();
  await using api = await startApi(seed);
  const { app, governor } = demoApp(api.url);
  await using server = await listen(app);
  try {
    const setting = { ...options, url: server.url, api, snapshot: () => governor.snapshot() };
    const alone = await drivePart(planBaseline(baselineCalls, baselineCalls / BASELINE_RATE, seed), {
      ...setting,
      title: 'One user alone',
      seconds: baselineCalls / BASELINE_RATE,
    });
    const before = await meter(telemetry);
    const main = await drivePart(calls, { ...setting, title: 'With Headgate' });
    // Calls that we stopped waiting for are settled before anything is counted.
    await governor.close({ drainMs: 1_000 });
    const waits = waitsByTrace(telemetry.spans.spans);
    return {
      idle: statsOf(alone.results, waits),
      run: resultOf(main, waits),
      metered: meteredSince(before, await meter(telemetry)),
      trace: traceOfQueuedStream(main.results, waits, telemetry.spans),
    };
  } finally {
    await governor.close({ drainMs: 0 });
  }
}

async function runPlain(calls: readonly PlannedCall[], options: DemoOptions): Promise<RunResult> {
  await using api = await startApi(options.seed ?? 1);
  await using server = await listen(plainApp(api.url));
  const main = await drivePart(calls, { ...options, url: server.url, api, title: 'Without Headgate' });
  return resultOf(main, new Map());
}

interface Setting extends DemoOptions {
  readonly title: string;
  readonly url: string;
  readonly api: Api;
  readonly snapshot?: () => Snapshot;
}

interface Part {
  readonly results: readonly CallResult[];
  readonly before: ApiReport;
  readonly after: ApiReport;
}

async function drivePart(calls: readonly PlannedCall[], setting: Setting): Promise<Part> {
  const { url, api, signal = new AbortController().signal } = setting;
  const before = await api.report(0, 0);
  const startedAt = performance.timeOrigin + performance.now();
  const running = drive(url, calls, { patienceMs: PATIENCE_MS, signal });
  await watch({ onProgress: undefined, ...setting, drive: running });
  signal.throwIfAborted();
  const after = await api.report(startedAt, startedAt + setting.seconds * 1_000);
  return { results: await running.results, before, after };
}

function resultOf({ results, before, after }: Part, waits: ReadonlyMap<string, number>): RunResult {
  return {
    byClass: statsByClass(results, waits),
    all: statsOf(results, waits),
    attempts: after.totals.attempts - before.totals.attempts,
    // Those of the idle account, should there be any, count as well.
    status429: after.status429,
    inputTokens: after.totals.inputTokens - before.totals.inputTokens,
    outputTokens: after.totals.outputTokens - before.totals.outputTokens,
    used: after.used,
  };
}

/** Of an ordinary user if one of them had to wait, or else of anybody: the one that waited longest. */
function traceOfQueuedStream(
  results: readonly CallResult[],
  waits: ReadonlyMap<string, number>,
  spans: SpanRecorder,
): string | undefined {
  const queued = results.flatMap(({ call, outcome, traceId }) => {
    const waitedMs = traceId === undefined ? 0 : (waits.get(traceId) ?? 0);
    const fits = call.path === '/chat/stream' && outcome === 'ok' && traceId !== undefined && waitedMs > 0;
    return fits ? [{ traceId, waitedMs, isOrdinary: call.callerClass === 'ordinary' }] : [];
  });
  const [longest] = queued.toSorted(
    (a, b) => Number(b.isOrdinary) - Number(a.isOrdinary) || b.waitedMs - a.waitedMs,
  );
  return longest === undefined ? undefined : drawTrace(spans, longest.traceId);
}
