import type { Clock } from '@headgate/core';
import { type Account, createAccount } from './account.ts';
import { type BatchBook, createBatches } from './batches.ts';
import type { Config } from './config.ts';
import { createFaultScript, type FaultScript } from './faults.ts';
import type { Generation } from './generation.ts';
import { matchesGlob } from './glob.ts';
import { createLedger, type LedgerBook, type OpenEntry } from './ledger.ts';
import { createPromptCache, type PromptCache } from './prompt-cache.ts';
import { createId, createRandom } from './random.ts';
import { type Headers, rateLimitHeaders } from './rate-limit-headers.ts';

export const TOKEN_COUNT = 'token_count';
export const BATCH = 'batch';

/** Everything that lives longer than one request. */
export interface Organization {
  readonly config: Config;
  readonly clock: Clock;
  readonly accounts: ReadonlyMap<string, Account>;
  readonly ledger: LedgerBook;
  readonly cache: PromptCache;
  readonly batches: BatchBook;
  readonly faults: FaultScript;
  /** Running generations, with the entry that each keeps. */
  readonly running: Map<OpenEntry, Generation>;
  /** Throws for a name that is none. */
  account(name: string): Account;
  /** The first bucket that names one of a model's names. */
  accountFor(...modelNames: string[]): Account | undefined;
  /** Rate-limit headers now, and those that the bucket sent first of all. */
  limitHeaders(account: Account): { now: Headers; first: Headers };
  newId(prefix: string): string;
  /** The same body draws the same numbers, and other ones the next time it comes. */
  randomFor(bodyHash: number): () => number;
  reset(): void;
}

const MAX_REMEMBERED_BODIES = 50_000;

export function createOrganization(config: Config): Organization {
  const { clock } = config;
  const ids = createRandom(config.seed);
  const accounts = new Map<string, Account>();
  const firstHeaders = new WeakMap<Account, Headers>();
  const repeats = new Map<number, number>();
  const running = new Map<OpenEntry, Generation>();
  for (const limits of config.limits) accounts.set(limits.name, createAccount(limits, clock.now()));
  const countLimits = { name: TOKEN_COUNT, models: [], requestsPerMinute: config.countTokensPerMinute };
  if (!accounts.has(TOKEN_COUNT)) accounts.set(TOKEN_COUNT, createAccount(countLimits, clock.now()));
  const batchLimits = { name: BATCH, models: [], requestsPerMinute: config.batches.requestsPerMinute };
  if (!accounts.has(BATCH)) accounts.set(BATCH, createAccount(batchLimits, clock.now()));

  function account(name: string): Account {
    const found = accounts.get(name);
    if (found === undefined)
      throw new RangeError(`Unknown bucket "${name}". Known: ${[...accounts.keys()].join(', ')}`);
    return found;
  }

  const ledger = createLedger({
    size: config.ledgerSize,
    limitsOf: (name) => account(name).limits,
    refresh() {
      for (const generation of running.values()) generation.produced();
      batches.refresh();
    },
  });
  const cache = createPromptCache();
  const faults = createFaultScript(createRandom(config.seed ^ 0x5bd1e995));
  const newId = (prefix: string) => createId(prefix, ids);
  const batches = createBatches({ config, cache, newId, record: (entry) => ledger.open(entry) });

  return {
    config,
    clock,
    accounts,
    ledger,
    cache,
    batches,
    faults,
    running,
    account,
    accountFor(...modelNames) {
      for (const each of accounts.values()) {
        const isMatch = modelNames.some((name) => each.limits.models.some((glob) => matchesGlob(glob, name)));
        if (isMatch) return each;
      }
      return undefined;
    },
    limitHeaders(each) {
      const now = rateLimitHeaders(each, clock.now(), clock.wall());
      const first = firstHeaders.get(each) ?? now;
      firstHeaders.set(each, first);
      return { now, first };
    },
    newId,
    randomFor(bodyHash) {
      const hash = bodyHash ^ config.seed;
      const times = repeats.get(hash) ?? 0;
      if (repeats.size >= MAX_REMEMBERED_BODIES) repeats.clear();
      repeats.set(hash, times + 1);
      return createRandom(hash + Math.imul(times, 0x9e3779b1));
    },
    reset() {
      ledger.clear();
      cache.clear();
      batches.clear();
      faults.clear();
      repeats.clear();
      for (const each of accounts.values()) each.fill(clock.now());
    },
  };
}
