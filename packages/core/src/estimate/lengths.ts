/**
 * How long answers are: a histogram of output tokens on a logarithmic scale, old answers fading. Lengths have
 * heavy tails, and a call still running is longer than most, so what matters is the rest of an answer given what
 * it has produced so far; a mean of all answers would err on the side of refusals by the API.
 *
 * With S(y) the share of answers longer than y, an answer that has come to p and goes on will have added, by the time
 * it could have added x, min(rest, x) tokens. Its mean is ∫S from p to p+x over S(p), and its mean square is
 * 2∫(y−p)S(y) over S(p). Both follow from two running integrals of S, so that a look costs the same whatever was
 * learned. They matter more than the rest alone: how much a call takes in the next second is nearly certain, even where
 * nobody knows when it will end.
 *
 * S is estimated as survival is (Kaplan and Meier): for each bin, the share of those that left it which left it by ending
 * there. A running call counts each time that it leaves a bin for the next, as it happens. Without that the first minute of a
 * process, and every time that answers grow longer, would be judged by the short answers alone, which end first.
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
/** Answers that each bin is taken to have seen though it has not: nothing is ever thought impossible. */
const GHOST = 0.01;

const upper = (bin: number) => 2 ** ((bin + 1) / PER_OCTAVE);
const lower = (bin: number) => (bin === 0 ? 0 : upper(bin - 1));
const EDGES = Float64Array.from({ length: BINS + 1 }, (_, bin) => lower(bin));
const widthOf = (bin: number) => (EDGES[bin + 1] ?? 0) - (EDGES[bin] ?? 0);
const binOf = (tokens: number) =>
  tokens <= 1 ? 0 : Math.min(BINS - 1, Math.max(0, Math.ceil(Math.log2(tokens) * PER_OCTAVE) - 1));

/** Number of bins that lie wholly below a length. */
const passed = (tokens: number) =>
  tokens <= 1 ? 0 : Math.min(BINS, Math.floor(Math.log2(tokens) * PER_OCTAVE));

/** What is left of an answer: its mean and variance, in tokens. */
export interface Rest {
  readonly mean: number;
  readonly variance: number;
}

/** What is left of an answer, of which at most so many tokens can come in the time looked at. */
export interface RestCurve {
  /** Mean of min(rest, `tokens`). */
  mean(tokens: number): number;
  /** Mean of its square. */
  square(tokens: number): number;
}

export class Lengths {
  /** Answers that ended in each bin, and all that left it, the old ones fading. */
  readonly #ended = new Float64Array(BINS);
  readonly #left = new Float64Array(BINS);
  #weight = 1;
  #samples = 0;
  /** At each edge: weight of longer answers, and the integrals of that and of that times the length. */
  readonly #longer = new Float64Array(BINS + 1);
  readonly #area = new Float64Array(BINS + 1);
  readonly #moment = new Float64Array(BINS + 1);
  #isStale = true;
  #version = 0;

  /** Of the integrals: another one where they have changed. */
  get version(): number {
    return this.#version;
  }

  get samples(): number {
    return this.#samples;
  }

  /** An answer has ended, that was counted up to `counted` while it ran. */
  learn(tokens: number, counted = 0): void {
    if (!(tokens >= 0)) return;
    const bin = binOf(tokens);
    this.#leave(passed(counted), bin);
    this.#left[bin] = (this.#left[bin] ?? 0) + this.#weight;
    this.#ended[bin] = (this.#ended[bin] ?? 0) + this.#weight;
    this.#samples++;
    this.#weight *= GROWTH;
    this.#isStale = true;
    if (this.#weight > RESCALE_AT) {
      for (let i = 0; i < BINS; i++) {
        this.#ended[i] = (this.#ended[i] ?? 0) / this.#weight;
        this.#left[i] = (this.#left[i] ?? 0) / this.#weight;
      }
      this.#weight = 1;
    }
  }

  /** A running answer that was counted up to `from` has come to `to`. */
  running(from: number, to: number): void {
    this.#leave(passed(from), passed(to));
  }

