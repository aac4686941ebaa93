import type Anthropic from '@anthropic-ai/sdk';
import { apiErrorOf, BatchFailedError, type Reason } from '../errors.ts';
import { isRecord, text } from '../json.ts';

/** What became of a request in a batch, as the journal keeps it. */
export type BatchOutcome =
  | { readonly type: 'succeeded'; readonly message: Record<string, unknown> }
  | { readonly type: 'errored'; readonly error: Record<string, unknown> }
  | { readonly type: Ended };

/** Ends without an answer and without an error of the API. */
export type Ended = 'canceled' | 'expired' | 'missing' | 'unreadable' | 'gone' | 'stale';

/** One line of a batch's results. */
export interface ResultLine {
  readonly customId: string;
  readonly outcome: BatchOutcome;
}

/** Reads a line. Undefined for one that is no result. Never throws. */
export function readLine(line: string): ResultLine | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (!isRecord(parsed) || typeof parsed.custom_id !== 'string' || !isRecord(parsed.result)) return undefined;
  const outcome = readOutcome(parsed.result);
  return outcome === undefined ? undefined : { customId: parsed.custom_id, outcome };
}

function readOutcome(result: Record<string, unknown>): BatchOutcome | undefined {
  switch (result.type) {
    case 'succeeded':
      return isRecord(result.message) ? { type: 'succeeded', message: result.message } : undefined;
    case 'errored':
      return isRecord(result.error) ? { type: 'errored', error: result.error } : undefined;
    case 'canceled':
    case 'expired':
      return { type: result.type };
    default:
      return undefined;
  }
}

/** Errors that another batch may not meet. */
const PASSING = new Set(['overloaded_error', 'api_error', 'timeout_error', 'rate_limit_error']);

/** The API's error type of an errored request. */
export function errorTypeOf(outcome: BatchOutcome): string | undefined {
  if (outcome.type !== 'errored') return undefined;
  // An error response wraps the error proper.
  const inner = isRecord(outcome.error.error) ? outcome.error.error : outcome.error;
  return text(inner.type) ?? 'api_error';
}

export function isPassing(outcome: BatchOutcome): boolean {
  return PASSING.has(errorTypeOf(outcome) ?? '');
}

const WORDS: Record<Ended, readonly [Reason, string]> = {
  canceled: ['batch_canceled', 'was canceled'],
  expired: ['batch_expired', 'was not processed before its batch expired'],
  missing: ['batch_result_missing', 'has no result among those of its batch'],
  unreadable: ['batch_result_unreadable', 'has a result that does not parse'],
  gone: ['batch_results_gone', 'has a result that the API does not hand out (any more)'],
  stale: ['batch_expired', 'could not be sent for as long as requests are kept'],
};

/** The answer. @throws what a direct call would have thrown, or a BatchFailedError. */
export function messageOf(id: string, outcome: BatchOutcome): Anthropic.Message {
  if (outcome.type === 'succeeded') return outcome.message as unknown as Anthropic.Message;
  throw errorOf(id, outcome);
}

export function errorOf(id: string, outcome: Exclude<BatchOutcome, { type: 'succeeded' }>): Error {
  if (outcome.type === 'errored') {
    const body = isRecord(outcome.error.error) ? outcome.error : { type: 'error', error: outcome.error };
    return apiErrorOf(errorTypeOf(outcome) ?? 'api_error', body);
  }
  const [reason, what] = WORDS[outcome.type];
  return new BatchFailedError(`the batch request "${id}" ${what}`, { reason });
}
