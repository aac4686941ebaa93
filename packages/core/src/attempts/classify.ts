import { readRateHeaders, readRetryAfter, showsEmpty } from '../admission/rate-headers.ts';
import { isHeadgateError, OWN_SPEND_LIMIT } from '../errors.ts';
import { isRecord, text } from '../json.ts';
import type { Payer } from '../request/billing.ts';
import { spendLimitEnd } from './spend-limits.ts';

/** What a failed attempt means. */
export type FailureKind =
  /** 429: the bucket is empty. */
  | 'rate_limited'
  /** 429 that names no time and shows no empty bucket: too many calls at once. */
  | 'congested'
  /** 429: usage grows too fast. */
  | 'ramp'
  /** The money is used up: nothing helps but a new month or a new limit. */
  | 'spend_limit'
  /** 529. */
  | 'overloaded'
  /** 5xx, 408, 409. */
  | 'server'
  /** No connection, or one that broke before the headers. */
  | 'connection'
  /** No headers within the SDK's own limit. */
  | 'timeout'
  /** The app's own code has thrown, or another governor has refused: nothing is known of the API. */
  | 'foreign'
  /** The caller, its deadline or the governor ended it. */
  | 'aborted'
  /** 404: the API has no such thing; of a call, no such model, or no more. */
  | 'not_found'
  /** The request itself is wrong, or not allowed. */
  | 'final';

export interface Verdict {
  readonly kind: FailureKind;
  readonly isRetryable: boolean;
  readonly retryAfterMs: number | undefined;
  /** For `error.type`. */
  readonly errorType: string;
  /** The API's `error.details.error_code`. */
  readonly errorCode: string | undefined;
  /** Where a limit of money is reached: when it ends, in milliseconds of the epoch. */
  readonly spendLimitUntil?: number | undefined;
  /** The value of a `retry-after` that cannot be meant as it stands, and was not followed. */
  readonly ignoredRetryAfter?: string | undefined;
  /** The API's own words, where they decide what a 404 is about. Never shown. */
  readonly message?: string | undefined;
}

const SPEND_CODES = new Set(['enforced_spend_limit_reached', 'contract_spend_limit_reached']);

/** What stands in the way of billing the customer that a request names: nothing of the account's own. */
const CUSTOMER_CODE = /^(?:linked_organization_|user_profile_)/;

const TYPE_BY_STATUS: Record<number, string> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  408: 'timeout_error',
  409: 'conflict_error',
  413: 'request_too_large',
  429: 'rate_limit_error',
  504: 'timeout_error',
  529: 'overloaded_error',
};

/**
 * Reads a failed response. Pure: branches on status and codes, on words only where the API gives nothing else. `payer`:
 * who was to be billed; what is wrong with a customer's money is final for that call, and says nothing of the account.
 */
export function classifyResponse(
  status: number,
  headers: Headers,
  body: string,
  wallNow: number,
  payer: Payer = 'self',
): Verdict {
  const error = readError(body);
  const retryAfter = readRetryAfter(headers, wallNow);
  const errorType = error.type ?? TYPE_BY_STATUS[status] ?? (status >= 500 ? 'api_error' : '_OTHER');
  const isCustomers = CUSTOMER_CODE.test(error.code ?? '') || (status === 402 && payer !== 'self');
  const named = isCustomers ? 'final' : kindOf(status, error);
  const isTimeless = retryAfter.ms === undefined && error.code === undefined;
  const isCrowd = named === 'rate_limited' && isTimeless && !showsEmpty(readRateHeaders(headers));
  const kind = isCrowd ? 'congested' : named;
  const asked = headers.get('x-should-retry');
  const isSettled = kind === 'spend_limit' || isCustomers;
  return {
    kind,
    isRetryable: !isSettled && (asked === 'true' || (asked !== 'false' && !isLast(kind))),
    retryAfterMs: retryAfter.ms,
    errorType,
    errorCode: error.code,
    spendLimitUntil: kind === 'spend_limit' ? spendLimitEnd(error.code, error.message, wallNow) : undefined,
    message: kind === 'not_found' ? error.message : undefined,
    ignoredRetryAfter: kind === 'spend_limit' ? undefined : retryAfter.impossible,
  };
}

/** Asked again, the API would say the same. */
const isLast = (kind: FailureKind) => kind === 'final' || kind === 'not_found';

