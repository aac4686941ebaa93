/**
 * How the tokens that the API counts compare with our estimate: the median of the latest ratios, and their spread. An
 * estimate times `cover` is exceeded by about one call in ten. Samples that are far off weigh no more than others, so
 * that up to half of them, however far off, leave both near the truth.
 */
export interface Ratio {
  readonly middle: number;
  /** Mean absolute deviation from the middle, as of a normal law with the median absolute deviation of the samples. */
  readonly spread: number;
  /** All that were ever learned from. */
  readonly samples: number;
  /** The latest of them, by value; none of a ratio that another process told. */
  readonly recent: readonly Sample[];
  /** When the last of them was learned or told, by the monotonic clock. */
  readonly at: number;
}

interface Weighed {
  readonly value: number;
  readonly weight: number;
}

interface Sample extends Weighed {
  /** Which sample it is, of all that there ever were. */
  readonly nth: number;
}

/** Before anything is known we trust the start values to within a quarter. */
export const UNKNOWN_RATIO: Ratio = { middle: 1, spread: 0.15, samples: 0, recent: [], at: 0 };

/** Samples that count: older ones are forgotten. */
export const WINDOW = 100;
export const LEAST_RATIO = 0.25;
export const MOST_RATIO = 4;
/** The start value weighs as much as so many samples. */
const TRUST = 3;
/** How long a ratio holds after its last sample, and in how much time more it has come half of the way to the start value. */
const FRESH_MS = 300_000;
const HALF_LIFE_MS = 300_000;
/** Mean absolute deviation of a normal law over its median absolute deviation. */
const MEAN_OF_MEDIAN = 1.183;
/** Mean absolute deviations of a normal law that nine in ten do not exceed: 1.28 sigma. */
const NINE_IN_TEN = 1.6;

/** The ratio with one more pair of estimate and truth. `weight`: the share that the sample says of it. Pure. */
export function learnRatio(ratio: Ratio, estimate: number, actual: number, weight = 1, at = ratio.at): Ratio {
  if (!(estimate > 0) || !(actual > 0)) return ratio;
  const value = Math.min(MOST_RATIO, Math.max(LEAST_RATIO, actual / estimate));
  const nth = ratio.samples;
  const kept = Math.min(WINDOW - 1, Math.ceil(ratio.recent.length * keptAfter(at - ratio.at)));
  const latest = ratio.recent.filter((sample) => sample.nth >= nth - kept);
  const recent = insert(latest, { value, weight, nth });
  const start = UNKNOWN_RATIO;
  const middle = medianOf(insert<Weighed>(recent, { value: start.middle, weight: TRUST }));
  const spread = medianOf(insert(deviations(recent, middle), { value: start.spread, weight: TRUST }));
  return { middle, spread, samples: nth + 1, recent, at };
}

/** What lies so far from the middle, the nearest first, as mean deviations of a normal law. `sorted`: by value. */
function deviations(sorted: readonly Weighed[], middle: number): Weighed[] {
  const all: Weighed[] = [];
  let above = sorted.findIndex(({ value }) => value >= middle);
  if (above === -1) above = sorted.length;
  let below = above - 1;
  while (below >= 0 || above < sorted.length) {
    const lower = sorted[below];
    const upper = sorted[above];
    const down = lower === undefined ? Number.POSITIVE_INFINITY : middle - lower.value;
    const up = upper === undefined ? Number.POSITIVE_INFINITY : upper.value - middle;
    const nearest = down < up ? lower : upper;
    all.push({ value: MEAN_OF_MEDIAN * Math.min(down, up), weight: nearest?.weight ?? 0 });
    if (nearest === lower) below--;
    else above++;
  }
  return all;
}

function insert<T extends Weighed>(sorted: readonly T[], one: T): T[] {
  const at = sorted.findIndex(({ value }) => value > one.value);
  return sorted.toSpliced(at === -1 ? sorted.length : at, 0, one);
}

/** The ratio as it holds at a time: where nothing has taught it for long, what it says is on its way back to the start value. Pure. */
export function heldAt(ratio: Ratio, now: number): Ratio {
  const kept = keptAfter(now - ratio.at);
  if (kept === 1) return ratio;
  const { middle, spread } = UNKNOWN_RATIO;
  return {
    ...ratio,
    middle: middle + kept * (ratio.middle - middle),
    spread: spread + kept * (ratio.spread - spread),
  };
}

/** The share of what was learned that holds so long after. */
const keptAfter = (ms: number) => (ms <= FRESH_MS ? 1 : 2 ** ((FRESH_MS - ms) / HALF_LIFE_MS));

/** The value that half of the weight lies below; where it lies between two, the middle of both. `sorted`: by value. Pure. */
export function medianOf(sorted: readonly Weighed[]): number {
  let half = 0;
  for (const { weight } of sorted) half += weight / 2;
  let below = 0;
  let isBetween = false;
  let before = 0;
  for (const { value, weight } of sorted) {
    if (isBetween) return (before + value) / 2;
    below += weight;
    if (below > half + 1e-9) return value;
    isBetween = below > half - 1e-9;
    before = value;
  }
  return before;
}

/** The factor that covers about nine calls in ten. */
export function cover({ middle, spread }: Ratio): number {
  return Math.min(MOST_RATIO, middle + NINE_IN_TEN * spread);
}

/** The factor that about nine calls in ten exceed. */
export function least({ middle, spread }: Ratio): number {
  return Math.max(0, middle - NINE_IN_TEN * spread);
}
