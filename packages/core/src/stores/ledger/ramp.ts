import { NEVER } from './limit.ts';

/**
 * How fast use may grow. The API has a limit of that too, says nowhere what it is, and refuses with plenty left in every
 * bucket. So nothing is held back until it has done so once. Then:
 *
 * *Halve, and grow by a little.* What was let through in the second before the refusal is as much as was borne: the
 * requests sent, less those refused. Half of that is the pace, and a tenth of the limit at the first refusal at the
 * least: of a service with little to do it says nothing that it sent little. After the pause that the API asks for,
 * calls go at the pace, evenly; and it grows by a twentieth of the limit in ten seconds, for as long as it is all that
 * holds calls up. It does not end at the limit: what a deep bucket has saved up would go at once then, and that is
 * growth too. It ends when it has not been felt for a minute.
 *
 * *Start slowly.* From then on a start out of the cold is held to twice the most of any second of the last half minute or
 * more, and to a tenth of the limit where that is more: full speed is four doublings away.
 *
 * A refusal of a request that was sent before the last slowing-down slows nothing further: it only corrects how many
 * were borne.
 *
 * A plain value that a store can save, for one process or a fleet; the script for Redis has a copy of it, line by line
 * (packages/redis/src/lua/ramp.ts).
 */
export interface RampState {
  /** Requests per millisecond; 0 where nothing holds them back. */
  pace: number;
  /** When a refusal last slowed us down; `NEVER` until one has. */
  slowedAt: number;
  /** Of the second before that refusal: requests that were borne, as far as is known. */
  borne: number;
  /** No slower than this, whatever was borne. */
  floor: number;
  /** Requests that may go at once, as of `at`. */
  level: number;
  at: number;
  /** When calls were last held up by nothing but the pace. */
  boundAt: number;
  /** The second that is counted, by its number; requests of it, and of the one before. */
  second: number;
  count: number;
  before: number;
  /** The half minute that is looked at, by its number; the most of any second of it, and of the one before. */
  half: number;
  peak: number;
  peakBefore: number;
}

const DECREASE = 0.5;
const GROWTH = 0.05;
const GROWTH_MS = 10_000;
const COLD_SHARE = 0.1;
const COLD_FACTOR = 2;
const SECOND_MS = 1_000;
const HALF_MS = 30_000;
/** The pace binds that has held a call up so lately. */
const BINDS_MS = 1_000;
/** One that has held nobody up for so long is no more. */
const UNFELT_MS = 60_000;
/** What may go at once, in milliseconds of the pace. */
const BURST_MS = 100;
/** The slowest pace, in requests per millisecond: one a second, so that something is always tried. */
const LEAST_PACE = 1 / 1_000;

export const openRamp = (): RampState => ({
  pace: 0,
  slowedAt: NEVER,
  borne: 0,
  floor: 0,
  level: 0,
  at: 0,
  boundAt: NEVER,
  second: 0,
  count: 0,
  before: 0,
  half: 0,
  peak: 0,
  peakBefore: 0,
});

const isTripped = (ramp: RampState) => ramp.slowedAt > NEVER;

/** Counts in the second that it is now. */
function turn(ramp: RampState, now: number): void {
  const second = Math.floor(now / SECOND_MS);
  if (second !== ramp.second) {
    ramp.before = second === ramp.second + 1 ? ramp.count : 0;
    ramp.count = 0;
    ramp.second = second;
  }
  const half = Math.floor(now / HALF_MS);
  if (half === ramp.half) return;
  ramp.peakBefore = half === ramp.half + 1 ? ramp.peak : 0;
  ramp.peak = 0;
  ramp.half = half;
}

/** So many requests leave. */
export function sent(ramp: RampState, requests: number, now: number): void {
  turn(ramp, now);
  ramp.count += requests;
  ramp.peak = Math.max(ramp.peak, ramp.count);
  // Who passes without asking, as in shadow, must not hold up for long who asks.
  if (isTripped(ramp)) ramp.level = Math.max(-1, ramp.level - requests);
}

/**
 * The API refused a request sent at `sentAt` for the growth of use, and asks for a pause until `until`. `limitPerMs`:
 * what the bucket allows; 0 where that is not known.
 */
export function refusedFor(
  ramp: RampState,
  sentAt: number,
  until: number,
  limitPerMs: number,
  now: number,
): void {
  turn(ramp, now);
  const second = Math.floor(sentAt / SECOND_MS);
  if (second === ramp.second) ramp.count = Math.max(0, ramp.count - 1);
  if (second === ramp.second - 1) ramp.before = Math.max(0, ramp.before - 1);
  const isKnown = sentAt <= ramp.slowedAt;
  if (isKnown) ramp.borne = Math.max(0, ramp.borne - 1);
  else {
    ramp.borne = lastSecond(ramp, now);
    ramp.floor = ramp.pace > 0 ? DECREASE * ramp.pace : COLD_SHARE * limitPerMs;
    ramp.slowedAt = now;
    ramp.level = 0;
    ramp.at = until;
  }
  // What was refused is no proof of what is borne.
  ramp.peak = Math.min(ramp.peak, Math.max(ramp.borne, ramp.count));
  ramp.peakBefore = Math.min(ramp.peakBefore, ramp.borne);
  const borne = ramp.borne / SECOND_MS;
  const most = limitPerMs > 0 ? Math.min(borne, limitPerMs) : borne;
  ramp.pace = Math.max(LEAST_PACE, ramp.floor, DECREASE * most);
}

/** Milliseconds until the next request may go, as far as growth is concerned. `limitPerMs`: 0 where it is not known. */
export function rampWait(ramp: RampState, limitPerMs: number, now: number): number {
  if (!isTripped(ramp)) return 0;
  const pace = refill(ramp, limitPerMs, now);
  if (ramp.level >= 1 || pace === 0) return 0;
  ramp.boundAt = now;
  return (1 - ramp.level) / pace + Math.max(0, ramp.at - now);
}

/** Brings the level up to now, and gives the pace: 0 where there is none. */
function refill(ramp: RampState, limit: number, now: number): number {
  const ms = Math.max(0, now - ramp.at);
  if (now - ramp.boundAt < BINDS_MS && ramp.pace > 0)
    ramp.pace += (GROWTH * (limit > 0 ? limit : ramp.pace) * ms) / GROWTH_MS;
  if (limit > 0 && ramp.pace >= limit && now - ramp.boundAt > UNFELT_MS) ramp.pace = 0;
  const cold = coldPace(ramp, limit, now);
  const pace = ramp.pace > 0 && cold > 0 ? Math.min(ramp.pace, cold) : Math.max(ramp.pace, cold);
  ramp.at = Math.max(ramp.at, now);
  const most = Math.max(1, pace * BURST_MS);
  ramp.level = pace === 0 ? most : Math.min(most, ramp.level + pace * ms);
  return pace;
}

function coldPace(ramp: RampState, limit: number, now: number): number {
  if (!(limit > 0)) return 0;
  turn(ramp, now);
  return Math.max(COLD_SHARE * limit, (COLD_FACTOR * Math.max(ramp.peak, ramp.peakBefore)) / SECOND_MS);
}

/** Requests of the second that ends now: of the one before the share that it still covers. */
const lastSecond = (ramp: RampState, now: number) =>
  ramp.count + (1 - (now / SECOND_MS - ramp.second)) * ramp.before;

/** An operator knows better. */
export function endRamp(ramp: RampState): void {
  ramp.pace = 0;
  ramp.slowedAt = NEVER;
}
