import type { Dimension } from './rate-headers.ts';

/** What is left in a bucket on purpose. Each is an offset, paid once: no loss of rate. Amounts in requests or tokens. */

/**
 * A request reaches the API this much later than it left, at most. A full bucket stays full until then and the refill
 * of that time is lost; so whoever takes from a full bucket takes that much more.
 */
export const ARRIVAL_JITTER_MS = 100;
/**
 * A level of nothing and a level far below it look the same in a header, so a little is left in each bucket, where it can be
 * seen: of requests, and of tokens. A shallow bucket leaves less.
 */
const VISIBLE: Record<Dimension, number> = { requests: 3, inputTokens: 1_500, outputTokens: 1_500 };
const MOST_VISIBLE = 0.1;
/**
 * Refill, in milliseconds, that is left besides: what another consumer who comes may take before responses show it. A
 * fifth of the account takes it in nearly three seconds, where a response is about one second old.
 */
const SPARE_MS = 550;
/** The same where responses are older, as a share of their age: JSON answers show nothing before their end. */
const SEEN_LATE = 0.25;
const MOST_SPARE = 0.25;
/** A bucket no deeper than this, in milliseconds of refill, spares as little as can be: it has too little to lend. */
const SHALLOW_MS = 2_000;

/** Left so that the level can be seen. */
export function visibleOf(dimension: Dimension, capacity: number): number {
  return Math.min(VISIBLE[dimension], MOST_VISIBLE * capacity);
}

/** Left for what has not been seen yet. `ageMs`: how old responses are. */
export function spareOf(dimension: Dimension, capacity: number, ratePerMs: number, ageMs: number): number {
  const unseen = Math.max(SPARE_MS, SEEN_LATE * ageMs);
  const most = Math.max(
    MOST_VISIBLE * capacity,
    Math.min(MOST_SPARE * capacity, capacity - SHALLOW_MS * ratePerMs),
  );
  return Math.min(Math.max(VISIBLE[dimension], ratePerMs * unseen), most);
}
