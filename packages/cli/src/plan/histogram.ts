/** Bins are so much wider than the one before: a quantile is at most so much too high. */
const GROWTH = 1.01;
const STEP = Math.log(GROWTH);
/** Up to 1.01 ** 2047 ms, which is longer than anybody waits. */
const BINS = 2_048;

/** Durations in bounded memory, however many. */
export class Histogram {
  readonly #bins = new Float64Array(BINS);
  #count = 0;
  #sum = 0;
  #most = 0;

  add(ms: number): void {
    // Under a millisecond nobody has waited.
    const bin = ms < 1 ? 0 : Math.min(BINS - 1, 1 + Math.floor(Math.log(ms) / STEP));
    this.#bins[bin] = (this.#bins[bin] ?? 0) + 1;
    this.#count++;
    this.#sum += ms;
    this.#most = Math.max(this.#most, ms);
  }

  get count(): number {
    return this.#count;
  }

  get most(): number {
    return this.#most;
  }

  get mean(): number {
    return this.#count === 0 ? 0 : this.#sum / this.#count;
  }

  /** At most 1 % too high, and never too low. */
  quantile(q: number): number {
    // The rank before any rounding of q times the count: the tenth of ten is the 0.9 and not the 1.
    let left = Math.max(1, Math.ceil(q * this.#count - 1e-9));
    for (let bin = 0; bin < BINS; bin++) {
      left -= this.#bins[bin] ?? 0;
      if (left <= 0) return bin === 0 ? 0 : Math.min(this.#most, GROWTH ** bin);
    }
    return this.#most;
  }
}
