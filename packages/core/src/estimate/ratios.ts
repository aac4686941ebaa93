import { KINDS, type Kind, type TokensByKind } from './kinds.ts';
import { cover, FADE, learnRatio, least, type Ratio, UNKNOWN_RATIO } from './ratio.ts';
import { Shared } from './shared.ts';

/** Samples that count: older ones have faded. */
const MOST_WEIGHT = 1 / FADE;

/** A kind of content with a smaller share of a prompt learns nothing from its count. */
const LEAST_SHARE = 0.1;

/** What text is learned under is what all content was once learned under: the name is told to processes of other releases. */
const nameOf = (modelClass: string, kind: Kind) => (kind === 'text' ? modelClass : `${modelClass}\n${kind}`);

/** The ratio of each class of models, by kind of content. */
export class Ratios extends Shared<Ratio> {
  constructor() {
    super(UNKNOWN_RATIO, (own, others) =>
      mergeRatios(
        own,
        others.map(({ told, ownThen }) => ({ ratio: told, age: own.samples - ownThen.samples })),
      ),
    );
  }

  /** A prompt with these tokens, as estimated before any correction, has `actual`: each kind learns by its share of it. */
  learn(modelClass: string, tokens: TokensByKind, actual: number): void {
    const expected = this.#expected(modelClass, tokens, ({ mean }) => mean);
    if (!(expected > 0) || !(actual > 0)) return;
    for (const kind of KINDS) {
      const name = nameOf(modelClass, kind);
      const own = this.own(name);
      const share = (tokens[kind] * this.of(name).mean) / expected;
      if (share < LEAST_SHARE) continue;
      this.learned(name, learnRatio(own, 1, this.of(name).mean * (actual / expected), share));
    }
  }

  /** Tokens that about nine calls in ten do not exceed, and those that about nine in ten do. */
  range(modelClass: string, tokens: TokensByKind): { readonly most: number; readonly least: number } {
    return {
      most: this.#expected(modelClass, tokens, cover),
      least: this.#expected(modelClass, tokens, least),
    };
  }

  #expected(modelClass: string, tokens: TokensByKind, factorOf: (ratio: Ratio) => number): number {
    let sum = 0;
    for (const kind of KINDS)
      if (tokens[kind] > 0) sum += tokens[kind] * factorOf(this.of(nameOf(modelClass, kind)));
    return sum;
  }
}

/**
 * Ratios of several processes, each weighed by the samples that it still remembers; with none of our own, what is assumed
 * weighs as one. Pure.
 *
 * @param age samples of our own since the other was told.
 */
export function mergeRatios(
  own: Ratio,
  others: readonly { readonly ratio: Ratio; readonly age: number }[],
): Ratio {
  const all = others.map(({ ratio, age }) => ({
    ratio,
    weight: Math.min(MOST_WEIGHT, ratio.samples) * (1 - FADE) ** Math.max(0, age),
  }));
  all.push({ ratio: own, weight: Math.min(MOST_WEIGHT, own.samples + 1) });
  const total = all.reduce((sum, { weight }) => sum + weight, 0);
  const mean = all.reduce((sum, { ratio, weight }) => sum + weight * ratio.mean, 0) / total;
  // As far as the means lie apart, calls differ more than each process has seen.
  const spread =
    all.reduce((sum, { ratio, weight }) => sum + weight * (ratio.spread + Math.abs(ratio.mean - mean)), 0) /
    total;
  return { mean, spread, samples: all.reduce((sum, { ratio }) => sum + ratio.samples, 0) };
}
