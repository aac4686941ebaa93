import { FADE, learnRatio, type Ratio, UNKNOWN_RATIO } from './ratio.ts';
import { Shared } from './shared.ts';

/** Samples that count: older ones have faded. */
const MOST_WEIGHT = 1 / FADE;

/** The ratio of each class of models. */
export class Ratios extends Shared<Ratio> {
  constructor() {
    super(UNKNOWN_RATIO, (own, others) =>
      mergeRatios(
        own,
        others.map(({ told, ownThen }) => ({ ratio: told, age: own.samples - ownThen.samples })),
      ),
    );
  }

  learn(modelClass: string, estimate: number, actual: number): void {
    this.learned(modelClass, learnRatio(this.own(modelClass), estimate, actual));
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
