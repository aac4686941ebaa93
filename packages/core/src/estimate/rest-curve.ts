import { binOf, LONGEST } from './bins.ts';
import type { Lengths } from './lengths.ts';

/** What is left of an answer, of which at most so many tokens can come in the time looked at. */
export interface RestCurve {
  /** Mean of min(rest, `tokens`). */
  mean(tokens: number): number;
  /** Mean of its square. */
  square(tokens: number): number;
}

/** By what was learned of lengths. */
export class LearnedCurve implements RestCurve {
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
