import type { AmountName, Candidate } from '@headgate/core';
import { givenUp, grantsOf, type History, limitsAlong } from './history.ts';

/** What refills while a request is on its way is lost to a full bucket, and is charged with it. */
const ON_ITS_WAY_MS = 100;

export interface Level {
  readonly capacity: number;
  readonly ratePerMs: number;
  /** What can be taken: after everything, and before each grant of the last exchange. */
  readonly free: number;
  readonly beforeGrants: readonly number[];
}

/** What a call takes of a limit, with what is held for it. */
export function needOf(call: Candidate, name: AmountName): number {
  if (name === 'requests') return 1;
  if (!call.chargesTokens) return 0;
  return name === 'inputTokens' ? call.inputTokens + call.inputHeld : call.outputTokens;
}

/** A bucket that cannot hold one request would let none through. */
const capacityOf = (perMinute: number, burst = 0): number =>
  perMinute * Math.max(burst, Math.min(1, 1 / perMinute));

/** Whether the depth of a limit has ever been found to be more than was told, as it may where no living process tells it. */
export function isFoundOut(history: History, name: AmountName): boolean {
  const limits = limitsAlong(history);
  return history.some(({ answer }, n) => {
    const told = answer.levels[name];
    const { isDeepKnown = true, burst } = limits[n] ?? {};
    return !isDeepKnown && told !== undefined && told.capacity > capacityOf(told.perMinute, burst) + 1e-6;
  });
}

/** The level of one limit, added up from the beginning. Nothing where nobody ever told of it. */
export function levelOf(history: History, name: AmountName): Level | undefined {
  const limits = limitsAlong(history);
  const seenAt = new Map<string, number>();
  /** What each process holds: it is off what can be taken, and does not keep the bucket from refilling. */
  const held = new Map<string, number>();
  /** What the calls of each process were going to produce: taken where it is given up, for nobody knows what became of them. */
  const ahead = new Map<string, number>();
  let bucket: { settled: number; capacity: number; ratePerMs: number; at: number } | undefined;
  let beforeGrants: number[] = [];
  const free = () => (bucket?.settled ?? 0) - [...held.values()].reduce((sum, each) => sum + each, 0);
  const take = (amount: number, most: number) => {
    if (bucket !== undefined) bucket.settled = Math.min(most, bucket.settled) - amount;
  };
  for (const [n, said] of history.entries()) {
    const { at, exchange } = said;
    const { process, acked, charges, holds, hints, path } = exchange;
    if (bucket !== undefined) {
      bucket.settled = Math.min(bucket.capacity, bucket.settled + bucket.ratePerMs * (at - bucket.at));
      bucket.at = at;
    }
    for (const gone of givenUp(seenAt, said)) {
      take((held.get(gone) ?? 0) + (ahead.get(gone) ?? 0), Number.POSITIVE_INFINITY);
      for (const map of [held, ahead, seenAt]) map.delete(gone);
    }
    const isBack = !seenAt.has(process) && acked > 0;
    seenAt.set(process, at);

    const perMinute = limits[n]?.[name];
    if (perMinute !== undefined) {
      const capacity = capacityOf(perMinute, limits[n]?.burst);
      // One that is new may be one that was lost: half full, and never without room for one. Of another depth the same is used.
      const settled =
        bucket === undefined
          ? Math.max(Math.min(1, capacity), capacity / 2)
          : Math.min(capacity, capacity - (bucket.capacity - bucket.settled));
      bucket = { settled, capacity, ratePerMs: perMinute / 60_000, at };
    }
    if (isBack) take(0, hints?.[name] ?? Number.POSITIVE_INFINITY);
    take(charges[name], Number.POSITIVE_INFINITY);
    take(0, bucket?.capacity ?? 0);
    if (name === 'inputTokens') held.set(process, holds.inputTokens);
    if (name === 'outputTokens' && path !== undefined) ahead.set(process, path.use.at(-1) ?? 0);
    beforeGrants = [];
    for (const call of grantsOf(said)) {
      beforeGrants.push(free());
      if (name !== 'requests' && !call.chargesTokens) continue;
      if (name === 'outputTokens' && call.path !== undefined) {
        ahead.set(process, (ahead.get(process) ?? 0) + (call.path.use.at(-1) ?? 0));
        continue;
      }
      const isHeld = name === 'inputTokens' ? call.inputHeld : 0;
      take(needOf(call, name) - isHeld, (bucket?.capacity ?? 0) - (bucket?.ratePerMs ?? 0) * ON_ITS_WAY_MS);
      held.set(process, (held.get(process) ?? 0) + isHeld);
    }
  }
  return bucket === undefined ? undefined : { ...bucket, free: free(), beforeGrants };
}
