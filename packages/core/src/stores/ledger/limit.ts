import type { AmountName, ConfiguredLimits, LevelTold } from '../store.ts';
import { noteTrail, type Side, seenSince } from './trail.ts';

/**
 * One limit of a bucket, as admission/limit.ts keeps it, as a plain value that a store can save. What each line is for is
 * told there; what differs is that times are the store's, and that the trail is coarser and shorter.
 */
export interface LimitState {
  readonly name: AmountName;
  perMinute: number;
  source: 'configured' | 'learned' | 'probe';
  /** Depth as a share of one minute: as configured (0: not), and as believed. */
  burst: number;
  share: number;
  level: number;
  at: number;
  held: number;
  drift: number;
  observedAt: number;
  loweredAt: number;
  blamedAt: number;
  pressedAt: number;
  deeperAt: number;
  growsFrom: number;
  retryMs: number;
  refusedAt: number;
  /** Of the trail: what was added to the past, and the bin that is open. */
  shift: number;
  bin: number;
  low: number;
  high: number;
}

/** Before all times; a number that every store can save. */
export const NEVER = -1e15;
export const ARRIVAL_JITTER_MS = 100;
const ROUNDING = 500;
const VISIBLE: Record<AmountName, number> = { requests: 3, inputTokens: 1_500, outputTokens: 1_500 };
const MOST_VISIBLE = 0.1;
const DRIFT_MS = 6_000;
const MOST_DRIFT = 0.95;
const MOST_RAISE_MS = 100;
const LEAST_BLAMED_MS = 2_000;
const MOST_BLAMED_MS = 5_000;
const TRUST_MS = 10_000;
const SHALLOWEST = 1 / 60;
const SLOW = 0.25 / 60_000;
const FAST = 0.5 / 60_000;
const PRESSED_MS = 1_000;
const RETRY_MS = 600_000;
const MOST_RETRY_MS = 86_400_000;
const NEWS_MS = 2_000;
const CLEAR = 0.9;
/** Of a bucket that the ledger does not know: it may be a ledger that has lost its memory. */
const FRESH = 0.5;

export function openLimit(
  name: AmountName,
  perMinute: number,
  source: LimitState['source'],
  configured: ConfiguredLimits,
  now: number,
): LimitState {
  const burst = source === 'probe' ? 1 / 60 : (configured.burst ?? 0);
  const share = Math.max(Math.min(1, 1 / perMinute), burst > 0 ? burst : SHALLOWEST);
  return {
    name,
    perMinute,
    source,
    burst,
    share,
    level: Math.max(Math.min(1, perMinute * share), perMinute * share * FRESH),
    at: now,
    held: 0,
    drift: 0,
    observedAt: now,
    loweredAt: NEVER,
    blamedAt: NEVER,
    pressedAt: NEVER,
    deeperAt: NEVER,
    growsFrom: now,
    retryMs: RETRY_MS,
    refusedAt: NEVER,
    shift: 0,
    bin: -1,
    low: 0,
    high: 0,
  };
}

export const capacityOf = (limit: LimitState): number => limit.perMinute * limit.share;
export const refillOf = (limit: LimitState): number => limit.perMinute / 60_000 - limit.drift;
export const behindOf = (limit: LimitState): number => (limit.perMinute / 60_000) * ARRIVAL_JITTER_MS;
export const visibleOf = (limit: LimitState): number =>
  Math.min(VISIBLE[limit.name], MOST_VISIBLE * capacityOf(limit));

export function levelOf(limit: LimitState, now: number): number {
  return Math.min(capacityOf(limit), limit.level + refillOf(limit) * Math.max(0, now - limit.at));
}

export const availableOf = (limit: LimitState, now: number): number => levelOf(limit, now) - limit.held;

/** Sets the level as of now. */
function set(limit: LimitState, level: number, now: number): void {
  limit.level = Math.min(capacityOf(limit), level);
  limit.at = Math.max(now, limit.at);
}

