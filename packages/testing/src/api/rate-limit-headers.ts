import type { Account } from './account.ts';
import type { Dimension } from './options.ts';

export type Headers = Record<string, string>;

const FAMILY: Record<Dimension, string> = {
  requests: 'requests',
  inputTokens: 'input-tokens',
  outputTokens: 'output-tokens',
};

/**
 * The `anthropic-ratelimit-*` headers of one bucket at one moment.
 *
 * `-limit` is per minute. `-remaining` is the bucket's level: what could be taken now. A bucket shallower
 * than a minute therefore never shows its limit as remaining; the documentation does not say how the real
 * API scales it. Token counts are rounded to the nearest thousand. `-reset` is when the bucket will be
 * *full*, not when the next request fits. `-tokens-*` is the sum of input and output, the documented rule
 * where no limit of a workspace applies.
 */
export function rateLimitHeaders(account: Account, now: number, wall: number): Headers {
  const headers: Headers = {};
  let total = { limit: 0, remaining: 0, fullInMs: 0 };
  for (const dimension of ['requests', 'inputTokens', 'outputTokens'] as const) {
    const bucket = account.bucket(dimension);
    if (bucket === undefined) continue;
    const level = Math.max(0, bucket.level(now));
    const fullInMs = bucket.fullInMs(now);
    const remaining = dimension === 'requests' ? Math.floor(level + 1e-6) : toThousand(level);
    put(headers, FAMILY[dimension], bucket.limitPerMinute, remaining, wall + fullInMs);
    if (dimension === 'requests') continue;
    total = {
      limit: total.limit + bucket.limitPerMinute,
      remaining: total.remaining + level,
      fullInMs: Math.max(total.fullInMs, fullInMs),
    };
  }
  if (total.limit > 0) {
    put(headers, 'tokens', total.limit, toThousand(total.remaining), wall + total.fullInMs);
  }
  return headers;
}

function put(headers: Headers, family: string, limit: number, remaining: number, resetAt: number): void {
  const prefix = `anthropic-ratelimit-${family}`;
  headers[`${prefix}-limit`] = String(limit);
  headers[`${prefix}-remaining`] = String(remaining);
  headers[`${prefix}-reset`] = instant(resetAt);
}

/** RFC 3339 in UTC, whole seconds, rounded up so that it is never too early. */
function instant(wall: number): string {
  return new Date(Math.ceil(wall / 1_000) * 1_000).toISOString().replace('.000Z', 'Z');
}

function toThousand(tokens: number): number {
  return Math.round(tokens / 1_000) * 1_000;
}
