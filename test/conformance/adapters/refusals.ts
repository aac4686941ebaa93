import {
  AbortedError,
  BatchFailedError,
  CapRefusedError,
  type ErrorCode,
  type HeadgateError,
  QueueFullError,
  QueueTimeoutError,
  QuotaExceededError,
  UnknownCallerError,
  UnpricedError,
  UpstreamUnavailableError,
} from '@headgate/core';

/** A refusal, and to the byte what every framework answers to it. */
interface Case {
  readonly name: string;
  readonly error: HeadgateError;
  readonly status: number;
  readonly retryAfter?: string;
  readonly body: string;
}

const body = (type: string, message: string, details: object) =>
  JSON.stringify({ type: 'error', error: { type, message, details }, request_id: null });

const lane = 'interactive';

/** One of each kind; the compiler asks for every code. */
const CASES: Record<ErrorCode | 'deadline' | 'stalled' | 'closed', Omit<Case, 'name'>> = {
  quota_exceeded: {
    error: new QuotaExceededError('quota "q" is used up', {
      reason: 'user_quota',
      lane,
      rule: 'q',
      retryAfterMs: 1_500.5,
    }),
    status: 429,
    retryAfter: '2',
    body: '{"type":"error","error":{"type":"rate_limit_error","message":"You have reached your limit for now. Try again later.","details":{"error_code":"headgate_quota_exceeded","reason":"user_quota","lane":"interactive","rule":"q","retry_after_ms":1501}},"request_id":null}',
  },
  cap_refused: {
    error: new CapRefusedError('max_tokens is above 512 – größer', { reason: 'cap', lane }),
    status: 400,
    body: body('invalid_request_error', 'This request asks for a longer answer than is allowed.', {
      error_code: 'headgate_cap_refused',
      reason: 'cap',
      lane,
    }),
  },
  unpriced: {
    error: new UnpricedError('model "claude-next-1" has no price', { reason: 'unpriced', rule: 'day', lane }),
    status: 400,
    body: body('invalid_request_error', 'This request cannot be answered as it is.', {
      error_code: 'headgate_unpriced',
      reason: 'unpriced',
      lane,
      rule: 'day',
    }),
  },
  queue_full: {
    error: new QueueFullError('the wait would be too long', {
      reason: 'queue_full',
      lane,
      retryAfterMs: 10_000,
    }),
    status: 503,
    retryAfter: '10',
    body: body('overloaded_error', 'There are too many requests right now. Try again in a moment.', {
      error_code: 'headgate_queue_full',
      reason: 'queue_full',
      lane,
      retry_after_ms: 10_000,
    }),
  },
  queue_timeout: {
    error: new QueueTimeoutError('it waited as long as it may', { reason: 'queue_timeout', lane }),
    status: 503,
    retryAfter: '1',
    body: body('overloaded_error', 'There are too many requests right now. Try again in a moment.', {
      error_code: 'headgate_queue_timeout',
      reason: 'queue_timeout',
      lane,
      retry_after_ms: 1_000,
    }),
  },
  upstream_unavailable: {
    error: new UpstreamUnavailableError('paused', { reason: 'upstream_paused', retryAfterMs: 200 }),
    status: 503,
    retryAfter: '1',
    body: body('overloaded_error', 'The assistant is not available right now. Try again in a moment.', {
      error_code: 'headgate_upstream_unavailable',
      reason: 'upstream_paused',
      retry_after_ms: 200,
    }),
  },
  unknown_caller: {
    error: new UnknownCallerError('outside every scope', { reason: 'unknown_caller' }),
    status: 500,
    body: body('api_error', 'The request could not be answered.', {
      error_code: 'headgate_unknown_caller',
      reason: 'unknown_caller',
    }),
  },
  aborted: {
    error: new AbortedError('nobody read it', { reason: 'stream_idle' }),
    status: 499,
    body: body('api_error', 'The request was ended.', {
      error_code: 'headgate_aborted',
      reason: 'stream_idle',
    }),
  },
  batch_failed: {
    error: new BatchFailedError('the batch request "a" was canceled', { reason: 'batch_canceled' }),
    status: 502,
    body: body('api_error', 'The request was not answered.', {
      error_code: 'headgate_batch_failed',
      reason: 'batch_canceled',
    }),
  },
  deadline: {
    error: new AbortedError('the deadline passed', { reason: 'deadline' }),
    status: 504,
    body: body('timeout_error', 'The answer took too long.', {
      error_code: 'headgate_aborted',
      reason: 'deadline',
    }),
  },
  stalled: {
    error: new AbortedError('the API has sent nothing for too long', { reason: 'upstream_stalled' }),
    status: 504,
    body: body('timeout_error', 'The answer took too long.', {
      error_code: 'headgate_aborted',
      reason: 'upstream_stalled',
    }),
  },
  closed: {
    error: new AbortedError('the governor was closed', { reason: 'closed' }),
    status: 503,
    retryAfter: '1',
    body: body('overloaded_error', 'The service is restarting. Try again in a moment.', {
      error_code: 'headgate_aborted',
      reason: 'closed',
      retry_after_ms: 1_000,
    }),
  },
};

export const REFUSALS: readonly Case[] = Object.entries(CASES).map(([name, each]) => ({ name, ...each }));