function kindOf(status: number, error: ApiError): FailureKind {
  if (error.code !== undefined && SPEND_CODES.has(error.code)) return 'spend_limit';
  if (status === 402) return 'spend_limit';
  if (status === 400 && OWN_SPEND_LIMIT.test(error.message)) return 'spend_limit';
  if (status === 429) return error.code === 'ramp_limit_exceeded' ? 'ramp' : 'rate_limited';
  if (status === 529) return 'overloaded';
  // With the API's own word for it: a proxy's 404 says nothing of models.
  if (status === 404 && error.type === 'not_found_error') return 'not_found';
  if (status >= 500 || status === 408 || status === 409) return 'server';
  return 'final';
}

interface ApiError {
  readonly type: string | undefined;
  readonly code: string | undefined;
  readonly message: string;
}

function readError(body: string): ApiError {
  try {
    const parsed: unknown = JSON.parse(body);
    const error = isRecord(parsed) && isRecord(parsed.error) ? parsed.error : {};
    const details = isRecord(error.details) ? error.details : {};
    return {
      type: text(error.type),
      code: text(details.error_code),
      message: text(error.message) ?? '',
    };
  } catch {
    // A proxy's page, or nothing at all.
    return { type: undefined, code: undefined, message: '' };
  }
}

/** A thrown failure: what ended it is known by whoever ended it, the rest is the connection, or somebody else's code. */
export function classifyThrown(endedBy: 'caller' | 'timeout' | undefined, error?: unknown): Verdict {
  const origin = endedBy === undefined ? originOf(error) : undefined;
  const kind = endedBy === 'timeout' ? 'timeout' : endedBy === 'caller' ? 'aborted' : kindOfThrown(origin);
  return {
    kind,
    // A mistake in code comes again, and a refusal has its own time.
    isRetryable: kind !== 'aborted' && origin !== 'mistake' && origin !== 'refusal',
    retryAfterMs: undefined,
    errorType: kind === 'connection' ? 'connection_error' : kind === 'foreign' ? '_OTHER' : kind,
    errorCode: undefined,
  };
}

const kindOfThrown = (origin: Origin | undefined): FailureKind =>
  origin === 'network' ? 'connection' : 'foreign';

/** Where a thrown error comes from. */
type Origin = 'network' | 'refusal' | 'mistake' | 'unknown';

/** Errors of these names are thrown by fetch implementations for a connection. */
const NETWORK_NAMES = new Set([
  'APIConnectionError',
  'APIConnectionTimeoutError',
  'FetchError',
  'NetworkError',
]);
/** What runtimes say where an error of theirs has no code: Node, browsers, Safari, Deno, Workers. */
const NETWORK_WORDS =
  /^(fetch failed|terminated|failed to fetch|load failed|networkerror|network (error|connection lost)|error sending request|connection error|other side closed|socket hang up)/i;
const MISTAKES = new Set(['TypeError', 'ReferenceError', 'RangeError', 'SyntaxError', 'AssertionError']);

/** Reads the chain of causes: connections fail with a code, or with one of the few messages that runtimes have for it. */
function originOf(error: unknown): Origin {
  let origin: Origin = 'unknown';
  const seen = new Set<unknown>();
  for (let at = error; typeof at === 'object' && at !== null && !seen.has(at); at = causeOf(at)) {
    seen.add(at);
    if (isHeadgateError(at)) return 'refusal';
    const { code, name, message } = at as { code?: unknown; name?: unknown; message?: unknown };
    if (isNetworkCode(code) || NETWORK_NAMES.has(String(name)) || NETWORK_WORDS.test(String(message)))
      return 'network';
    if (MISTAKES.has(String(name))) origin = 'mistake';
  }
  return origin;
}

const causeOf = (error: object): unknown => (error as { cause?: unknown }).cause;

const NODE_CODE = /^E(?!RR_|NOENT|ISDIR|NOTDIR|EXIST|ACCES$|PERM$)[A-Z0-9_]{3,}$/;
const OTHER_CODE =
  /^(UND_ERR_(?!INVALID|NOT_SUPPORTED|ABORTED)\w+|CERT_\w+|ERR_(TLS|SSL|HTTP2|QUIC|NETWORK|STREAM_PREMATURE)\w*|Connection\w+|FailedToOpenSocket|Timeout|DEPTH_ZERO\w+|UNABLE_TO\w+|SELF_SIGNED\w+)$/;

/** As `ECONNRESET`, `UND_ERR_SOCKET`, and Bun's `ConnectionRefused`; not those of files, nor of wrong arguments. */
const isNetworkCode = (code: unknown): boolean =>
  typeof code === 'string' && (NODE_CODE.test(code) || OTHER_CODE.test(code));
