import { createEngine } from '@headgate/core/simulation';
import { modelAccount } from './account.ts';
import type { PlannedJob } from './arrivals.ts';
import { EventClock } from './clock.ts';
import type { Rehearsable } from './load.ts';
import { seeded } from './random.ts';
import { Rehearsal } from './rehearsal.ts';
import { arrivalsOf } from './sources.ts';
import { Tally } from './tally.ts';

/** The use of buckets is told by windows of a minute; shorter ones in less than an hour, longer ones in more than a day. */
const LEAST_WINDOWS = 60;
const MOST_WINDOWS = 1_440;
/** What still waits or runs at the end is followed up to here, in steps of a second. */
const STEP_MS = 1_000;

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
  loaded: Rehearsable,
  {
    seed = loaded.traffic.seed,
    windowMs = windowOf(loaded.traffic.duration),
    onProgress,
  }: {
    windowMs?: number;
    seed?: number;
    onProgress?: (progress: Progress) => void;
  } = {},
): Promise<RunResult> {
  const { config, traffic, account: buckets } = loaded;
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

  let from = 0;
  const windowOver = () => {
    const to = clock.now();
    tally.window(from, to);
    from = to;
    onProgress?.({ at: to, of: duration, calls: tally.all.arrived });
    // A rest of less than a millisecond is the rounding of what came before it.
    if (duration - to > 1) clock.at(Math.min(duration, to + windowMs), windowOver, false);
  };
  clock.at(Math.min(duration, windowMs), windowOver, false);

  let isCutShort = false;
  for await (const { at, job } of arrivalsOf(loaded, {
    seed,
    hasModel: (id) => account.find(id) !== undefined,
  })) {
    isCutShort = at >= duration;
    if (isCutShort) break;
    await clock.run(at);
    tally.arrived();
    rehearsal.arrive(job);
  }
  await clock.run(duration);
  for (let at = duration; rehearsal.open > 0; ) {
    at += STEP_MS;
    await clock.run(at);
  }
  return { tally, seed, duration, windowMs, isCutShort };
}

/** Milliseconds of the windows that so many milliseconds of traffic are told by. */
export const windowOf = (duration: number): number =>
  duration / Math.min(MOST_WINDOWS, Math.max(LEAST_WINDOWS, Math.ceil(duration / 60_000)));
