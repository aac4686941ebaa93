import type { Path } from '../store.ts';

/** Milliseconds from now at which paths are told, the same in every release that speaks this version of the ledger. */
export const POINT_MS: readonly number[] = Array.from({ length: 20 }, (_, k) => 100 * 1.5 ** k);
const POINTS = POINT_MS.length;
/** Standard deviations of the pooled production that are kept free. */
const MARGIN = 1.5;

/** Sums over calls, as of `base`. */
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

/** The sum of one process as the numbers that a store keeps, and back: it begins with what was told last, so nothing came before. */
export const flatten = (sum: PathSum): number[] => [sum.base, ...sum.use, ...sum.variance, ...sum.most];

export const unflatten = (values: readonly number[]): PathSum => ({
  base: values[0] ?? 0,
  use: values.slice(1, 1 + POINTS),
  variance: values.slice(1 + POINTS, 1 + 2 * POINTS),
  most: values.slice(1 + 2 * POINTS, 1 + 3 * POINTS),
  use0: 0,
  most0: 0,
});

/**
 * Adds `other`. One that began before `sum` is read off where our points are, in a straight line between its own; what it has
 * come to by our base is in `use0` and `most0`. One walk, since both rise.
 */
export function addSum(sum: PathSum, other: PathSum): void {
  const since = sum.base - other.base;
  let j = 0;
  for (let k = -1; k < POINTS; k++) {
    const ms = since + (POINT_MS[k] ?? 0);
    while (j < POINTS && ms > (POINT_MS[j] ?? 0)) j++;
    const fromMs = POINT_MS[j - 1] ?? 0;
    const part = j < POINTS ? Math.max(0, ms - fromMs) / ((POINT_MS[j] ?? 0) - fromMs) : 0;
    const at = (sums: readonly number[]) => {
      const from = sums[j - 1] ?? 0;
      return from + ((sums[j] ?? from) - from) * part;
    };
    if (k < 0) {
      sum.use0 += at(other.use);
      sum.most0 += at(other.most);
      continue;
    }
    sum.use[k] = (sum.use[k] ?? 0) + at(other.use);
    sum.variance[k] = (sum.variance[k] ?? 0) + at(other.variance);
    sum.most[k] = (sum.most[k] ?? 0) + at(other.most);
  }
}

/** What a path has come to by `at`. */
export function usedBy(path: PathSum, at: number): number {
  const sum = emptySum(at);
  addSum(sum, path);
  return sum.use0;
}

export const sumOf = (path: Path, now: number): PathSum => ({
  base: now,
  use: [...path.use],
  variance: [...path.variance],
  most: [...path.most],
  use0: 0,
  most0: 0,
});

/** The last points of a path: all that its calls are going to produce, how unsure that is, and the most that it can be. */
export interface Ends {
  use: number;
  spread: number;
  most: number;
}

export const endsOf = ({ use, variance, most }: Path): Ends => ({
  use: use[POINTS - 1] ?? 0,
  spread: variance[POINTS - 1] ?? 0,
  most: most[POINTS - 1] ?? 0,
});

/** Whether no path ahead can be too low: there is room for the most of it at once, or for what is likely. Paths only rise. */
export const hasRoom = (level: number, { use, spread, most }: Ends): boolean =>
  level >= most || level >= use + MARGIN * Math.sqrt(spread);

/**
 * The lowest level ahead, margin deducted, if the call with `next` starts now, as of when the sum is; see
 * admission/forecast.ts.
 */
export function lowestAhead(
  sum: PathSum,
  next: Path,
  level: number,
  capacity: number,
  ratePerMs: number,
): number {
  let lastMs = 0;
  let lastUse = sum.use0;
  let lastMost = sum.most0;
  let ahead = level - lastUse;
  let worst = level - lastMost;
  let lowest = ahead;
  let forgotten = 0;
  for (let k = 0; k < POINTS; k++) {
    const ms = POINT_MS[k] ?? 0;
    const use = (sum.use[k] ?? 0) + (next.use[k] ?? 0);
    const most = (sum.most[k] ?? 0) + (next.most[k] ?? 0);
    const variance = (sum.variance[k] ?? 0) + (next.variance[k] ?? 0);
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
