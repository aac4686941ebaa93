import { DEFAULT_BURST_SECONDS } from './account.ts';
import type { BucketLimits, Dimension } from './options.ts';

/** One attempt, as it really went. Times ending in `At` are `clock.now()` of the API's clock, in ms. */
export interface LedgerEntry {
  /** Arrival, in ms since the epoch. */
  readonly at: number;
  /** End of the request's body. */
  readonly arrivedAt: number;
  readonly requestId: string;
  readonly path: string;
  /** Empty when the request did not name one. */
  readonly model: string;
  /** The bucket that it counts against, if any. */
  readonly bucket: string | undefined;
  /** `metadata.user_id` */
  readonly userId: string | undefined;
  /** For a request of a batch, as it was processed: its batch, and its `custom_id`. */
  readonly batchId: string | undefined;
  readonly customId: string | undefined;
  readonly stream: boolean;
  /** `invalid`: refused for what it says (4xx), before any bucket was asked. `fault`: an injected ending. */
  readonly outcome: 'admitted' | 'refused' | 'fault' | 'invalid';
  /** The HTTP status, sent or about to be; 0 for a connection that a fault cut before one was chosen. */
  readonly status: number;
  readonly errorType: string | undefined;
  readonly errorCode: string | undefined;
  readonly refusedBy: Dimension | undefined;
  readonly retryAfterSeconds: number | undefined;
  /** Charged on arrival, before the real count was known. */
  readonly estimatedInputTokens: number;
  /** Counted against the limit: uncached and newly cached input. What `usage` calls input is this less `cacheCreation`. */
  readonly inputTokens: number;
  readonly cacheRead: number;
  readonly cacheCreation: number;
  /** Part of `cacheCreation`: what was written for an hour. */
  readonly cacheCreation1h: number;
  /** Produced until now, or in the end. */
  readonly outputTokens: number;
  readonly maxTokens: number;
  readonly firstTokenAt: number | undefined;
  /** When production ended; undefined while it goes on. */
  readonly endedAt: number | undefined;
  /** The client went away before it had the whole answer. */
  readonly disconnected: boolean;
  /** Tokens produced when the client went away. */
  readonly generatedTokens: number | undefined;
}

export interface LedgerTotals {
  readonly attempts: number;
  readonly admitted: number;
  readonly refused: number;
  readonly faults: number;
  readonly invalid: number;
  readonly disconnected: number;
  readonly inputTokens: number;
  readonly cacheRead: number;
  readonly cacheCreation: number;
  readonly outputTokens: number;
}

/** Shares of what the bucket could have given at most: 1 is the physical limit. Undefined: not limited. */
export type Utilization = Readonly<Record<Dimension, number | undefined>>;

export interface Ledger {
  /** Oldest first. Bounded by `ledgerSize`: the oldest are forgotten. */
  readonly entries: readonly LedgerEntry[];
  /** How many of the kept entries have all these fields. */
  count(match?: Partial<LedgerEntry>): number;
  /** Sums over everything since the start or the last reset, forgotten entries included. */
  totals(bucket?: string): LedgerTotals;
  /**
   * What was charged in a window of `clock.now()`, over `capacity + rate × T` by the bucket's present limits.
   * Input counts at its arrival, output when it was produced. Throws for an unknown bucket.
   */
  utilization(bucket: string, fromMs: number, toMs: number): Utilization;
}

/** An entry while its request is being answered. */
export type OpenEntry = { -readonly [Key in keyof LedgerEntry]: LedgerEntry[Key] };

export interface LedgerBook extends Ledger {
  open(entry: OpenEntry): void;
  clear(): void;
}

export interface LedgerSources {
  readonly size: number;
  /** Brings the output of running generations up to date. */
  readonly refresh: () => void;
  readonly limitsOf: (bucket: string) => BucketLimits;
}

type Sums = { -readonly [Key in keyof LedgerTotals]: LedgerTotals[Key] };