export function note(limit: LimitState, side: Side, now: number): void {
  const level = levelOf(limit, now);
  noteTrail(limit, side, level - limit.held, level, now);
}

export function charge(limit: LimitState, amount: number, side: Side, now: number): void {
  if (amount === 0) return;
  note(limit, side, now);
  set(limit, levelOf(limit, now) - amount, now);
  note(limit, side, now);
}

/** A request is on its way that takes `amount` for certain, and perhaps `held` more. */
export function sendOff(limit: LimitState, amount: number, held: number, side: Side, now: number): void {
  note(limit, side, now);
  const level = levelOf(limit, now);
  set(limit, level - amount - Math.max(0, level - (capacityOf(limit) - behindOf(limit))), now);
  limit.held += held;
  note(limit, side, now);
}

export function hold(limit: LimitState, delta: number, side: Side, now: number): void {
  if (delta === 0) return;
  note(limit, side, now);
  limit.held = limit.held + delta < 1e-6 ? 0 : limit.held + delta;
  note(limit, side, now);
}

/** Milliseconds until `amount` fits with `reserved` left for others; see admission/limit.ts. */
export function waitForAmount(limit: LimitState, amount: number, reserved: number, now: number): number {
  const capacity = capacityOf(limit);
  const needed = Math.min(amount + visibleOf(limit), capacity - reserved, capacity);
  const missing = needed - (levelOf(limit, now) - reserved - limit.held);
  if (missing <= 1e-6) return 0;
  grow(limit, now);
  return missing / Math.max(1e-9, refillOf(limit));
}

/** This dimension has held a call up: a depth that is still being found out may be larger. */
export function grow(limit: LimitState, now: number): void {
  const ms = now - limit.pressedAt;
  const most = limit.burst > 0 ? limit.burst : 1;
  if (ms < 10 && ms >= 0) return;
  limit.pressedAt = now;
  if (now < limit.growsFrom || limit.share >= most || ms > PRESSED_MS || ms < 0) return;
  const level = levelOf(limit, now);
  const before = capacityOf(limit);
  const speed = now - limit.deeperAt < NEWS_MS ? FAST : SLOW;
  limit.share = Math.min(most, limit.share + speed * ms);
  const deeper = capacityOf(limit) - before;
  limit.shift += deeper;
  set(limit, level + deeper, now);
}

/** Another limit, with what is used now staying used. */
export function resize(limit: LimitState, perMinute: number, burst: number, side: Side, now: number): void {
  const used = capacityOf(limit) - levelOf(limit, now);
  if (burst !== limit.burst) {
    limit.burst = burst;
    if (burst > 0) limit.share = Math.max(Math.min(1, 1 / perMinute), burst);
  }
  limit.perMinute = perMinute;
  limit.drift = Math.min(limit.drift, (perMinute / 60_000) * MOST_DRIFT);
  set(limit, capacityOf(limit) - used, now);
  limit.loweredAt = now;
  note(limit, side, now);
}

/**
 * The API's bucket is another than was configured. One that had been thought larger had never more used of it than it holds:
 * half of what nobody knew counted as used, and would be a debt many times of what there is.
 */
export function resizeAsTold(limit: LimitState, perMinute: number, side: Side, now: number): void {
  const least = Math.min(1, perMinute / limit.perMinute) * Math.min(0, levelOf(limit, now));
  resize(limit, perMinute, limit.burst, side, now);
  set(limit, Math.max(least, levelOf(limit, now)), now);
}

/**
 * What is shown of a limit that is larger than the configured one bounds our level, and does not raise it: `mayRaise`.
 * A response to a request sent at `sentAt` showed `remaining`; `unsure` tokens may be charged on one side alone.
 */
