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
 * of fast mode those of its own are read; `anthropic-ratelimit-tokens-*` is not read at all, since it repeats whichever limit is nearest.
 */
export function readRateHeaders(headers: Headers, isFast = false): RateHeaders {
  const read: RateHeaders = {};
  const prefix = isFast ? 'anthropic-fast' : 'anthropic-ratelimit';
  for (const dimension of DIMENSIONS) {
    const limit = readCount(headers.get(`${prefix}-${HEADER[dimension]}-limit`));
    const remaining = readCount(headers.get(`${prefix}-${HEADER[dimension]}-remaining`));
    if (limit !== undefined && limit > 0 && remaining !== undefined) read[dimension] = { limit, remaining };
  }
  return read;
}

function readCount(text: string | null): number | undefined {
  return text !== null && /^\d{1,12}$/.test(text.trim()) ? Number(text) : undefined;
}

/** A longer `retry-after` is none: whoever writes one means something else, as a date in seconds of the epoch. */
const MAX_RETRY_AFTER_MS = 86_400_000;

/** What a response says of when to come back. */
export interface RetryAfter {
  /** A delay of up to a day; absent where the response names none that can be. */
  readonly ms: number | undefined;
  /** The value of a header that cannot be meant as it stands. */
  readonly impossible: string | undefined;
}

/**
 * `retry-after-ms`, or `retry-after` in seconds or as an HTTP date. A date is read against the response's own `Date`: two
 * clocks need not agree. A delay that does not lie ahead, or lies more than a day ahead, is none.
 */
export function readRetryAfter(headers: Headers, wallNow: number): RetryAfter {
  let impossible: string | undefined;
  for (const [text, ms] of delaysOf(headers, wallNow)) {
    if (ms > 0 && ms <= MAX_RETRY_AFTER_MS) return { ms, impossible };
    if (ms > 0 || Number.isNaN(ms)) impossible ??= text;
  }
  return { ms: undefined, impossible };
}

function* delaysOf(headers: Headers, wallNow: number): Iterable<readonly [string, number]> {
  const ms = headers.get('retry-after-ms')?.trim();
  if (ms !== undefined && ms !== '') yield [ms, isNumber(ms) ? Number(ms) : Number.NaN];
  const text = headers.get('retry-after')?.trim();
  if (text === undefined || text === '') return;
  yield [text, isNumber(text) ? Number(text) * 1_000 : Date.parse(text) - sentAt(headers, wallNow)];
}

const isNumber = (text: string) => /^[+-]?\d+(\.\d+)?$/.test(text);

/** When the response was made, by the clock that its dates are made by. */
function sentAt(headers: Headers, wallNow: number): number {
  const date = Date.parse(headers.get('date') ?? '');
  return Number.isNaN(date) ? wallNow : date;
}

/** A limit that shows no more than this in a refusal is the one that refused. */
export const EMPTY: Readonly<Record<Dimension, number>> = {
  requests: 0,
  inputTokens: 1_000,
  outputTokens: 500,
};

/** Whether a response shows a limit that is used up. */
export function showsEmpty(headers: RateHeaders): boolean {
  return DIMENSIONS.some((dimension) => {
    const headroom = headers[dimension];
    return headroom !== undefined && headroom.remaining <= EMPTY[dimension];
  });
}