export function createLedger(sources: LedgerSources): LedgerBook {
  let entries: OpenEntry[] = [];
  /** Sums of the entries that were forgotten, by bucket. */
  const forgotten = new Map<string | undefined, Sums>();

  function forget(count: number): void {
    for (const entry of entries.splice(0, count)) {
      const sums = forgotten.get(entry.bucket) ?? noSums();
      add(sums, entry);
      forgotten.set(entry.bucket, sums);
    }
  }

  return {
    get entries() {
      sources.refresh();
      return entries;
    },
    count(match = {}) {
      sources.refresh();
      const wanted = Object.entries(match);
      return entries.filter((entry) => {
        const record: Readonly<Record<string, unknown>> = entry;
        return wanted.every(([name, value]) => record[name] === value);
      }).length;
    },
    totals(bucket) {
      sources.refresh();
      const sums = noSums();
      for (const [name, past] of forgotten) {
        if (bucket === undefined || name === bucket) merge(sums, past);
      }
      for (const entry of entries) {
        if (bucket === undefined || entry.bucket === bucket) add(sums, entry);
      }
      return sums;
    },
    utilization(bucket, fromMs, toMs) {
      sources.refresh();
      const limits = sources.limitsOf(bucket);
      const charged = { requests: 0, inputTokens: 0, outputTokens: 0 };
      for (const entry of entries) {
        // A stream that a fault ended had been admitted, and charged, before.
        if (entry.bucket !== bucket || (entry.outcome !== 'admitted' && entry.inputTokens === 0)) continue;
        if (entry.arrivedAt >= fromMs && entry.arrivedAt < toMs) {
          charged.requests += 1;
          charged.inputTokens += entry.inputTokens;
        }
        charged.outputTokens += producedWithin(entry, fromMs, toMs);
      }
      const seconds = Math.max(0, toMs - fromMs) / 1_000;
      const share = (used: number, perMinute: number | undefined): number | undefined => {
        if (perMinute === undefined) return undefined;
        return used / ((perMinute / 60) * ((limits.burstSeconds ?? DEFAULT_BURST_SECONDS) + seconds));
      };
      return {
        requests: share(charged.requests, limits.requestsPerMinute),
        inputTokens: share(charged.inputTokens, limits.inputTokensPerMinute),
        outputTokens: share(charged.outputTokens, limits.outputTokensPerMinute),
      };
    },
    open(entry) {
      entries.push(entry);
      // In blocks, since cutting one off the front of a large array moves all the others.
      if (entries.length > sources.size * 1.1 + 1) forget(entries.length - sources.size);
    },
    clear() {
      entries = [];
      forgotten.clear();
    },
  };
}

/** Production runs evenly from the first token to its end. */
function producedWithin(entry: OpenEntry, fromMs: number, toMs: number): number {
  if (entry.firstTokenAt === undefined || entry.outputTokens === 0) return 0;
  const start = entry.firstTokenAt;
  const end = entry.endedAt ?? toMs;
  if (end <= start) return start >= fromMs && start < toMs ? entry.outputTokens : 0;
  const overlap = Math.min(end, toMs) - Math.max(start, fromMs);
  return overlap <= 0 ? 0 : (entry.outputTokens * overlap) / (end - start);
}

function noSums(): Sums {
  return {
    attempts: 0,
    admitted: 0,
    refused: 0,
    faults: 0,
    invalid: 0,
    disconnected: 0,
    inputTokens: 0,
    cacheRead: 0,
    cacheCreation: 0,
    outputTokens: 0,
  };
}

function add(sums: Sums, entry: OpenEntry): void {
  sums.attempts += 1;
  sums.admitted += entry.outcome === 'admitted' ? 1 : 0;
  sums.refused += entry.outcome === 'refused' ? 1 : 0;
  sums.faults += entry.outcome === 'fault' ? 1 : 0;
  sums.invalid += entry.outcome === 'invalid' ? 1 : 0;
  sums.disconnected += entry.disconnected ? 1 : 0;
  sums.inputTokens += entry.inputTokens;
  sums.cacheRead += entry.cacheRead;
  sums.cacheCreation += entry.cacheCreation;
  sums.outputTokens += entry.outputTokens;
}

function merge(sums: Sums, past: Sums): void {
  sums.attempts += past.attempts;
  sums.admitted += past.admitted;
  sums.refused += past.refused;
  sums.faults += past.faults;
  sums.invalid += past.invalid;
  sums.disconnected += past.disconnected;
  sums.inputTokens += past.inputTokens;
  sums.cacheRead += past.cacheRead;
  sums.cacheCreation += past.cacheCreation;
  sums.outputTokens += past.outputTokens;
}
