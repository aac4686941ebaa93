/**
 * Where a level has been lately: its lowest and highest value in each eighth of a second of the last minute. It is
 * what a response is compared with, since what a response says was true at some moment between its request and its
 * arrival, and nobody knows which.
 */
const BIN_MS = 125;
const BINS = 512;

export class Trail {
  readonly #lows = new Float64Array(BINS);
  readonly #highs = new Float64Array(BINS);
  /** Number of the newest bin, counted from time zero. */
  #newest: number;
  readonly #startedAt: number;
  #lastLow: number;
  /** What has been added to the level for a mistake in it: the past was as wrong as the present. */
  #shift = 0;

  constructor(level: number, now: number) {
    this.#newest = Math.floor(now / BIN_MS);
    this.#startedAt = this.#newest;
    this.#lastLow = level;
    this.#lows[this.#newest % BINS] = level;
    this.#highs[this.#newest % BINS] = level;
  }

  /** The level is between `low` and `high`. Between two notes it only rises. */
  note(low: number, high: number, now: number): void {
    const bin = Math.floor(now / BIN_MS);
    const from = low - this.#shift;
    const to = high - this.#shift;
    if (bin > this.#newest) {
      for (let skipped = Math.max(this.#newest + 1, bin - BINS + 1); skipped <= bin; skipped++) {
        this.#lows[skipped % BINS] = Math.min(this.#lastLow, from);
        this.#highs[skipped % BINS] = to;
      }
      this.#highs[this.#newest % BINS] = Math.max(this.#highs[this.#newest % BINS] ?? to, to);
      this.#newest = bin;
    }
    const at = this.#newest % BINS;
    this.#lows[at] = Math.min(this.#lows[at] ?? from, from);
    this.#highs[at] = Math.max(this.#highs[at] ?? to, to);
    this.#lastLow = from;
  }

  /** The level was wrong by `amount` all along. */
  shift(amount: number): void {
    this.#shift += amount;
  }

  /** Lowest and highest since `from`; nothing where the trail does not reach that far. */
  since(from: number): { low: number; high: number } | undefined {
    const first = Math.max(this.#startedAt, Math.floor(from / BIN_MS));
    if (first <= this.#newest - BINS) return undefined;
    let low = Number.POSITIVE_INFINITY;
    let high = Number.NEGATIVE_INFINITY;
    for (let bin = Math.min(first, this.#newest); bin <= this.#newest; bin++) {
      low = Math.min(low, this.#lows[bin % BINS] ?? low);
      high = Math.max(high, this.#highs[bin % BINS] ?? high);
    }
    return { low: low + this.#shift, high: high + this.#shift };
  }

  /** Highest of the whole trail. */
  get highest(): number {
    let high = Number.NEGATIVE_INFINITY;
    const first = Math.max(this.#startedAt, this.#newest - BINS + 1);
    for (let bin = first; bin <= this.#newest; bin++) high = Math.max(high, this.#highs[bin % BINS] ?? high);
    return high + this.#shift;
  }
}
