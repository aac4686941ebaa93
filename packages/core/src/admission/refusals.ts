import {
  AbortedError,
  type HeadgateError,
  QueueFullError,
  QueueTimeoutError,
  QuotaExceededError,
} from '../errors.ts';
import type { Binding } from './ticket.ts';
import type { Waiter } from './waiter.ts';

/** The least that a client is told to wait, in milliseconds. */
const LEAST_MS = 1_000;

/** The refusal that a quota's answer becomes. */
export function quotaRefusal({ rule, reason, waitMs, soonestMs }: Binding, lane: string): QuotaExceededError {
  const never = waitMs === Number.POSITIVE_INFINITY;
  const named = `${rule.budget === undefined ? 'quota' : 'budget'} "${rule.name}"`;
  const text = never
    ? `the call asks for more than ${named} ever allows`
    : reason === 'concurrency'
      ? `${named} allows ${rule.concurrency} calls at once`
      : `${named} is used up`;
  // With no time known, a slot is likely to be free soon: a second is what a client should at least wait.
  const retryAfterMs = never
    ? undefined
    : soonestMs === undefined
      ? (waitMs ?? LEAST_MS)
      : Math.max(LEAST_MS, soonestMs);
  return new QuotaExceededError(text, {
    reason,
    rule: rule.name,
    lane,
    retryAfterMs,
  });
}

export function goneRefusal(lane: string): HeadgateError {
  return new AbortedError('the caller was gone before the call was admitted', { reason: 'aborted', lane });
}

export function hungUpRefusal(lane: string): HeadgateError {
  return new AbortedError('the caller hung up while the call was queued', { reason: 'aborted', lane });
}

/** A prompt that no wait would help. */
export function tooLargeRefusal(tokens: number, limit: number, bucket: string, lane: string): HeadgateError {
  return new QueueFullError(
    `the prompt has at least ${tokens} tokens and "${bucket}" allows ${limit} a minute: it can never be admitted`,
    { reason: 'input_tokens_per_minute', rule: bucket, lane },
  );
}

/** Too much waits already: `whose` says of whom. */
export function fullRefusal(whose: string, bucket: string, lane: string, waitMs: number): HeadgateError {
  return new QueueFullError(`${whose} as many calls waiting as it may`, {
    reason: 'queue_full',
    rule: bucket,
    lane,
    retryAfterMs: Math.max(LEAST_MS, waitMs),
  });
}

/** A wait that would be too long; `retryAfterMs` says when it would not be. */
export function tooLongRefusal(
  waitMs: number,
  isDeadline: boolean,
  bucket: string,
  lane: string,
  retryAfterMs: number,
): HeadgateError {
  const bound = isDeadline ? 'the call has left' : `lane "${lane}" allows`;
  return new QueueFullError(`the wait would be about ${Math.ceil(waitMs / 1000)} s, longer than ${bound}`, {
    reason: isDeadline ? 'deadline' : 'queue_full',
    rule: bucket,
    lane,
    retryAfterMs: Math.max(LEAST_MS, retryAfterMs),
  });
}

/** A call whose time in the queue is over. */
export function expiredRefusal(
  { arrival, lane, expiresAt }: Waiter,
  bucket: string,
  waitMs: number,
): HeadgateError {
  return overdue(expiresAt >= arrival.deadlineAt, lane.config.maxWait, bucket, lane.name, waitMs);
}

/** A call whose time among those of its caller is over. */
export function ownTurnExpired(
  maxWait: number,
  leftMs: number,
  bucket: string,
  lane: string,
  waitMs: number,
): HeadgateError {
  return overdue(leftMs <= maxWait, maxWait, bucket, lane, waitMs);
}

function overdue(
  isDeadline: boolean,
  maxWait: number,
  bucket: string,
  lane: string,
  waitMs: number,
): HeadgateError {
  const text = isDeadline
    ? 'the deadline passed while the call was queued'
    : `the call was queued for ${maxWait / 1000} s, the longest that lane "${lane}" allows`;
  return new QueueTimeoutError(text, {
    reason: isDeadline ? 'deadline' : 'queue_timeout',
    rule: bucket,
    lane,
    retryAfterMs: Math.max(LEAST_MS, waitMs),
  });
}
