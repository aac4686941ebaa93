/**
 * How the tokens that the API counts compare with our estimate: the mean of the ratio and its spread, both
 * with old samples fading. An estimate times `cover` is exceeded by about one call in ten.
 */
export interface Ratio {
  readonly mean: number;
  /** Mean absolute deviation from the mean. */
  readonly spread: number;
  readonly samples: number;
}

/** Before anything is known we trust the start values to within a quarter. */
export const UNKNOWN_RATIO: Ratio = { mean: 1, spread: 0.15, samples: 0 };

/** Weight of the newest sample once the average has warmed up: about the last 50 calls count. */
export const FADE = 0.02;
const MIN = 0.25;
const MAX = 4;
/**
 * A sample counts as no farther from the mean than so many spreads, and than this share of the mean where samples agree
 * more closely. Above it closer than below: answers that tell more than their prompt are common, such that tell less are
 * not. Up to 1.6 spreads, three such answers in ten do not feed a spread that lets in more of them.
 */
const ABOVE = { spreads: 1.5, share: 0.12 };
const BELOW = { spreads: 3, share: 0.2 };
/** Samples that the start value weighs as much as. */
const TRUST = 2;

/**
 * The ratio with one more pair of estimate and truth. An outlier moves it little; where the truth has changed, the spread
 * grows with the samples that say so, and the mean follows. `weight`: the share that the sample says of it. Pure.
 */
export function learnRatio(ratio: Ratio, estimate: number, actual: number, weight = 1): Ratio {
  if (!(estimate > 0) || !(actual > 0)) return ratio;
  const reach = ({ spreads, share }: typeof ABOVE) => Math.max(spreads * ratio.spread, share * ratio.mean);
  const most = ratio.mean + reach(ABOVE);
  const sample = Math.min(most, Math.max(ratio.mean - reach(BELOW), actual / estimate));
  const step = weight * Math.max(FADE, 1 / (ratio.samples + 1 + TRUST));
  const mean = Math.min(MAX, Math.max(MIN, ratio.mean + step * (sample - ratio.mean)));
  const spread = ratio.spread + step * (Math.abs(sample - mean) - ratio.spread);
  return { mean, spread, samples: ratio.samples + 1 };
}

/** The factor that covers about nine calls in ten: 1.6 mean absolute deviations are 1.28 sigma of a normal law. */
export function cover(ratio: Ratio): number {
  return Math.min(MAX, ratio.mean + 1.6 * ratio.spread);
}

/** The factor that about nine calls in ten exceed. */
export function least(ratio: Ratio): number {
  return Math.max(0, ratio.mean - 1.6 * ratio.spread);
}
