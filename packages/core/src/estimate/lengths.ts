/**
 * How long answers are: a histogram of output tokens on a logarithmic scale, old answers fading. Lengths have
 * heavy tails, and a call still running is longer than most, so what matters is the rest of an answer given what
 * it has produced so far; a mean of all answers would err on the side of refusals by the API.
 */
const BINS = 48;
/** Bin i holds lengths up to 2^((i+1)/3): 48 bins reach 65,536 tokens. */
const PER_OCTAVE = 3;
/** After this many answers the weight of the first has halved. */
const HALF_LIFE = 500;
const GROWTH = 2 ** (1 / HALF_LIFE);
/** Weight at which the scale is brought back, long before numbers get too large to add up. */
const RESCALE_AT = 2 ** 40;
/** With fewer answers than this a length is taken as anything up to its ceiling. */
const ENOUGH = 8;

const upper = (bin: number) => 2 ** ((bin + 1) / PER_OCTAVE);
const lower = (bin: number) => (bin === 0 ? 0 : upper(bin - 1));
const binOf = (tokens: number) =>
  Math.min(BINS - 1, Math.max(0, Math.ceil(Math.log2(Math.max(1, tokens)) * PER_OCTAVE) - 1));

/** What is left of an answer: its mean and variance, in tokens. */
export interface Rest {
  readonly mean: number;
  readonly variance: number;
}

export class Lengths {
  readonly #weights = new Float64Array(BINS);
  #weight = 1;
  #samples = 0;

  get samples(): number {
    return this.#samples;
  }

  learn(tokens: number): void {
    if (!(tokens >= 0)) return;
    const bin = binOf(tokens);
    this.#weights[bin] = (this.#weights[bin] ?? 0) + this.#weight;
    this.#samples++;
    this.#weight *= GROWTH;
    if (this.#weight > RESCALE_AT) {
      for (let i = 0; i < BINS; i++) this.#weights[i] = (this.#weights[i] ?? 0) / this.#weight;
      this.#weight = 1;
    }
  }

  /**
   * What is still to come of an answer that has produced `produced` tokens and ends at `ceiling` at the latest.
   * Inside a bin lengths are taken as even.
   */
  rest(produced: number, ceiling: number): Rest {
    const left = Math.max(0, ceiling - produced);
    if (left === 0) return { mean: 0, variance: 0 };
    if (this.#samples < ENOUGH) return { mean: left / 2, variance: (left * left) / 12 };
    let weight = 0;
    let sum = 0;
    let squares = 0;
    for (let bin = binOf(produced); bin < BINS; bin++) {
      const all = this.#weights[bin] ?? 0;
      if (all === 0) continue;
      const from = lower(bin);
      const to = upper(bin);
      if (to <= produced) continue;
      const start = Math.max(from, produced);
      const share = all * ((to - start) / (to - from));
      // A bin beyond the ceiling stands for answers that the ceiling cuts.
      const a = Math.min(start, ceiling) - produced;
      const b = Math.min(to, ceiling) - produced;
      weight += share;
      sum += (share * (a + b)) / 2;
      squares += (share * (a * a + a * b + b * b)) / 3;
    }
    // Longer than anything seen: as likely to be nearly done as to go on for as long again.
    if (weight === 0) {
      const mean = Math.min(left / 2, produced / 2 + 1);
      return { mean, variance: mean * mean };
    }
    const mean = sum / weight;
    return { mean, variance: Math.max(0, squares / weight - mean * mean) };
  }
}
