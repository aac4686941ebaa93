import { remember } from '../remember.ts';
import type { Call } from '../request/read.ts';

/**
 * How long the API usually takes until its headers are there, by model and size class: whoever gives up sooner shows its
 * own patience, and nothing of the API. A JSON answer has its headers at its end, so its class is the length that was
 * asked for; a stream's is the size of the prompt.
 */

/** Bounds of the histogram grow by this factor: a quantile is known to a fifth. */
const FACTOR = 1.2;
const FIRST_MS = 10;
const BINS = 80;
const SHARE = 0.99;
/** Headers that are enough to know a quantile of; and past which all counts are halved, so that old ones fade. */
const ENOUGH = 20;
const FADE_AT = 2_000;
/** What is taken for it until then, in milliseconds. */
const UNKNOWN_MS = 30_000;
const MAX_CLASSES = 256;

interface Histogram {
  readonly bins: Float64Array;
  count: number;
}

export class Patience {
  readonly #classes = new Map<string, Histogram>();

  /** Headers came after `ms`. */
  learn(model: string, call: Call, ms: number): void {
    const key = classOf(model, call);
    let known = this.#classes.get(key);
    if (known === undefined) {
      known = { bins: new Float64Array(BINS), count: 0 };
      remember(this.#classes, key, known, MAX_CLASSES);
    }
    const bin = binOf(ms);
    known.bins[bin] = (known.bins[bin] ?? 0) + 1;
    known.count++;
    if (known.count < FADE_AT) return;
    known.count /= 2;
    for (let i = 0; i < BINS; i++) known.bins[i] = (known.bins[i] ?? 0) / 2;
  }

  /** Whether a call that has waited so long for its headers has waited longer than the API usually needs. */
  isLong(model: string, call: Call, ms: number): boolean {
    return ms > this.usual(model, call);
  }

  /** Milliseconds within which 99 of 100 calls of this class have had their headers. */
  usual(model: string, call: Call): number {
    const known = this.#classes.get(classOf(model, call));
    if (known === undefined || known.count < ENOUGH) return UNKNOWN_MS;
    let left = (1 - SHARE) * known.count;
    for (let bin = BINS - 1; bin >= 0; bin--) {
      left -= known.bins[bin] ?? 0;
      if (left < 0) return FIRST_MS * FACTOR ** (bin + 1);
    }
    return UNKNOWN_MS;
  }
}

function classOf(model: string, { isStreaming, maxTokens, bytes }: Call): string {
  const size = isStreaming ? bytes : (maxTokens ?? 1_024);
  return `${isStreaming ? 'stream' : 'json'} ${Math.floor(Math.log2(Math.max(1, size)) / 2)} ${model}`;
}

const binOf = (ms: number): number => {
  const bin = Math.ceil(Math.log(Math.max(1, ms) / FIRST_MS) / Math.log(FACTOR));
  return Math.min(BINS - 1, Math.max(0, bin));
};
