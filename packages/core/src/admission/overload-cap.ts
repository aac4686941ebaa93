/**
 * How many calls run while the API says that it is overloaded, or does not answer in time: seven tenths of those that
 * ran, once in ten seconds, and one more for each round of calls that end well. The way back ends at a quarter more than
 * ever ran at once before, where the cap has no more to say and goes. Durations are not looked at: an answer takes as
 * long as it is long, which says nothing of congestion.
 */
const DECREASE = 0.7;
const EPOCH_MS = 10_000;
const HEADROOM = 1.25;

export class OverloadCap {
  #limit = Number.POSITIVE_INFINITY;
  /** Calls in flight when the API was first overloaded. */
  #before = 0;
  #decreasedAt = Number.NEGATIVE_INFINITY;

  get limit(): number {
    return Math.floor(this.#limit);
  }

  /** Rounds of `calls` until all of them are served, with the cap growing as it does while they end well. */
  roundsOf(calls: number): number {
    const limit = Math.max(1, this.#limit);
    if (!Number.isFinite(limit)) return 0;
    const most = Math.max(limit, HEADROOM * this.#before);
    const growing = most - limit;
    // One more in each round: after r rounds r * limit + r * (r - 1) / 2 are served.
    const served = growing * limit + (growing * (growing - 1)) / 2;
    if (calls > served) return growing + (calls - served) / most;
    const half = limit - 0.5;
    return Math.sqrt(half * half + 2 * calls) - half;
  }

  /** A call that started at `startedAt` met an overloaded API. */
  overloaded(startedAt: number, active: number, now: number): void {
    // Calls that were under way already say nothing of the new limit.
    if (startedAt < this.#decreasedAt || now - this.#decreasedAt < EPOCH_MS) return;
    this.#decreasedAt = now;
    if (!Number.isFinite(this.#limit)) this.#before = active;
    this.#limit = Math.max(1, DECREASE * Math.min(this.#limit, Math.max(1, active)));
  }

  /** A call ended; one that started before the last decrease is no sign that the new limit is well borne. */
  ended(startedAt: number, active: number): void {
    if (!Number.isFinite(this.#limit) || startedAt < this.#decreasedAt) return;
    // No growth where the cap does not bind: nothing would be learned of it.
    if (active + 1 < this.#limit / 2) return;
    this.#limit += 1 / this.#limit;
    if (this.#limit > HEADROOM * this.#before) this.forget();
  }

  forget(): void {
    this.#limit = Number.POSITIVE_INFINITY;
  }
}
