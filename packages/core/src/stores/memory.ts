import type { Clock } from '../clock.ts';
import { systemClock } from '../clock.ts';
import { applyExchange } from './ledger/exchange.ts';
import { emptyQuota, keptMs, type QuotaState } from './ledger/quotas.ts';
import { type Books, type BucketState, freshBucket } from './ledger/state.ts';
import { memoryBoard } from './memory-board.ts';
import { AGAIN_MS, type Answer, type Exchange, LEASE_MS, type Store, type Wake } from './store.ts';

export interface MemoryStoreOptions {
  /** Default: the process's own. */
  readonly clock?: Clock;
}

interface Kept {
  readonly state: BucketState;
  readonly side: Map<string, readonly number[]>;
  readonly tags: Map<string, Map<string, number>>;
  /** The last answer of each process, so that an exchange that is told again is not applied again. */
  readonly answers: Map<string, { seq: number; at: number; answer: Answer }>;
}

/** Entries of quotas that are looked at with each exchange: those that are past their time go. */
const SWEEP = 3;

/** A fleet's ledger inside one process: for several governors in it, for tests, and to read what a store has to do. */
export function memoryStore({ clock = systemClock }: MemoryStoreOptions = {}): Store {
  const buckets = new Map<string, Kept>();
  const quotas = new Map<string, { state: QuotaState; until: number }>();
  const seen = new Map<string, number>();
  const listeners = new Map<string, Set<(wake: Wake) => void>>();
  const slotListeners = new Map<string, Set<(process: string) => void>>();
  let cursor = quotas.entries();

  const sweep = (now: number) => {
    for (let looked = 0; looked < SWEEP; looked++) {
      const next = cursor.next();
      if (next.done === true) {
        cursor = quotas.entries();
        return;
      }
      const [key, { until }] = next.value;
      if (until < now) quotas.delete(key);
    }
  };

  const booksOf = (kept: Kept, touched: Set<string>, now: number): Books => ({
    side: {
      get: (field) => kept.side.get(field),
      set: (field, values) => void kept.side.set(field, values),
      delete: (field) => void kept.side.delete(field),
    },
    quota(key) {
      let found = quotas.get(key);
      if (found === undefined || found.until < now) {
        found = { state: emptyQuota(), until: now };
        quotas.set(key, found);
      }
      touched.add(key);
      return found.state;
    },
    tagOf: (lane, user) => kept.tags.get(lane)?.get(user),
    setTag(lane, user, tag) {
      const tags = kept.tags.get(lane) ?? new Map<string, number>();
      kept.tags.set(lane, tags);
      tags.set(user, tag);
    },
    forgetTags(lane, time) {
      if (time === undefined) kept.tags.delete(lane);
      else
        for (const [user, tag] of kept.tags.get(lane) ?? [])
          if (tag <= time) kept.tags.get(lane)?.delete(user);
    },
    get processes() {
      return seen.size;
    },
    forget(process) {
      if ((seen.get(process) ?? 0) < now - LEASE_MS) seen.delete(process);
    },
    // All of its processes are one.
    isGone: () => false,
    seenAt: (process) => seen.get(process) ?? Number.NEGATIVE_INFINITY,
  });

  return {
    kind: 'fleet',
    assumedProcesses: 1,
    async exchange(bucket, exchange: Exchange) {
      const now = clock.wall();
      let kept = buckets.get(bucket);
      const isFresh = kept === undefined;
      if (kept === undefined) {
        kept = { state: freshBucket(), side: new Map(), tags: new Map(), answers: new Map() };
        buckets.set(bucket, kept);
      }
      const last = kept.answers.get(exchange.process);
      if (last !== undefined && last.seq === exchange.seq) return last.answer;
      const touched = new Set<string>();
      seen.set(exchange.process, now);
      const { answer, announce } = applyExchange(
        kept.state,
        booksOf(kept, touched, now),
        exchange,
        isFresh,
        now,
      );
      for (const key of touched) {
        const quota = quotas.get(key);
        if (quota !== undefined) quota.until = now + keptMs(quota.state, now);
      }
      sweep(now);
      kept.answers.set(exchange.process, { seq: exchange.seq, at: now, answer });
      for (const [process, { at }] of kept.answers)
        if (kept.state.processes[process] === undefined && at < now - AGAIN_MS) kept.answers.delete(process);
      if (announce !== undefined) for (const tell of [...(listeners.get(bucket) ?? [])]) tell(announce);
      for (const { key, frees } of exchange.quotas)
        if (frees) for (const tell of [...(slotListeners.get(key) ?? [])]) tell(exchange.process);
      return answer;
    },
    listen(bucket, onWake) {
      const set = listeners.get(bucket) ?? new Set();
      listeners.set(bucket, set);
      set.add(onWake);
      return () => void set.delete(onWake);
    },
    listenSlot(key, onFree) {
      const set = slotListeners.get(key) ?? new Set();
      slotListeners.set(key, set);
      set.add(onFree);
      return () => {
        set.delete(onFree);
        if (set.size === 0 && slotListeners.get(key) === set) slotListeners.delete(key);
      };
    },
    board: memoryBoard(clock),
    async close() {
      listeners.clear();
      slotListeners.clear();
    },
  };
}
