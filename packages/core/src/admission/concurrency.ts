import { keptSlots } from '../slots.ts';

/**
 * How many calls may be in flight at once. What is configured holds always. Beyond it there is no cap while the API
 * keeps up: an API that charges by the minute is used best by as many calls as fit its minute, however long each takes. When
 * it says that it is overloaded, or does not answer in time, fewer calls run: seven tenths of those that ran, once in
 * ten seconds, and one more for each round of calls that end well. The way back ends at a quarter more than ever
 * ran at once before, where the cap has no more to say and goes. Durations are not looked at: an answer takes as
 * long as it is long, which says nothing of congestion.
 */
const DECREASE = 0.7;
const EPOCH_MS = 10_000;
const HEADROOM = 1.25;

export class Concurrency {
  #configured: number | undefined;
  #learned = Number.POSITIVE_INFINITY;
  /** Calls in flight when the API was first overloaded. */
  #before = 0;
  #decreasedAt = Number.NEGATIVE_INFINITY;

  constructor(configured: number | undefined) {
    this.#configured = configured;
  }

  configure(configured: number | undefined): void {
    this.#configured = configured;
  }

  get limit(): number | undefined {
    const limit = Math.min(this.#configured ?? Number.POSITIVE_INFINITY, Math.floor(this.#learned));
    return Number.isFinite(limit) ? limit : undefined;
  }

  /** `reserve`: the share of the slots that the call's lane may not use. */
  hasRoom(active: number, reserve = 0): boolean {
    const limit = this.limit ?? Number.POSITIVE_INFINITY;
    return active < limit - keptSlots(limit, reserve);
  }

  /** A call that started at `startedAt` met an overloaded API. */
  overloaded(startedAt: number, active: number, now: number): void {
    // Calls that were under way already say nothing of the new limit.
    if (startedAt < this.#decreasedAt || now - this.#decreasedAt < EPOCH_MS) return;
    this.#decreasedAt = now;
    if (!Number.isFinite(this.#learned)) this.#before = active;
    this.#learned = Math.max(1, DECREASE * Math.min(this.#learned, Math.max(1, active)));
  }

  /** A call ended; one that started before the last decrease is no sign that the new limit is well borne. */
  ended(startedAt: number, active: number, _now: number): void {
    if (!Number.isFinite(this.#learned) || startedAt < this.#decreasedAt) return;
    // No growth where the cap does not bind: nothing would be learned of it.
    if (active + 1 < this.#learned / 2) return;
    this.#learned += 1 / this.#learned;
    if (this.#learned > HEADROOM * this.#before) this.#learned = Number.POSITIVE_INFINITY;
  }
}
