import type { RestCurve } from '../estimate/rest-curve.ts';

/**
 * The output that calls in flight are going to produce, on a time line.
 *
 * The API charges output as it is produced, so a call takes nothing at its start and much later on. What matters is
 * whether the level, run forward with its refill and with what the calls in flight and the new one are going to take,
 * passes below zero before it rises again. No call after the new one is reckoned with: none needs to be let in. So
 * the path falls while more is produced than refills, and rises as answers end; it is enough to look at some
 * points in time, close together at first and farther apart later.
 *
 * How long an answer is going to be is uncertain, but how much of it comes within the next second is not: a call takes
 * min(rest, pace × time). The margin is that quantity's standard deviation, pooled over the calls, which are
 * independent: it grows with the root of their number, and it is small where the path is lowest, which is soon. Taking
 * the rest's own variance instead, scaled to the time, kept a bucket of one second's depth a third unused.
 *
 * Two more things are known. No call produces faster than its pace, so the path is never lower than with every answer going
 * on for ever: where all of them together produce less than refills, nothing can go wrong, however little is known. And
 * where the path meets the capacity, what came before is forgotten: only what is uncertain after that counts.
 *
 * Sums are kept for each point from the last time they were made anew, so that adding a call, taking one out and asking
 * cost the same however many are in flight.
 */
const FIRST_POINT_MS = 100;
const GROWTH = 1.5;
const POINTS = 20;

/** Milliseconds from the base of a forecast: a tenth of a second to nearly four minutes. */
export const POINT_MS: readonly number[] = Array.from(
  { length: POINTS },
  (_, k) => FIRST_POINT_MS * GROWTH ** k,
);

/** What one call is going to produce. */
export interface Production {
  readonly curve: RestCurve;
  /** Milliseconds until its next token, as of `at`. */
  readonly delayMs: number;
  readonly tokensPerMs: number;
  /** Tokens that it can produce yet. */
  readonly most: number;
  readonly at: number;
}

/** Sums over the calls in flight at each point. */
export class Forecast {
  readonly #use = new Float64Array(POINTS);
  readonly #variance = new Float64Array(POINTS);
  /** With every answer going on up to its ceiling. */
  readonly #most = new Float64Array(POINTS);
  readonly #margin: number;
  #base = 0;

  /** `margin`: standard deviations of the pooled production that are kept free. */
  constructor(margin: number) {
    this.#margin = margin;
  }

  clear(now: number): void {
    this.#base = now;
    this.#use.fill(0);
    this.#variance.fill(0);
    this.#most.fill(0);
  }

  /** `calls` of them, each by itself. */
  add(production: Production, calls = 1): void {
    this.#sum(production, calls);
  }

  remove(production: Production): void {
    this.#sum(production, -1);
  }

  #sum({ curve, delayMs, tokensPerMs, most, at }: Production, calls: number): void {
    for (let k = 0; k < POINTS; k++) {
      const tokens = tokensPerMs * ((POINT_MS[k] ?? 0) - (at - this.#base) - delayMs);
      if (tokens <= 0) continue;
      const mean = curve.mean(tokens);
      const variance = Math.max(0, curve.square(tokens) - mean * mean);
      this.#use[k] = Math.max(0, (this.#use[k] ?? 0) + calls * mean);
      this.#most[k] = Math.max(0, (this.#most[k] ?? 0) + calls * Math.min(most, tokens));
      this.#variance[k] = Math.max(0, (this.#variance[k] ?? 0) + calls * variance);
    }
  }

  /**
   * The lowest level from the first token of `next` on, margin deducted, if it starts now; `level` is as charged at the
   * base. Before its first token `next` changes nothing: were a low level of that time counted against it, a path that
   * rises again would be left empty, and then be filled by a volley. The level is run forward under its cap: what refill
   * would add above the capacity while first tokens are awaited is not there later.
   */
  lowest(level: number, capacity: number, ratePerMs: number, next: Production): number {
    const since = next.at - this.#base;
    let lastMs = 0;
    let lastUse = interpolate(this.#use, since);
    let lastMost = interpolate(this.#most, since);
    // What has been produced since the base is not off the level yet.
    let ahead = level - lastUse;
    let worst = level - lastMost;
    let lowest = Number.POSITIVE_INFINITY;
    let forgotten = 0;
    for (let k = 0; k < POINTS; k++) {
      const ms = (POINT_MS[k] ?? 0) - since;
      if (ms <= 0) continue;
      const tokens = next.tokensPerMs * (ms - next.delayMs);
      const mean = tokens <= 0 ? 0 : next.curve.mean(tokens);
      const own = tokens <= 0 ? 0 : Math.max(0, next.curve.square(tokens) - mean * mean);
      const use = (this.#use[k] ?? 0) + mean;
      const most = (this.#most[k] ?? 0) + Math.max(0, Math.min(next.most, tokens));
      const variance = (this.#variance[k] ?? 0) + own;
      const refill = ratePerMs * (ms - lastMs);
      ahead += refill - (use - lastUse);
      worst = Math.min(capacity, worst + refill - (most - lastMost));
      if (ahead >= capacity) {
        ahead = capacity;
        forgotten = variance;
      }
      const likely = ahead - this.#margin * Math.sqrt(Math.max(0, variance - forgotten));
      if (ms >= next.delayMs) lowest = Math.min(lowest, Math.max(worst, likely));
      lastMs = ms;
      lastUse = use;
      lastMost = most;
    }
    return lowest;
  }

  /** Tokens a millisecond that the calls in flight are expected to produce between two times from `now`. */
  paceBetween(fromMs: number, toMs: number, now: number): number {
    const since = now - this.#base;
    return (interpolate(this.#use, since + toMs) - interpolate(this.#use, since + fromMs)) / (toMs - fromMs);
  }

  /** Tokens that the calls in flight are expected to produce yet. */
  get pending(): number {
    return this.#use[POINTS - 1] ?? 0;
  }

  /** The sums at each point from the base. */
  get path(): { use: number[]; variance: number[]; most: number[] } {
    return { use: [...this.#use], variance: [...this.#variance], most: [...this.#most] };
  }
}

/** A sum at `ms` after the base, in a straight line between its points. */
function interpolate(sums: Float64Array, ms: number): number {
  let fromMs = 0;
  let from = 0;
  for (let k = 0; k < POINTS; k++) {
    const toMs = POINT_MS[k] ?? 0;
    const to = sums[k] ?? 0;
    if (ms <= toMs) return from + ((to - from) * Math.max(0, ms - fromMs)) / (toMs - fromMs);
    fromMs = toMs;
    from = to;
  }
  return from;
}
