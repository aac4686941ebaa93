import type { AmountName } from '../store.ts';

/**
 * What a ledger keeps beside its state, in fields that are read and written one by one: what is too large, or too
 * seldom wanted, to be read with every exchange.
 */
export interface Side {
  get(field: string): readonly number[] | undefined;
  set(field: string, values: readonly number[]): void;
  delete(field: string): void;
}

const BIN_MS = 500;
/** Sixteen seconds: an answer whose headers take longer tells nothing. */
const BINS = 32;

interface Trailed {
  readonly name: AmountName;
  shift: number;
  bin: number;
  low: number;
  high: number;
}

/** The level is between `low` and `high`; between two notes it only rises. See admission/trail.ts. */
export function noteTrail(limit: Trailed, side: Side, low: number, high: number, now: number): void {
  const bin = Math.floor(now / BIN_MS);
  const from = low - limit.shift;
  const to = high - limit.shift;
  if (bin > limit.bin) {
    if (limit.bin >= 0) {
      const values = [limit.bin, limit.low, Math.max(limit.high, to)];
      side.set(fieldOf(limit.name, limit.bin), values);
    }
    limit.bin = bin;
    limit.low = from;
    limit.high = to;
    return;
  }
  limit.low = Math.min(limit.low, from);
  limit.high = Math.max(limit.high, to);
}

/**
 * Lowest and highest since `from`; nothing where the trail does not reach that far. Bins in which nothing happened were not
 * written: what was low before them was low in them at the lowest.
 */
export function seenSince(
  limit: Trailed,
  side: Side,
  from: number,
  now: number,
): { low: number; high: number } | undefined {
  const newest = Math.floor(now / BIN_MS);
  const first = Math.max(Math.floor(from / BIN_MS), newest - BINS + 1);
  const isWhole = first === Math.floor(from / BIN_MS) || from <= now - 60_000;
  if (!isWhole) return undefined;
  let { low, high } = limit;
  for (let bin = newest; bin > newest - BINS; bin--) {
    const values = side.get(fieldOf(limit.name, bin));
    if (values === undefined || values[0] !== bin) continue;
    low = Math.min(low, values[1] ?? low);
    high = Math.max(high, values[2] ?? high);
    // The last one written before the time asked for reaches into it.
    if (bin <= first) break;
  }
  return { low: low + limit.shift, high: high + limit.shift };
}

const fieldOf = (name: AmountName, bin: number): string => `t:${name}:${bin % BINS}`;
