/** What usage can be asked for by. */
export const USAGE_BY = ['user', 'tenant', 'route', 'model', 'lane', 'account'] as const;
export type UsageBy = (typeof USAGE_BY)[number];

/** What calls have used and cost. */
export interface UsageSums {
  readonly calls: number;
  /** Neither read from the cache nor written to it. */
  readonly inputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWriteTokens: number;
  readonly outputTokens: number;
  readonly usd: number;
  /** Calls whose price is not known: `usd` has what `unpriced` puts in its place, or nothing where no money is counted. */
  readonly unpriced: number;
}

export const NO_SUMS: UsageSums = {
  calls: 0,
  inputTokens: 0,
  cacheReadTokens: 0,
  cacheWriteTokens: 0,
  outputTokens: 0,
  usd: 0,
  unpriced: 0,
};

export const addSums = (a: UsageSums, b: UsageSums): UsageSums => ({
  calls: a.calls + b.calls,
  inputTokens: a.inputTokens + b.inputTokens,
  cacheReadTokens: a.cacheReadTokens + b.cacheReadTokens,
  cacheWriteTokens: a.cacheWriteTokens + b.cacheWriteTokens,
  outputTokens: a.outputTokens + b.outputTokens,
  usd: a.usd + b.usd,
  unpriced: a.unpriced + b.unpriced,
});

/** Part of what an hour has seen. */
export interface UsageRecord {
  /** Start of the hour, in milliseconds of the epoch. */
  readonly hour: number;
  readonly by: UsageBy;
  readonly key: string;
  readonly sums: UsageSums;
}

/** The sums of one key. */
export interface KeyedUsage {
  readonly key: string;
  readonly sums: UsageSums;
}

/**
 * Keeps usage by the hour. Promised: what was added is in every later answer, and survives the process. Adding is
 * additive, so that several processes may keep one store. Methods may throw or reject; the governor then goes on with
 * what it has in memory.
 */
export interface UsageStore {
  addUsage(records: readonly UsageRecord[]): void | Promise<void>;
  /** Sums by key over the hours from `since` on. */
  readUsage(by: UsageBy, since: number): KeyedUsage[] | Promise<KeyedUsage[]>;
  /** Forgets hours before `before`. */
  dropUsage(before: number): void | Promise<void>;
}
