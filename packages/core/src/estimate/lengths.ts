import { MAX_NOTICES } from '../notice.ts';
import { remember } from '../remember.ts';
import { BINS, binOf, EDGES, LONGEST, passed, widthOf } from './bins.ts';
import { EvenCurve, LearnedCurve, type RestCurve } from './rest-curve.ts';

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
 *
 * What other processes have learned is added to our own: each tells what it has seen itself and nothing else, so nothing counts
 * twice. Their new answers make older ones fade as our own do. So all know what one process would that had seen all answers, as
 * fast, but for what is on its way.
 */
/** After this many answers the weight of the first has halved. */
const HALF_LIFE = 500;
const GROWTH = 2 ** (1 / HALF_LIFE);
/** Weight at which the scale is brought back, long before numbers get too large to add up. */
const RESCALE_AT = 2 ** 40;
/** With fewer answers than this a length is taken as anything up to its ceiling. */
const ENOUGH = 8;
/** Answers that each bin is taken to have seen though it has not: nothing is ever thought impossible. */
const GHOST = 0.01;

/** The most answers of another process that are new at a time: after that nothing older is worth much. */
const MOST_NEW = 4 * HALF_LIFE;

/** What a process has seen of lengths: `ended` and `left` with the weight of an answer that would end now as 1. */
export interface LengthsTold {
  /** Answers that it has learned from, ever. */
  readonly samples: number;
  readonly ended: ArrayLike<number>;
  readonly left: ArrayLike<number>;
}

/** What is left of an answer: its mean and variance, in tokens. */
export interface Rest {
  readonly mean: number;
  readonly variance: number;
}

export class Lengths {
  /** Answers that ended in each bin, and all that left it, the old ones fading. */
  readonly #ended = new Float64Array(BINS);
  readonly #left = new Float64Array(BINS);
  #weight = 1;
  #samples = 0;
  /** The same of others, by process and in sum, with the weight that an answer of ours had when they told. */
  readonly #others = new Map<string, { samples: number; ended: Float64Array; left: Float64Array }>();
  #othersEnded: Float64Array | undefined;
  #othersLeft: Float64Array | undefined;
  #othersSamples = 0;
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

  /** Of all processes. */
  get samples(): number {
    return this.#samples + this.#othersSamples;
  }

  /** Whether they say how long answers are: with fewer, any length up to the ceiling is taken as likely. */
  get isEnough(): boolean {
    return this.samples >= ENOUGH;
  }

  get ownSamples(): number {
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
    this.#isStale = true;
    this.#fade(1);
  }

  /** So many answers more: what was seen before counts for less. */
  #fade(answers: number): void {
    this.#weight *= GROWTH ** answers;
    if (this.#weight <= RESCALE_AT) return;
    const all = [this.#ended, this.#left, this.#othersEnded, this.#othersLeft];
    for (const { ended, left } of this.#others.values()) all.push(ended, left);
    for (const values of all) if (values !== undefined) scale(values, 1 / this.#weight);
    this.#weight = 1;
  }

  /** What was seen here. */
  get told(): LengthsTold {
    return {
      samples: this.#samples,
      ended: scale(Float32Array.from(this.#ended), 1 / this.#weight),
      left: scale(Float32Array.from(this.#left), 1 / this.#weight),
    };
  }

  /** What another process has seen, in place of what it told before. */
  heard(process: string, told: LengthsTold): void {
    const before = this.#others.get(process);
    if (before?.samples === told.samples) return;
    if (before !== undefined) this.#fade(Math.min(MOST_NEW, Math.max(0, told.samples - before.samples)));
    const ended = scale(Float64Array.from(told.ended), this.#weight);
    const left = scale(Float64Array.from(told.left), this.#weight);
    remember(this.#others, process, { samples: told.samples, ended, left }, MAX_NOTICES);
    this.#othersEnded = new Float64Array(BINS);
    this.#othersLeft = new Float64Array(BINS);
    this.#othersSamples = 0;
    for (const other of this.#others.values()) {
      this.#othersSamples += other.samples;
      add(this.#othersEnded, other.ended);
      add(this.#othersLeft, other.left);
    }
    this.#isStale = true;
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
    if (this.samples < ENOUGH || produced >= LONGEST) return new EvenCurve(left);
    this.#integrate();
    return new LearnedCurve(this, Math.max(0, produced), left);
  }

  /** The least length that a share `quantile` of the answers longer than `produced` does not pass. */
  quantile(quantile: number, produced: number, ceiling: number): number {
    if (this.samples < ENOUGH) return Math.max(produced, produced + quantile * (ceiling - produced));
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
      const ended = (this.#ended[bin] ?? 0) + (this.#othersEnded?.[bin] ?? 0) + ghost;
      const left = (this.#left[bin] ?? 0) + (this.#othersLeft?.[bin] ?? 0) + ghost * (BINS - bin);
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

function scale<T extends Float32Array | Float64Array>(values: T, by: number): T {
  for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) * by;
  return values;
}

function add(to: Float64Array, values: ArrayLike<number>): void {
  for (let i = 0; i < to.length; i++) to[i] = (to[i] ?? 0) + (values[i] ?? 0);
}