export function observe(
  limit: LimitState,
  remaining: number,
  sentAt: number,
  unsure: number,
  mayRaise: boolean,
  side: Side,
  now: number,
): void {
  note(limit, side, now);
  const seen = seenSince(limit, side, sentAt - ARRIVAL_JITTER_MS, now);
  if (seen === undefined) return;
  const slack = (limit.name === 'requests' ? 1 : ROUNDING) + unsure;
  const tooHigh = seen.low - (remaining + slack);
  const tooLow = remaining - slack - 2 * behindOf(limit) - Math.max(0, seen.high);
  if (tooHigh > 0) {
    shiftBy(limit, -tooHigh, now);
    limit.loweredAt = now;
  } else if (mayRaise && tooLow > 0 && remaining > slack && sentAt > limit.loweredAt) {
    limit.deeperAt = now;
    const most = (limit.perMinute / 60_000) * Math.min(MOST_RAISE_MS, now - limit.observedAt);
    shiftBy(limit, Math.min(tooLow, most), now);
  }
}

function shiftBy(limit: LimitState, amount: number, now: number): void {
  const rate = limit.perMinute / 60_000;
  const level = levelOf(limit, now);
  const shifted = Math.min(capacityOf(limit), level + amount);
  limit.shift += shifted - level;
  const most = rate * Math.min(1_000, now - limit.observedAt);
  limit.observedAt = now;
  const isOwnDoing = amount > 0 && now - limit.blamedAt < TRUST_MS;
  const step = isOwnDoing ? 0 : Math.max(-most, Math.min(most, level - shifted)) / DRIFT_MS;
  limit.drift = Math.max(0, Math.min(rate * MOST_DRIFT, limit.drift + step));
  set(limit, shifted, now);
}

/** The API refused a request sent at `sentAt` for want of this dimension. */
export function refused(limit: LimitState, sentAt: number, side: Side, now: number): void {
  const rate = limit.perMinute / 60_000;
  const left = availableOf(limit, now);
  if (left > 0 && sentAt > limit.blamedAt) {
    const ms = Math.min(MOST_BLAMED_MS, Math.max(LEAST_BLAMED_MS, now - limit.blamedAt));
    const level = levelOf(limit, now);
    limit.blamedAt = now;
    limit.drift = Math.min(rate * MOST_DRIFT, limit.drift + left / ms);
    set(limit, level, now);
  }
  const slack = (limit.name === 'requests' ? 2 : 2 * ROUNDING) + behindOf(limit);
  const used = capacityOf(limit) - left;
  const highest = seenSince(limit, side, now - 60_000, now)?.high ?? NEVER;
  if (left <= slack || highest < used) return;
  const isKnown = sentAt <= limit.refusedAt;
  limit.refusedAt = now;
  if (isKnown) return;
  const before = capacityOf(limit);
  const level = levelOf(limit, now);
  limit.share = Math.max(
    Math.min(1, 1 / limit.perMinute),
    Math.min(limit.share, (used / limit.perMinute) * CLEAR),
  );
  limit.growsFrom = now + limit.retryMs;
  limit.retryMs = Math.min(MOST_RETRY_MS, limit.retryMs * 2);
  const lowered = Math.min(capacityOf(limit), level - (before - capacityOf(limit)));
  limit.shift += lowered - level;
  set(limit, lowered, now);
}

/** Nothing fits before `until`, and then just nothing is missing. */
export function emptyUntil(limit: LimitState, until: number, now: number): void {
  const bound = limit.held - refillOf(limit) * Math.max(0, until - now);
  const level = levelOf(limit, now);
  if (level <= bound) return;
  limit.shift += bound - level;
  limit.loweredAt = now;
  set(limit, bound, now);
}

/** A level that somebody remembers is a bound of one that was lost. */
export function boundBy(limit: LimitState, level: number, side: Side, now: number): void {
  if (levelOf(limit, now) <= level) return;
  set(limit, level, now);
  note(limit, side, now);
}

export const told = (limit: LimitState, now: number): LevelTold => ({
  perMinute: limit.perMinute,
  source: limit.source,
  capacity: capacityOf(limit),
  level: availableOf(limit, now),
  ratePerMs: refillOf(limit),
});
