import type { Model } from '../policy/models.ts';
import type { Call } from '../request/read.ts';
import { countTokens, readFeatures } from './input.ts';
import { Lengths, type Rest, type RestCurve } from './lengths.ts';
import { cover, learnRatio, least, type Ratio, UNKNOWN_RATIO } from './ratio.ts';

/** Before and after: what is learned from, and for whom. */
export interface EstimateKey {
  /** Class of models that count and answer alike. */
  readonly modelClass: string;
  /** Route or lane: what the call is for shapes its answers. */
  readonly purpose: string;
  readonly maxTokens: number;
}

export interface Estimate {
  /** Input tokens as counted here, before any correction: what the truth is compared with. */
  readonly rawInputTokens: number;
  /** Input tokens to ask for: corrected, and enough for about nine calls in ten. */
  readonly inputTokens: number;
  /** Input tokens that it takes at the least, in about nine calls of ten. */
  readonly leastInputTokens: number;
  /** Output tokens expected. */
  readonly outputTokens: number;
  /** The ceiling of output, `max_tokens`. */
  readonly maxOutputTokens: number;
  readonly key: EstimateKey;
}

/** How fast answers come: learned per class of models. */
export interface Pace {
  /** Milliseconds from the request to its first token. */
  readonly firstTokenMs: number;
  readonly tokensPerSecond: number;
}

const START_PACE: Pace = { firstTokenMs: 600, tokensPerSecond: 70 };
const PACE_FADE = 0.1;
/** The ceiling assumed for a call without a readable `max_tokens`. */
const ASSUMED_MAX_TOKENS = 4_096;
/** Bound of what is remembered: past it the least recently used key is forgotten, and learned again if need be. */
const MAX_KEYS = 2_048;

/** Learned corrections, shared by all calls of a governor. */
export class Estimator {
  readonly #ratios = new Map<string, Ratio>();
  readonly #lengths = new Map<string, Lengths>();
  readonly #paces = new Map<string, Pace>();
  /** How far each running answer has been counted. */
  readonly #counted = new WeakMap<EstimateKey, number>();
  /** Running calls are looked up several times a second. */
  readonly #names = new WeakMap<EstimateKey, string>();

  /**
   * `cachedTokens` of the input are going to be read from the API's cache, which is free of the input limit. `counted`: all
   * of the input, where the API was asked.
   */
  estimate(
    call: Call,
    model: Model | undefined,
    purpose: string,
    maxTokens: number | undefined,
    cachedTokens = 0,
    counted?: number,
  ): Estimate {
    const modelClass = model?.class ?? 'unknown';
    const key: EstimateKey = {
      modelClass,
      purpose,
      maxTokens: maxTokens ?? ASSUMED_MAX_TOKENS,
    };
    const raw =
      call.body === undefined ? 0 : countTokens(readFeatures(call.body), model?.tokenizer ?? 'newer');
    const ratio = this.#ratios.get(modelClass) ?? UNKNOWN_RATIO;
    return {
      rawInputTokens: raw,
      inputTokens: Math.ceil(uncached(counted ?? raw * cover(ratio), cachedTokens)),
      leastInputTokens: Math.floor(uncached(counted ?? raw * least(ratio), cachedTokens)),
      outputTokens: Math.ceil(this.rest(key, 0).mean),
      maxOutputTokens: key.maxTokens,
      key,
    };
  }

  /** What is still to come of a running answer. */
  rest(key: EstimateKey, produced: number): Rest {
    return this.#lengthsOf(key).rest(produced, key.maxTokens);
  }

  /** The same, by how much of it can have come. */
  curve(key: EstimateKey, produced: number): RestCurve {
    return this.#lengthsOf(key).curve(produced, key.maxTokens);
  }

  /** The length that a share `quantile` of the answers that got as far as `produced` does not pass. */
  quantile(key: EstimateKey, quantile: number, produced: number): number {
    return this.#lengthsOf(key).quantile(quantile, produced, key.maxTokens);
  }

