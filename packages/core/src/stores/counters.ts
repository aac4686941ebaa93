import type { StoreDoubt } from './store.ts';
import type { UsageStore } from './usage-store.ts';

/** What a calendar window has used, as it is kept beyond the life of a process. */
export interface SavedCounter {
  /** Start of the window, in milliseconds of the epoch. */
  readonly windowStart: number;
  /** End of the window: after it the counter is of no use to anybody. */
  readonly windowEnd: number;
  readonly used: number;
}

/**
 * Keeps the counters of day and month quotas. Promised: `get` gives what the last `set` of this process gave, and what
 * was flushed survives the process. Not promised: anything between two processes that use one store at once.
 * Methods may throw; the governor then goes on with what it has in memory, and says so once.
 */
export interface CounterStore {
  get(key: string): SavedCounter | undefined;
  /** May be kept back until `flush`. */
  set(key: string, counter: SavedCounter): void;
  flush(): void;
  /** Keeps what `governor.usage` tells beyond the life of the process, where the store can. */
  readonly usage?: UsageStore;
  /** What is wrong with the store, if anything: asked once, as the governor starts, and said by name. */
  doubts?(): Promise<readonly StoreDoubt[]>;
  /** Flushes and lets go of everything. */
  close(): void;
}
