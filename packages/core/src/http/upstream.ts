import { classifyResponse, type FailureKind } from '../attempts/classify.ts';
import { statusOfType } from '../errors.ts';
import { isRecord, text } from '../json.ts';
import { answerOf, type Refusal } from './refusal.ts';

/** What the API answered, for the log: nothing of its words, which may be a user's. */
export interface UpstreamFields {
  readonly status: number | undefined;
  readonly type: string;
  readonly request_id: string | undefined;
}

/** An error of the API: as an app's own users are told of it, and as its operators are. */
export interface UpstreamAnswer {
  readonly answer: Refusal;
  readonly fields: UpstreamFields;
}

/** A limit of money may last for a month: no client is told to come back later than in an hour. */
const MAX_RETRY_AFTER_MS = 3_600_000;
/** Where the API names no time. */
const SOON_MS = 1_000;

/** The SDK's own words (1.14) for a signal of the app's, and for its `timeout`: minifiers keep no names of classes. */
const ABORTED = 'Request was aborted.';
const TIMED_OUT = 'Request timed out.';

/** What errors of the SDK have, whichever copy of it has made them. */
interface SdkError extends Error {
  readonly status: number | undefined;
  readonly headers: Headers | undefined;
  readonly error: unknown;
  readonly requestID: string | null | undefined;
}

/**
 * The answer to an error of the API, undefined for any other error. What is between the app and its provider (keys,
 * rights, models, money) is 500; what passes is 503 with `Retry-After`, a time-out 504; what is wrong with the request
 * is 400, or 413. The provider's own words stand in none of them. `wallNow`: milliseconds of the epoch.
 */
export function upstreamAnswer(error: unknown, wallNow: number): UpstreamAnswer | undefined {
  if (!isSdkError(error) || error.message === ABORTED) return undefined;
  const type = typeOf(error);
  const fieldsOf = (known: string) => ({
    status: error.status,
    type: known,
    request_id: error.requestID ?? undefined,
  });
  if (error.status === undefined && type === undefined) {
    const isTimeout = error.message === TIMED_OUT;
    return isTimeout
      ? { answer: TOLD.timeout('timeout_error'), fields: fieldsOf('timeout_error') }
      : { answer: TOLD.later('connection_error', undefined), fields: fieldsOf('connection_error') };
  }
  const status = error.status ?? statusOfType(type);
  const headers = error.headers ?? new Headers();
  const { kind, errorType, retryAfterMs } = classifyResponse(
    status,
    headers,
    JSON.stringify(error.error ?? null),
    wallNow,
  );
  return { answer: answerFor(kind, status, errorType, retryAfterMs), fields: fieldsOf(errorType) };
}

function answerFor(
  kind: FailureKind,
  status: number,
  type: string,
  retryAfterMs: number | undefined,
): Refusal {
  if (PASSING.has(kind)) return TOLD.later(type, retryAfterMs);
  if (kind !== 'final') return TOLD.ours();
  if (status === 413) return TOLD.tooLarge(type);
  return status === 400 || status === 422 ? TOLD.wrong(type) : TOLD.ours();
}

/** What may be otherwise at the next attempt. */
const PASSING = new Set<FailureKind>(['rate_limited', 'congested', 'ramp', 'overloaded', 'server']);

const TOLD = {
  later: (reason: string, retryAfterMs: number | undefined) =>
    answerOf({
      status: 503,
      type: 'overloaded_error',
      message: 'The assistant is not available right now. Try again in a moment.',
      details: { error_code: 'upstream_unavailable', reason },
      retryAfterMs: Math.min(retryAfterMs ?? SOON_MS, MAX_RETRY_AFTER_MS),
    }),
  timeout: (reason: string) =>
    answerOf({
      status: 504,
      type: 'timeout_error',
      message: 'The answer took too long.',
      details: { error_code: 'upstream_timeout', reason },
    }),
  wrong: (reason: string) =>
    answerOf({
      status: 400,
      type: 'invalid_request_error',
      message: 'This request cannot be answered as it is.',
      details: { error_code: 'upstream_refused', reason },
    }),
  tooLarge: (reason: string) =>
    answerOf({
      status: 413,
      type: 'invalid_request_error',
      message: 'This request is too large.',
      details: { error_code: 'upstream_refused', reason },
    }),
  /** Nothing that the app's user could mend, or should know of. */
  ours: () =>
    answerOf({
      status: 500,
      type: 'api_error',
      message: 'The request could not be answered.',
      details: { error_code: 'upstream_failed', reason: 'api_error' },
    }),
};

function typeOf(error: SdkError): string | undefined {
  const told = isRecord(error.error) && isRecord(error.error.error) ? error.error.error : {};
  return text(told.type);
}

function isSdkError(error: unknown): error is SdkError {
  return error instanceof Error && 'requestID' in error && 'headers' in error && 'status' in error;
}