  /** Whether anything has been learned of how long such answers are. */
  knows(key: EstimateKey): boolean {
    return this.#lengthsOf(key) !== EMPTY;
  }

  /** What tells calls apart that answer alike: the same thing for all of one kind. */
  kindOf(key: EstimateKey): unknown {
    const lengths = this.#lengthsOf(key);
    return lengths === EMPTY ? key.modelClass : lengths;
  }

  #lengthsOf(key: EstimateKey): Lengths {
    const own = this.#lengths.get(this.#nameOf(key));
    if (own !== undefined && own.samples >= 8) return own;
    // A purpose not seen yet is taken to answer like the others of its models.
    return this.#lengths.get(classKey(key)) ?? EMPTY;
  }

  #nameOf(key: EstimateKey): string {
    let name = this.#names.get(key);
    if (name === undefined) {
      name = lengthKey(key);
      this.#names.set(key, name);
    }
    return name;
  }

  pace(modelClass: string): Pace {
    return this.#paces.get(modelClass) ?? START_PACE;
  }

  learnInput(estimate: Estimate, actual: number): void {
    const { modelClass } = estimate.key;
    const ratio = this.#ratios.get(modelClass) ?? UNKNOWN_RATIO;
    remember(this.#ratios, modelClass, learnRatio(ratio, estimate.rawInputTokens, actual));
  }

  learnOutput(key: EstimateKey, tokens: number): void {
    const counted = this.#counted.get(key) ?? 0;
    this.#counted.delete(key);
    for (const lengths of this.#learning(key)) lengths.learn(tokens, counted);
  }

  /** A running answer has come to `tokens`. */
  running(key: EstimateKey, tokens: number): void {
    const counted = this.#counted.get(key) ?? 0;
    // Bins are a quarter wider each: there is nothing to tell for every few tokens.
    if (tokens < counted * 1.1 + 1) return;
    this.#counted.set(key, tokens);
    for (const lengths of this.#learning(key)) lengths.running(counted, tokens);
  }

  #learning(key: EstimateKey): Lengths[] {
    return [this.#nameOf(key), classKey(key)].map((name) => {
      const lengths = this.#lengths.get(name) ?? new Lengths();
      remember(this.#lengths, name, lengths);
      return lengths;
    });
  }

  learnFirstToken(modelClass: string, ms: number): void {
    const pace = this.pace(modelClass);
    remember(this.#paces, modelClass, {
      ...pace,
      firstTokenMs: blend(pace.firstTokenMs, ms),
    });
  }

  learnSpeed(modelClass: string, tokensPerSecond: number): void {
    if (!(tokensPerSecond > 0 && tokensPerSecond < 10_000)) return;
    const pace = this.pace(modelClass);
    remember(this.#paces, modelClass, {
      ...pace,
      // Times add up and speeds do not: the mean of times is not carried off by a short answer that came in one piece.
      tokensPerSecond: 1 / blend(1 / pace.tokensPerSecond, 1 / tokensPerSecond),
    });
  }
}

/** What is left of an input when the cache has given its part. Pure. */
const uncached = (tokens: number, cachedTokens: number) => Math.max(0, tokens - cachedTokens);

const EMPTY = new Lengths();
const blend = (old: number, sample: number) => old + PACE_FADE * (sample - old);
/** Ceilings of one power of two answer alike. */
const lengthKey = (key: EstimateKey) =>
  `${key.modelClass}\n${key.purpose}\n${Math.floor(Math.log2(Math.max(1, key.maxTokens)))}`;
const classKey = (key: EstimateKey) => key.modelClass;

/** Sets and moves to the newest place; the oldest goes where the bound is passed. */
function remember<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > MAX_KEYS) {
    const oldest = map.keys().next().value;
    if (oldest !== undefined) map.delete(oldest);
  }
}
