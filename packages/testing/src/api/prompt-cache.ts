import { createHash } from 'node:crypto';
import type { ModelSpec } from './options.ts';
import { type InputCount, type Segment, withoutCache } from './tokens.ts';

const TTL_MS = { '5m': 300_000, '1h': 3_600_000 } as const;

/** How far before a breakpoint an earlier prefix is still looked for, in blocks. */
const LOOKBACK = 20;

/** How a request's input splits. The four add up to the whole input. */
export interface CacheSplit {
  /** Neither read nor written: what `usage.input_tokens` reports. */
  readonly uncached: number;
  readonly read: number;
  readonly created5m: number;
  readonly created1h: number;
}

export interface CacheLookup {
  readonly split: CacheSplit;
  /** Makes the written prefixes readable: when the answer begins, not when the request arrives. */
  commit(now: number): void;
}

export interface PromptCache {
  look(count: InputCount, automatic: '5m' | '1h' | undefined, model: ModelSpec, now: number): CacheLookup;
  clear(): void;
}

/** The prompt cache of one organization: prefixes by hash, apart for every model. */
export function createPromptCache(maxEntries = 10_000): PromptCache {
  const expiresAt = new Map<string, number>();

  function isWarm(key: string, now: number): boolean {
    const end = expiresAt.get(key);
    if (end === undefined || end > now) return end !== undefined;
    expiresAt.delete(key);
    return false;
  }

  function store(key: string, ttl: '5m' | '1h', now: number): void {
    const end = Math.max(expiresAt.get(key) ?? 0, now + TTL_MS[ttl]);
    expiresAt.delete(key);
    expiresAt.set(key, end);
    const oldest = expiresAt.keys().next();
    if (expiresAt.size > maxEntries && oldest.done !== true) expiresAt.delete(oldest.value);
  }

  return {
    look(count, automatic, model, now) {
      const segments = automatic === undefined ? count.segments : withMark(count.segments, automatic);
      const last = segments.findLastIndex((each) => each.ttl !== undefined);
      if (last < 0) return { split: wholly(count.total), commit: () => undefined };

      const prefixes = hashPrefixes(segments.slice(0, last + 1), model.id);
      const least = model.cacheMinTokens ?? 1_024;
      const marks = prefixes.filter((each) => each.ttl !== undefined && each.tokens >= least);
      const hit = longestHit(prefixes, marks, (key) => isWarm(key, now));

      let created5m = 0;
      let created1h = 0;
      let from = hit?.tokens ?? 0;
      for (const mark of marks) {
        const written = Math.max(0, mark.tokens - from);
        if (mark.ttl === '1h') created1h += written;
        else created5m += written;
        from = Math.max(from, mark.tokens);
      }
      const read = hit?.tokens ?? 0;
      const uncached = count.total - read - created5m - created1h;
      return {
        split: { uncached, read, created5m, created1h },
        commit(at) {
          // A read refreshes the prefix that was read; every mark past it is written.
          if (hit !== undefined) store(hit.key, hit.ttl ?? marks[0]?.ttl ?? '5m', at);
          for (const mark of marks) store(mark.key, mark.ttl ?? '5m', at);
        },
      };
    },
    clear() {
      expiresAt.clear();
    },
  };
}

interface Prefix {
  readonly key: string;
  readonly tokens: number;
  readonly index: number;
  readonly ttl?: '5m' | '1h';
}

function hashPrefixes(segments: readonly Segment[], modelId: string): Prefix[] {
  const hash = createHash('sha256').update(modelId);
  let tokens = 0;
  return segments.map((segment, index) => {
    tokens += segment.tokens;
    hash.update(JSON.stringify(withoutCache(segment.block)) ?? '').update('\0');
    const key = hash.copy().digest('base64');
    return { key, tokens, index, ...(segment.ttl === undefined ? {} : { ttl: segment.ttl }) };
  });
}

/** The longest warm prefix that ends at, or up to `LOOKBACK` blocks before, a breakpoint. */
function longestHit(
  prefixes: readonly Prefix[],
  marks: readonly Prefix[],
  isWarm: (key: string) => boolean,
): Prefix | undefined {
  for (const mark of marks.toReversed()) {
    const first = Math.max(0, mark.index - LOOKBACK);
    for (let index = mark.index; index >= first; index -= 1) {
      const prefix = prefixes[index];
      if (prefix !== undefined && isWarm(prefix.key)) return prefix;
    }
  }
  return undefined;
}

/** Top-level `cache_control`: the last block is the breakpoint. */
function withMark(segments: readonly Segment[], ttl: '5m' | '1h'): readonly Segment[] {
  const last = segments.at(-1);
  return last === undefined || last.ttl !== undefined
    ? segments
    : [...segments.slice(0, -1), { ...last, ttl }];
}

function wholly(total: number): CacheSplit {
  return { uncached: total, read: 0, created5m: 0, created1h: 0 };
}
