/**
 * A token bucket with continuous refill, as a value: every function takes a bucket and gives a new one. The level
 * may be below zero (a debt, paid by refill) and is never above the capacity. Amounts are requests or tokens.
 */
export interface Bucket {
  readonly capacity: number;
  readonly ratePerMs: number;
  /** As of `at`. */
  readonly level: number;
  readonly at: number;
}

export function fullBucket(capacity: number, ratePerMs: number, now: number): Bucket {
  return { capacity, ratePerMs, level: capacity, at: now };
}

export function levelAt(bucket: Bucket, now: number): number {
  return Math.min(bucket.capacity, bucket.level + bucket.ratePerMs * Math.max(0, now - bucket.at));
}

/** Takes `amount`, into debt if need be; a negative amount gives back, up to the capacity. */
export function take(bucket: Bucket, amount: number, now: number): Bucket {
  const at = Math.max(now, bucket.at);
  return {
    ...bucket,
    level: Math.min(bucket.capacity, levelAt(bucket, at) - amount),
    at,
  };
}

/** Lowers the level to `bound` where it is above. A minimum: the order of bounds and their repetition do not matter. */
export function boundAbove(bucket: Bucket, bound: number, now: number): Bucket {
  const at = Math.max(now, bucket.at);
  return { ...bucket, level: Math.min(levelAt(bucket, at), bound), at };
}

/** Another capacity and rate, with what is used now staying used: a limit lowered below its use is a debt. */
export function resize(bucket: Bucket, capacity: number, ratePerMs: number, now: number): Bucket {
  const at = Math.max(now, bucket.at);
  const used = bucket.capacity - levelAt(bucket, at);
  return { capacity, ratePerMs, level: capacity - used, at };
}

/**
 * Milliseconds until `amount` can be taken, with `held` of the level spoken for; what is held is taken to come free as
 * fast as the bucket refills. An amount deeper than the bucket waits for a full one, and is then taken into debt.
 */
export function waitFor(bucket: Bucket, amount: number, held: number, now: number): number {
  const available = levelAt(bucket, now) - held;
  const needed = Math.min(amount, bucket.capacity);
  // Refill is a sum of many small steps: a rounding error must not cost another turn of the timer.
  if (available >= needed - 1e-6) return 0;
  return bucket.ratePerMs > 0 ? (needed - available) / bucket.ratePerMs : Number.POSITIVE_INFINITY;
}
