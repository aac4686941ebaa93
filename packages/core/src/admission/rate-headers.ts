/** The dimensions that the API limits by the minute. */
export const DIMENSIONS = ['requests', 'inputTokens', 'outputTokens'] as const;
export type Dimension = (typeof DIMENSIONS)[number];

const HEADER: Record<Dimension, string> = {
  requests: 'requests',
  inputTokens: 'input-tokens',
  outputTokens: 'output-tokens',
};

/** What one response says of one dimension. */
export interface Headroom {
  /** Per minute. */
  readonly limit: number;
  readonly remaining: number;
}

export type RateHeaders = Partial<Record<Dimension, Headroom>>;

/**
 * The rate-limit headers of a response. A dimension may be missing, and what does not read as a count is left out:
 * `anthropic-ratelimit-tokens-*` is not read at all, since it repeats whichever limit is nearest.
 */
export function readRateHeaders(headers: Headers): RateHeaders {
  const read: RateHeaders = {};
  for (const dimension of DIMENSIONS) {
    const limit = readCount(headers.get(`anthropic-ratelimit-${HEADER[dimension]}-limit`));
    const remaining = readCount(headers.get(`anthropic-ratelimit-${HEADER[dimension]}-remaining`));
    if (limit !== undefined && limit > 0 && remaining !== undefined) read[dimension] = { limit, remaining };
  }
  return read;
}

function readCount(text: string | null): number | undefined {
  return text !== null && /^\d{1,12}$/.test(text.trim()) ? Number(text) : undefined;
}

/** The longest `retry-after` taken at its word, in milliseconds: past a day something else is meant. */
const MAX_RETRY_AFTER_MS = 86_400_000;

/** `retry-after-ms`, or `retry-after` in seconds or as an HTTP date; only a delay that lies ahead counts. */
export function readRetryAfter(headers: Headers, wallNow: number): number | undefined {
  const ms = Number.parseFloat(headers.get('retry-after-ms') ?? '');
  if (ms > 0) return Math.min(ms, MAX_RETRY_AFTER_MS);
  const text = headers.get('retry-after')?.trim();
  if (text === undefined || text === '') return undefined;
  const delay = /^[+-]?\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - wallNow;
  return delay > 0 ? Math.min(delay, MAX_RETRY_AFTER_MS) : undefined;
}
