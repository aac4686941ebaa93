import type { Plan } from '../policy/plan.ts';
import type { Call } from '../request/read.ts';
import { readFeatures } from './input.ts';
import { sumOf, type TokensByKind, tokensByKind } from './kinds.ts';
import type { Learned } from './learned.ts';
import type { Rest } from './lengths.ts';
import { EMPTY, LengthsBook } from './lengths-book.ts';
import { type Pace, Paces } from './paces.ts';
import { PromptBound } from './prompt-bound.ts';
import { Ratios } from './ratios.ts';
import type { RestCurve } from './rest-curve.ts';
import { UsualLengths } from './usual-lengths.ts';

/** Before and after: what is learned from, and for whom. */
export interface EstimateKey {
  /** Class of models that count and answer alike. */
  readonly modelClass: string;
  /** Route or lane: what the call is for shapes its answers. */
  readonly purpose: string;
  readonly maxTokens: number;
  readonly tier?: string;
  /** By whom fairness counts; left out for a call with no caller in scope. */
  readonly user?: string;
}

export interface Estimate {
  /** Input tokens as counted here, before any correction: what the truth is compared with. */
  readonly rawInputTokens: number;
  /** The same, by kind of content. */
  readonly rawTokens: TokensByKind;
  /** Input tokens to ask for: corrected, and enough for about nine calls in ten. */
  readonly inputTokens: number;
  /** Input tokens that it takes at the least, in about nine calls of ten. */
  readonly leastInputTokens: number;
  /** What it takes for certain: nothing less can refuse a call for good. */
  readonly bound: PromptBound;
  /** Output tokens expected. */
  readonly outputTokens: number;
  /** The ceiling of output, `max_tokens`. */
  readonly maxOutputTokens: number;
  readonly key: EstimateKey;
}

/** The ceiling assumed for a call without a readable `max_tokens`. */
const ASSUMED_MAX_TOKENS = 4_096;
/** Tokens a millisecond that no model writes faster than, fast mode included: some times the fastest that was measured. */
const FASTEST_PER_MS = 1;

/** Weight of a prompt's number that may have more in it than the prompt. */
const UNSURE = 0.25;

