/** Levels are floating point: a sum of many small refills may miss its target by less than this. */
export const LEVEL_TOLERANCE = 1e-6;

/** A change that will happen at a known time: a step, a change of the drain, or both. */
interface Change {
  readonly time: number;
  readonly drainPerMs: number;
  readonly amount: number;
}

/** A scheduled withdrawal. */
export interface Flow {
  /** Stops it at `now` and returns how much it has taken until then. Later calls return the same number. */
  stop(now: number): number;
}

/**
 * A token bucket with a known future.
 *
 * The level refills continuously, is capped at the capacity and may go below zero. Output tokens leave it
 * at a steady rate while a model writes them, so between two changes the level is a straight line, and
 * nothing has to run while nobody looks: every read integrates what happened since the last one.
 * Since the future changes are known, so is the exact time at which a level will be reached.
 */
export interface FluidBucket {
  readonly limitPerMinute: number;
  readonly capacity: number;
  level(now: number): number;
  /** Takes at once; a negative amount gives back. The level may go below zero. */
  take(now: number, amount: number): void;
  /** Takes `amount` spread evenly from `start` to `end`; all of it at `start` when the two are equal. */
  flow(now: number, start: number, end: number, amount: number): Flow;
  /** The first time at or after `from` with a level of at least `target`; Infinity if there is none. */
  reaches(now: number, from: number, target: number): number;
  /** Milliseconds until full, if nothing more were taken. */
  fullInMs(now: number): number;
  resize(now: number, limitPerMinute: number, burstSeconds: number): void;
  fill(now: number): void;
}

export interface FluidBucketOptions {
  readonly limitPerMinute: number;
  readonly burstSeconds: number;
  /** The capacity is never less than this: a bucket that cannot hold one request would refuse all of them. */
  readonly leastCapacity: number;
}

export function createFluidBucket(options: FluidBucketOptions, startedAt: number): FluidBucket {
  let limitPerMinute = options.limitPerMinute;
  let capacity = depth(options.limitPerMinute, options.burstSeconds);
  let level = capacity;
  let at = startedAt;
  let drainPerMs = 0;
  let flowing = 0;
  const changes: Change[] = [];

  function depth(limit: number, burstSeconds: number): number {
    return Math.max(options.leastCapacity, (limit * burstSeconds) / 60);
  }

  const refillPerMs = (): number => limitPerMinute / 60_000;

  /** Between two changes the net rate is constant, so one minimum keeps the cap exactly. */
  function run(from: { level: number; drain: number }, ms: number): number {
    return Math.min(capacity, from.level + (refillPerMs() - from.drain) * ms);
  }

  function advance(now: number): void {
    for (let next = changes[0]; next !== undefined && next.time <= now; next = changes[0]) {
      level = run({ level, drain: drainPerMs }, next.time - at);
      at = next.time;
      changes.shift();
      apply(next);
    }
    if (now > at) {
      level = run({ level, drain: drainPerMs }, now - at);
      at = now;
    }
  }

  function apply(change: Change): void {
    level = Math.min(capacity, level - change.amount);
    if (change.drainPerMs === 0) return;
    flowing += change.drainPerMs > 0 ? 1 : -1;
    drainPerMs = flowing === 0 ? 0 : drainPerMs + change.drainPerMs;
  }

  function schedule(change: Change): void {
    let index = changes.length;
    while (index > 0 && (changes[index - 1]?.time ?? 0) > change.time) index -= 1;
    changes.splice(index, 0, change);
  }

  function cancel(change: Change): boolean {
    const index = changes.indexOf(change);
    if (index >= 0) changes.splice(index, 1);
    return index >= 0;
  }

  return {
    get limitPerMinute() {
      return limitPerMinute;
    },
    get capacity() {
      return capacity;
    },
    level(now) {
      advance(now);
      return level;
    },
    take(now, amount) {
      advance(now);
      level = Math.min(capacity, level - amount);
    },
    flow(now, start, end, amount) {
      const isStep = end <= start;
      const rate = isStep ? 0 : amount / (end - start);
      const opening: Change = { time: start, drainPerMs: rate, amount: isStep ? amount : 0 };
      const closing: Change = { time: end, drainPerMs: -rate, amount: 0 };
      schedule(opening);
      if (!isStep) schedule(closing);
      advance(now);
      let taken: number | undefined;
      return {
        stop(stoppedAt) {
          if (taken !== undefined) return taken;
          advance(stoppedAt);
          if (cancel(opening)) {
            cancel(closing);
            taken = 0;
          } else if (!isStep && cancel(closing)) {
            apply({ time: stoppedAt, drainPerMs: -rate, amount: 0 });
            taken = rate * (stoppedAt - start);
          } else {
            taken = amount;
          }
          return taken;
        },
      };
    },
    reaches(now, from, target) {
      advance(now);
      const goal = Math.min(target, capacity) - LEVEL_TOLERANCE / 2;
      let state = { level, drain: drainPerMs };
      let time = at;
      for (let index = 0; ; index += 1) {
        const change = changes[index];
        const until = change?.time ?? Number.POSITIVE_INFINITY;
        const found = within(state, time, until, Math.max(from, time), goal);
        if (found !== undefined) return found;
        if (change === undefined) return Number.POSITIVE_INFINITY;
        const reached = run(state, until - time);
        state = {
          level: Math.min(capacity, reached - change.amount),
          drain: state.drain + change.drainPerMs,
        };
        time = until;
      }
    },
    fullInMs(now) {
      advance(now);
      const missing = capacity - level;
      return missing <= LEVEL_TOLERANCE ? 0 : missing / refillPerMs();
    },
    resize(now, limit, burstSeconds) {
      advance(now);
      limitPerMinute = limit;
      capacity = depth(limit, burstSeconds);
      level = Math.min(capacity, level);
    },
    fill(now) {
      advance(now);
      level = capacity;
    },
  };

  /** The first time in [from, until) with a level of at least `goal`, on one straight stretch that starts at `time`. */
  function within(
    state: { level: number; drain: number },
    time: number,
    until: number,
    from: number,
    goal: number,
  ): number | undefined {
    if (from >= until) return undefined;
    const there = run(state, from - time);
    if (there >= goal) return from;
    const net = refillPerMs() - state.drain;
    if (net <= 0) return undefined;
    const hit = from + (goal - there) / net;
    return hit < until ? hit : undefined;
  }
}
