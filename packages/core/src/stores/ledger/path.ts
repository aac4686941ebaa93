import type { Path } from '../store.ts';

/** Milliseconds from now at which paths are told, the same in every release that speaks this version of the ledger. */
export const POINT_MS: readonly number[] = Array.from({ length: 20 }, (_, k) => 100 * 1.5 ** k);
const POINTS = POINT_MS.length;
/** Standard deviations of the pooled production that are kept free. */
const MARGIN = 1.5;

/** Sums over calls, as of `base`. What comes at `base` itself is in the three at the end. */
export interface PathSum {
  base: number;
  use: number[];
  variance: number[];
  most: number[];
  /** Produced by the base, and not charged yet. */
  use0: number;
  most0: number;
}

export const emptySum = (base: number): PathSum => ({
  base,
  use: new Array<number>(POINTS).fill(0),
  variance: new Array<number>(POINTS).fill(0),
  most: new Array<number>(POINTS).fill(0),
  use0: 0,
  most0: 0,
});

/** A sum as the numbers that a store keeps, and back. */
export const flatten = (sum: PathSum): number[] => [
  sum.base,
  sum.use0,
  sum.most0,
  ...sum.use,
  ...sum.variance,
  ...sum.most,
];

export const unflatten = (values: readonly number[]): PathSum => ({
  base: values[0] ?? 0,
  use0: values[1] ?? 0,
  most0: values[2] ?? 0,
  use: values.slice(3, 3 + POINTS),
  variance: values.slice(3 + POINTS, 3 + 2 * POINTS),
  most: values.slice(3 + 2 * POINTS, 3 + 3 * POINTS),
});

/** Sum at `ms` after its base, in a straight line between its points. */
function interpolate(sums: readonly number[], start: number, ms: number): number {
  let fromMs = 0;
  let from = start;
  for (let k = 0; k < POINTS; k++) {
    const toMs = POINT_MS[k] ?? 0;
    const to = sums[k] ?? 0;
    if (ms <= toMs) return from + ((to - from) * Math.max(0, ms - fromMs)) / (toMs - fromMs);
    fromMs = toMs;
    from = to;
  }
  return from;
}

/** Adds `other`, which may have another base: it is read off where our points are. */
export function addSum(sum: PathSum, other: PathSum): void {
  const since = sum.base - other.base;
  sum.use0 += interpolate(other.use, other.use0, since);
  sum.most0 += interpolate(other.most, other.most0, since);
  for (let k = 0; k < POINTS; k++) {
    const ms = since + (POINT_MS[k] ?? 0);
    sum.use[k] = (sum.use[k] ?? 0) + interpolate(other.use, other.use0, ms);
    sum.variance[k] = (sum.variance[k] ?? 0) + interpolate(other.variance, 0, ms);
    sum.most[k] = (sum.most[k] ?? 0) + interpolate(other.most, other.most0, ms);
  }
}

export const sumOf = (path: Path, now: number): PathSum => ({
  base: now,
  use: [...path.use],
  variance: [...path.variance],
  most: [...path.most],
  use0: 0,
  most0: 0,
});

/** All that calls and one more can still produce. */
export const mostAhead = (sum: PathSum, next: Path): number =>
  (sum.most[POINTS - 1] ?? 0) + (next.most[POINTS - 1] ?? 0);

/** The lowest level ahead, margin deducted, if the call with `next` starts now; see admission/forecast.ts. */
export function lowestAhead(
  sum: PathSum,
  next: Path,
  level: number,
  capacity: number,
  ratePerMs: number,
  now: number,
): number {
  const since = now - sum.base;
  let lastMs = 0;
  let lastUse = interpolate(sum.use, sum.use0, since);
  let lastMost = interpolate(sum.most, sum.most0, since);
  let ahead = level - lastUse;
  let worst = level - lastMost;
  let lowest = ahead;
  let forgotten = 0;
  for (let k = 0; k < POINTS; k++) {
    const ms = POINT_MS[k] ?? 0;
    const use = interpolate(sum.use, sum.use0, since + ms) + (next.use[k] ?? 0);
    const most = interpolate(sum.most, sum.most0, since + ms) + (next.most[k] ?? 0);
    const variance = interpolate(sum.variance, 0, since + ms) + (next.variance[k] ?? 0);
    const refill = ratePerMs * (ms - lastMs);
    ahead += refill - (use - lastUse);
    worst = Math.min(capacity, worst + refill - (most - lastMost));
    if (ahead >= capacity) {
      ahead = capacity;
      forgotten = variance;
    }
    const likely = ahead - MARGIN * Math.sqrt(Math.max(0, variance - forgotten));
    lowest = Math.min(lowest, Math.max(worst, likely));
    lastMs = ms;
    lastUse = use;
    lastMost = most;
  }
  return lowest;
}
