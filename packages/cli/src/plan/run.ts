import { createEngine } from '@headgate/core/simulation';
import { modelAccount } from './account.ts';
import { type Arrival, drawCalls, type PlannedJob } from './arrivals.ts';
import { EventClock } from './clock.ts';
import type { Rehearsable } from './load.ts';
import { seeded } from './random.ts';
import { Rehearsal } from './rehearsal.ts';
import { Tally } from './tally.ts';
import { readTrace } from './trace.ts';
import { isRecorded } from './traffic.ts';

/** The use of buckets is told by windows of a minute; shorter ones in less than an hour, longer ones in more than a day. */
const LEAST_WINDOWS = 60;
const MOST_WINDOWS = 1_440;
/** What still waits or runs at the end is followed up to here, in steps of a second. */
const STEP_MS = 1_000;
/** Seeds of the entries are so far apart. */
const SEED_STEP = 7_919;

export interface Progress {
  /** Milliseconds of virtual time. */
  readonly at: number;
  readonly of: number;
  readonly calls: number;
}

export interface RunResult {
  readonly tally: Tally;
  readonly seed: number;
  /** Milliseconds of virtual time in which calls came. */
  readonly duration: number;
  readonly windowMs: number;
  /** A trace goes on after the duration; that part was left out. */
  readonly isCutShort: boolean;
}

/** Plays the traffic through the engine. @throws TraceError */
export async function run(
  { config, traffic, account: buckets, pathOf }: Rehearsable,
  { seed = traffic.seed, onProgress }: { seed?: number; onProgress?: (progress: Progress) => void } = {},
): Promise<RunResult> {
  const { duration, service, start } = traffic;
  const clock = new EventClock(start === undefined ? undefined : Date.parse(start));
  const random = seeded(seed);
  const account = modelAccount(clock, buckets);
  const tally = new Tally(account, config);
  const rehearsal = new Rehearsal<PlannedJob>({
    clock,
    random,
    engine: createEngine({ config, clock, random }),
    upstreamOf: (model) => {
      const upstream = account.find(model);
      // Every model that a call, a route or a budget names was looked for before.
      if (upstream === undefined) throw new TypeError(`no bucket for model "${model}"`);
      return upstream;
    },
    service: {
      firstTokenMs: service.firstToken,
      tokensPerSecond: service.tokensPerSecond,
      networkMs: service.network,
    },
    onAdmitted: (outcome) => tally.admitted(outcome),
    onEnd: (outcome) => tally.ended(outcome),
  });

  const count = Math.min(MOST_WINDOWS, Math.max(LEAST_WINDOWS, Math.ceil(duration / 60_000)));
  const windowMs = duration / count;
  let windows = 0;
  const windowOver = () => {
    tally.window(windows * windowMs, (windows + 1) * windowMs);
    windows++;
    onProgress?.({ at: windows * windowMs, of: duration, calls: tally.all.arrived });
    if (windows < count) clock.at((windows + 1) * windowMs, windowOver, false);
  };
  clock.at(windowMs, windowOver, false);

  const lanes = Object.keys(config.lanes).filter((name) => config.lanes[name]?.via !== 'batch');
  const sources = traffic.calls.map((calls, i) =>
    isRecorded(calls)
      ? readTrace(pathOf(calls.trace), calls, { lanes, hasModel: (id) => account.find(id) !== undefined })
      : drawCalls(calls, seed + (i + 1) * SEED_STEP, duration),
  );
  let isCutShort = false;
  for await (const { at, job } of inOrder(sources)) {
    isCutShort = at >= duration;
    if (isCutShort) break;
    await clock.run(at);
    rehearsal.arrive(job);
  }
  await clock.run(duration);
  for (let at = duration; rehearsal.open > 0; ) {
    at += STEP_MS;
    await clock.run(at);
  }
  return { tally, seed, duration, windowMs, isCutShort };
}

type Source = AsyncGenerator<Arrival> | Generator<Arrival>;

/** The arrivals of all sources by their times; each source is asked for its next only when its last has gone. */
async function* inOrder(sources: readonly Source[]): AsyncGenerator<Arrival> {
  try {
    const heads = await Promise.all(sources.map(async (source) => ({ source, next: await source.next() })));
    for (;;) {
      let first: (typeof heads)[number] | undefined;
      for (const head of heads)
        if (
          head.next.done !== true &&
          (first === undefined || head.next.value.at < (first.next.value?.at ?? 0))
        )
          first = head;
      if (first === undefined || first.next.done === true) return;
      yield first.next.value;
      first.next = await first.source.next();
    }
  } finally {
    // Files are closed also where the rest is not wanted.
    await Promise.all(sources.map((source) => source.return(undefined)));
  }
}
