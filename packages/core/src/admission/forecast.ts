import type { Rest } from '../estimate/lengths.ts';

/**
 * The output that calls in flight are going to produce, on a time line.
 *
 * The API charges output as it is produced, so a call takes nothing at its start and much later on. Holding what
 * each call may take in the end would leave most of a shallow bucket unused; what matters is whether the level, run
 * forward with its refill and with what the calls in flight and the new one are going to take, ever passes below
 * zero. Each call produces at its pace until its rest is done, so the level first falls and then rises: it is enough to look
 * at some points in time, close together at first and farther apart later. The rests are uncertain but independent,
 * so the safety margin grows with the root of the sum of their variances, not with their number.
 */
const FIRST_POINT_MS = 50;
const GROWTH = 1.35;
const POINTS = 30;

/** Milliseconds from the base of a forecast: 50 ms to about five minutes. */
export const POINT_MS: readonly number[] = Array.from(
  { length: POINTS },
  (_, k) => FIRST_POINT_MS * GROWTH ** k,
);

/** Standard deviations of the pooled rests that are kept free. */
const MARGIN = 1.5;

/** What one call is going to produce. */
export interface Production extends Rest {
  /** Milliseconds until its next token. */
  readonly delayMs: number;
  readonly tokensPerMs: number;
}

/** Share of the rest that is produced within `ms`. */
function shareBy(production: Production, ms: number): number {
  if (production.mean <= 0) return 0;
  return Math.min(1, (production.tokensPerMs * Math.max(0, ms - production.delayMs)) / production.mean);
}

/** Sums over the calls in flight at each point: adding or removing one costs the same however many there are. */
export class Forecast {
  readonly #use = new Float64Array(POINTS);
  readonly #variance = new Float64Array(POINTS);

  clear(): void {
    this.#use.fill(0);
    this.#variance.fill(0);
  }

  add(production: Production): void {
    this.#sum(production, 1);
  }

  remove(production: Production): void {
    this.#sum(production, -1);
  }

  #sum(production: Production, sign: 1 | -1): void {
    for (let k = 0; k < POINTS; k++) {
      const share = shareBy(production, POINT_MS[k] ?? 0);
      if (share === 0) continue;
      this.#use[k] = Math.max(0, (this.#use[k] ?? 0) + sign * share * production.mean);
      this.#variance[k] = Math.max(0, (this.#variance[k] ?? 0) + sign * share * share * production.variance);
    }
  }

  /**
   * The lowest level ahead, margin deducted, if `next` starts now. The level is run forward under its cap: what
   * refill would add above the capacity while first tokens are awaited is not there later.
   */
  lowest(level: number, capacity: number, ratePerMs: number, next: Production): number {
    let lowest = level;
    let ahead = level;
    let lastMs = 0;
    let lastUse = 0;
    for (let k = 0; k < POINTS; k++) {
      const ms = POINT_MS[k] ?? 0;
      const share = shareBy(next, ms);
      const use = (this.#use[k] ?? 0) + share * next.mean;
      const variance = (this.#variance[k] ?? 0) + share * share * next.variance;
      ahead = Math.min(capacity, ahead + ratePerMs * (ms - lastMs) - (use - lastUse));
      lowest = Math.min(lowest, ahead - MARGIN * Math.sqrt(variance));
      lastMs = ms;
      lastUse = use;
    }
    return lowest;
  }

  /** Tokens that the calls in flight are expected to produce yet. */
  get pending(): number {
    return this.#use[POINTS - 1] ?? 0;
  }
}