  /** One that was thought to have come farther than it had comes back. */
  #leave(from: number, to: number): void {
    if (from === to) return;
    this.#isStale = true;
    for (let bin = from; bin < to; bin++) this.#left[bin] = (this.#left[bin] ?? 0) + this.#weight;
    for (let bin = to; bin < from; bin++)
      this.#left[bin] = Math.max(this.#ended[bin] ?? 0, (this.#left[bin] ?? 0) - this.#weight);
  }

  /** What is still to come of an answer that has produced `produced` tokens and ends at `ceiling` at the latest. */
  rest(produced: number, ceiling: number): Rest {
    const curve = this.curve(produced, ceiling);
    const mean = curve.mean(Number.POSITIVE_INFINITY);
    return { mean, variance: Math.max(0, curve.square(Number.POSITIVE_INFINITY) - mean * mean) };
  }

  curve(produced: number, ceiling: number): RestCurve {
    const left = Math.max(0, ceiling - produced);
    if (this.#samples < ENOUGH || produced >= upper(BINS - 1)) return new EvenCurve(left);
    this.#integrate();
    return new LearnedCurve(this, Math.max(0, produced), left);
  }

  /** The least length that a share `quantile` of the answers longer than `produced` does not pass. */
  quantile(quantile: number, produced: number, ceiling: number): number {
    if (this.#samples < ENOUGH) return Math.max(produced, produced + quantile * (ceiling - produced));
    this.#integrate();
    const aim = (1 - quantile) * this.longerThan(produced);
    let low = produced;
    let high = Math.max(produced, ceiling);
    for (let i = 0; i < 24; i++) {
      const middle = (low + high) / 2;
      if (this.longerThan(middle) > aim) low = middle;
      else high = middle;
    }
    return high;
  }

  #integrate(): void {
    if (!this.#isStale) return;
    this.#isStale = false;
    this.#version++;
    const ghost = GHOST * this.#weight;
    this.#longer[0] = 1;
    for (let bin = 0; bin < BINS; bin++) {
      // The ghosts that are left are spread evenly over the bins that are left.
      const ended = (this.#ended[bin] ?? 0) + ghost;
      const left = (this.#left[bin] ?? 0) + ghost * (BINS - bin);
      this.#longer[bin + 1] = (this.#longer[bin] ?? 0) * Math.max(0, 1 - ended / left);
    }
    for (let bin = 0; bin < BINS; bin++) {
      const edge = EDGES[bin + 1] ?? 0;
      this.#area[bin + 1] = this.#areaIn(bin, edge);
      this.#moment[bin + 1] = this.#momentIn(bin, edge);
    }
  }

  /** Inside a bin lengths are taken as even, so that S falls in a straight line. */
  #slope(bin: number): number {
    return ((this.#longer[bin + 1] ?? 0) - (this.#longer[bin] ?? 0)) / widthOf(bin);
  }

  longerThan(tokens: number, bin = binOf(tokens)): number {
    return (this.#longer[bin] ?? 0) + this.#slope(bin) * (tokens - (EDGES[bin] ?? 0));
  }

  areaTo(tokens: number, bin: number): number {
    return this.#areaIn(bin, tokens);
  }

  momentTo(tokens: number, bin: number): number {
    return this.#momentIn(bin, tokens);
  }

  #areaIn(bin: number, tokens: number): number {
    const t = tokens - (EDGES[bin] ?? 0);
    return (this.#area[bin] ?? 0) + (this.#longer[bin] ?? 0) * t + (this.#slope(bin) * t * t) / 2;
  }

  #momentIn(bin: number, tokens: number): number {
    const edge = EDGES[bin] ?? 0;
    const t = tokens - edge;
    const longer = this.#longer[bin] ?? 0;
    const slope = this.#slope(bin);
    return (
      (this.#moment[bin] ?? 0) +
      edge * (longer * t + (slope * t * t) / 2) +
      (longer * t * t) / 2 +
      (slope * t * t * t) / 3
    );
  }
}

const LONGEST = upper(BINS - 1);

class LearnedCurve implements RestCurve {
  readonly #lengths: Lengths;
  readonly #from: number;
  readonly #fromBin: number;
  readonly #left: number;
  /** Bin of the length looked at last: the mean and the square of one are asked for together, and a logarithm costs. */
  #to = -1;
  #toBin = 0;
  /** What the integrals are where the answer is now, as of a version of them: dozens of looks begin there. */
  #version = -1;
  #longer = 1;
  #area = 0;
  #moment = 0;

  constructor(lengths: Lengths, produced: number, left: number) {
    this.#lengths = lengths;
    this.#from = produced;
    this.#fromBin = binOf(produced);
    this.#left = Math.min(left, LONGEST - produced);
  }

  #look(to: number): void {
    const lengths = this.#lengths;
    if (lengths.version !== this.#version) {
      this.#version = lengths.version;
      this.#longer = lengths.longerThan(this.#from, this.#fromBin);
      this.#area = lengths.areaTo(this.#from, this.#fromBin);
      this.#moment = lengths.momentTo(this.#from, this.#fromBin);
    }
    if (to === this.#to) return;
    this.#to = to;
    this.#toBin = binOf(to);
  }

  mean(tokens: number): number {
    const most = Math.min(tokens, this.#left);
    if (most <= 0) return 0;
    const to = this.#from + most;
    this.#look(to);
    const area = this.#lengths.areaTo(to, this.#toBin) - this.#area;
    return Math.min(most, Math.max(0, area / this.#longer));
  }

  square(tokens: number): number {
    const most = Math.min(tokens, this.#left);
    if (most <= 0) return 0;
    const to = this.#from + most;
    this.#look(to);
    const area = this.#lengths.areaTo(to, this.#toBin) - this.#area;
    const moment = this.#lengths.momentTo(to, this.#toBin) - this.#moment;
    return Math.max(0, (2 * (moment - this.#from * area)) / this.#longer);
  }
}

/** Any rest up to `left` is as likely as any other: nothing is known yet. */
export class EvenCurve implements RestCurve {
  readonly #left: number;

  constructor(left: number) {
    this.#left = left;
  }

  mean(tokens: number): number {
    const most = Math.min(tokens, this.#left);
    return most <= 0 ? 0 : most - (most * most) / (2 * this.#left);
  }

  square(tokens: number): number {
    const most = Math.min(tokens, this.#left);
    return most <= 0 ? 0 : most * most - (2 * most ** 3) / (3 * this.#left);
  }
}
