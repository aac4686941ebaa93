/** Share that one call has in the mean. */
const STEP = 0.05;

/** The mean of what calls cost, or of how long they take; that of old ones fades. */
export class MovingMean {
  #value = 0;

  /** 0 until something was added. */
  get value(): number {
    return this.#value;
  }

  add(one: number): void {
    this.#value += (this.#value === 0 ? 1 : STEP) * (one - this.#value);
  }
}

/** The share of the limits that calls can use at a pace, in requests per millisecond: all of it where there is none. */
export function shareAt(pacePerMs: number | undefined, meanCost: number): number {
  return pacePerMs === undefined || meanCost === 0 ? 1 : Math.min(1, pacePerMs * meanCost);
}
