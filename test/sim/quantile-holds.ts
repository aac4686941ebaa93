import type { Demand, Flight } from '../../packages/core/src/admission/flight.ts';
import type { OutputRule } from '../../packages/core/src/admission/output-rule.ts';
import type { Estimator } from '../../packages/core/src/estimate/estimator.ts';

const QUANTILE = 0.9;

/**
 * The other rule, to measure against: each call holds what nine of ten answers as far along do not pass, topped up as
 * its stream goes on, and a call starts when its hold is free. Kept in the simulation only.
 */
export class QuantileHolds implements OutputRule {
  readonly #estimator: Estimator;
  readonly #holds = new Map<Flight, number>();
  #held = 0;

  constructor(estimator: Estimator) {
    this.#estimator = estimator;
  }

  started(flight: Flight): void {
    this.#set(flight, 0);
  }

  ended(flight: Flight): void {
    this.#held -= this.#holds.get(flight) ?? 0;
    this.#holds.delete(flight);
    if (this.#holds.size === 0) {
      this.#held = 0;
    }
  }

  refresh(flights: Iterable<Flight>): void {
    this.#holds.clear();
    this.#held = 0;
    for (const flight of flights) if (flight.demand.chargesTokens) this.#set(flight, flight.produced);
  }

  #set(flight: Flight, produced: number): void {
    const { key } = flight.demand.estimate;
    const hold = this.#estimator.quantile(key, QUANTILE, produced) - produced;
    this.#holds.set(flight, hold);
    this.#held += hold;
  }

  missing(demand: Demand, level: number, capacity: number): number {
    const own = this.#estimator.quantile(demand.estimate.key, QUANTILE, 0);
    // One that is deeper than the bucket would never start.
    return Math.min(own, capacity) + this.#held - level;
  }

  /** Holds are paid for in full: nothing more is needed to keep calls from going all at once. */
  slack(): number {
    return Number.POSITIVE_INFINITY;
  }

  get pending(): number {
    return this.#held;
  }
}
