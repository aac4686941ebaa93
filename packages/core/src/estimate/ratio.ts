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

/** The ratio with one more pair of estimate and truth. Pure. */
export function learnRatio(ratio: Ratio, estimate: number, actual: number): Ratio {
  if (!(estimate > 0) || !(actual > 0)) return ratio;
  const sample = Math.min(MAX, Math.max(MIN, actual / estimate));
  const weight = Math.max(FADE, 1 / (ratio.samples + 2));
  const mean = ratio.mean + weight * (sample - ratio.mean);
  const spread = ratio.spread + weight * (Math.abs(sample - mean) - ratio.spread);
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