/** Learned corrections, shared by all calls of a governor, and by the processes of a fleet as far as they tell. */
export class Estimator {
  /** Something was learned. */
  onLearned: () => void = () => {};
  readonly #ratios: Ratios;
  readonly #lengths = new LengthsBook();
  readonly #usual = new UsualLengths();
  readonly #paces = new Paces();
  /** How far each running answer has been counted. */
  readonly #counted = new WeakMap<EstimateKey, number>();

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number) {
    this.#ratios = new Ratios(now);
  }

  /**
   * `cachedTokens` of the input are going to be read from the API's cache, which is free of the input limit. `counted`: all
   * of the input, where the API was asked.
   */
  estimate({ body, hasCacheControl }: Call, plan: Planned, cachedTokens = 0, counted?: number): Estimate {
    const key = keyOf(plan);
    const rawTokens = tokensByKind(readFeatures(body ?? {}), plan.model?.tokenizer ?? 'newer');
    const { most, least } = this.#ratios.range(key.modelClass, rawTokens);
    return {
      rawInputTokens: sumOf(rawTokens),
      rawTokens,
      inputTokens: Math.ceil(uncached(counted ?? most, cachedTokens)),
      leastInputTokens: Math.floor(uncached(counted ?? least, cachedTokens)),
      bound: new PromptBound(body, hasCacheControl === true || plan.marksPrefix, counted),
      outputTokens: this.expect(key).tokens,
      maxOutputTokens: key.maxTokens,
      key,
    };
  }

  /**
   * Output tokens that such an answer is likely to have: as its user's have, then as those of its tier, its lane or
   * route, its models. `isGuess`: nothing is known of any, and half of the ceiling stands for it.
   */
  expect(key: EstimateKey): { readonly tokens: number; readonly isGuess: boolean } {
    const assumed = this.rest(key, 0).mean;
    const isLearned = this.#lengths.of(key).isEnough;
    const usual = isLearned ? assumed : this.#usual.ofClass(key, assumed);
    const tokens = Math.min(key.maxTokens, Math.ceil(this.#usual.of(key, usual)));
    return { tokens, isGuess: !isLearned && !this.#usual.knows(key) };
  }

  /** What is still to come of a running answer. */
  rest(key: EstimateKey, produced: number): Rest {
    return this.#lengths.of(key).rest(produced, key.maxTokens);
  }

  /** The same, by how much of it can have come. */
  curve(key: EstimateKey, produced: number): RestCurve {
    return this.#lengths.of(key).curve(produced, key.maxTokens);
  }

  /** The length that a share `quantile` of the answers that got as far as `produced` does not pass. */
  quantile(key: EstimateKey, quantile: number, produced: number): number {
    return this.#lengths.of(key).quantile(quantile, produced, key.maxTokens);
  }

  /** Whether anything has been learned of how long such answers are. */
  knows(key: EstimateKey): boolean {
    return this.#lengths.of(key) !== EMPTY;
  }

  /** What tells calls apart that answer alike: the same thing for all of one kind. */
  kindOf(key: EstimateKey): unknown {
    const lengths = this.#lengths.of(key);
    return lengths === EMPTY ? key.modelClass : lengths;
  }

  pace(modelClass: string): Pace {
    return this.#paces.of(modelClass);
  }

  /**
   * Output tokens that a call has produced `ms` after it was sent, of which nothing was seen: by the learned speed. Before
   * any was learned it is what was expected of the whole answer, as far as the fastest model could have come by then.
   */
  producedIn({ key, outputTokens }: Estimate, ms: number): number {
    const learned = this.#paces.learnedOf(key.modelClass);
    const produced =
      learned === undefined
        ? Math.min(outputTokens, ms * FASTEST_PER_MS)
        : Math.max(0, ms - learned.firstTokenMs) * (learned.tokensPerSecond / 1_000);
    return Math.ceil(Math.min(produced, key.maxTokens));
  }

  /**
   * The prompt alone has `actual` tokens, without what server tools have added while the answer was made. `isSure`: false
   * where the number may have that in it.
   */
  learnInput({ key, rawTokens, bound }: Estimate, actual: number, isSure = true): void {
    // Fewer than there can be is no count: gateways answer from caches of their own.
    if (actual < bound.promptTokens) return;
    this.#ratios.learn(key.modelClass, rawTokens, actual, isSure ? 1 : UNSURE);
    this.onLearned();
  }

  learnOutput(key: EstimateKey, tokens: number): void {
    const counted = this.#counted.get(key) ?? 0;
    this.#counted.delete(key);
    for (const lengths of this.#lengths.learning(key)) lengths.learn(tokens, counted);
    this.#usual.learn(key, tokens);
    this.onLearned();
  }

  /** A running answer has come to `tokens`. */
  running(key: EstimateKey, tokens: number): void {
    const counted = this.#counted.get(key) ?? 0;
    // Bins are a quarter wider each: there is nothing to tell for every few tokens.
    if (tokens < counted * 1.1 + 1) return;
    this.#counted.set(key, tokens);
    for (const lengths of this.#lengths.learning(key)) lengths.running(counted, tokens);
  }

  learnFirstToken(modelClass: string, ms: number): void {
    this.#paces.learnFirstToken(modelClass, ms);
  }

  learnSpeed(modelClass: string, tokensPerSecond: number): void {
    this.#paces.learnSpeed(modelClass, tokensPerSecond);
  }

  /** What was learned here: the others of a fleet add it to their own. */
  get told(): Learned {
    return {
      lengths: new Map(this.#lengths.told),
      ratios: new Map(this.#ratios.told),
      paces: new Map(this.#paces.told),
    };
  }

  /** What another process has learned, in place of what it told before. */
  heard(process: string, { lengths, ratios, paces }: Learned): void {
    this.#lengths.heard(process, lengths);
    this.#ratios.heard(process, ratios);
    this.#paces.heard(process, paces);
  }
}

/** What of a plan shapes an estimate. */
export type Planned = Pick<Plan, 'model' | 'purpose' | 'maxTokens' | 'caller' | 'flowKey' | 'marksPrefix'>;

const keyOf = ({ model, purpose, maxTokens, caller, flowKey }: Planned): EstimateKey => ({
  modelClass: model?.class ?? 'unknown',
  purpose,
  maxTokens: maxTokens ?? ASSUMED_MAX_TOKENS,
  ...(caller.tier === undefined ? {} : { tier: caller.tier }),
  ...(caller.user === undefined ? {} : { user: flowKey }),
});

/** What is left of an input when the cache has given its part. Pure. */
const uncached = (tokens: number, cachedTokens: number) => Math.max(0, tokens - cachedTokens);
