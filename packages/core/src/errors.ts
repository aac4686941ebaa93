import { AnthropicError, APIError } from '@anthropic-ai/sdk';
import type { CheckCode } from './config/codes.ts';

/**
 * Why a call waited or was refused. A closed set: these are also the values of the `headgate.reason`
 * attribute, so dashboards and alerts can name every one of them.
 */
export const REASONS = [
  'user_quota',
  'requests_per_minute',
  'input_tokens_per_minute',
  'output_tokens_per_minute',
  'concurrency',
  'budget',
  'cap',
  'unpriced',
  'queue_full',
  'queue_timeout',
  'deadline',
  'upstream_paused',
  'breaker_open',
  'spend_limit',
  'stream_idle',
  'upstream_stalled',
  'unknown_caller',
  'aborted',
  'closed',
  'batch_canceled',
  'batch_expired',
  'batch_result_missing',
  'batch_result_unreadable',
  'batch_results_gone',
] as const;
export type Reason = (typeof REASONS)[number];

/** What went wrong, stable across releases; callers branch on it, never on the message. */
export type ErrorCode =
  | 'quota_exceeded'
  | 'cap_refused'
  | 'unpriced'
  | 'queue_full'
  | 'queue_timeout'
  | 'upstream_unavailable'
  | 'unknown_caller'
  | 'aborted'
  | 'batch_failed';

/** The HTTP status of each code. The compiler asks for every row. */
const STATUS: Record<ErrorCode, number> = {
  quota_exceeded: 429,
  cap_refused: 400,
  // Asking again changes nothing: another model must be asked for, or this one priced.
  unpriced: 400,
  queue_full: 503,
  queue_timeout: 503,
  upstream_unavailable: 503,
  unknown_caller: 500,
  // nginx's "client closed request": the one who asked is gone, or asked us to stop.
  aborted: 499,
  // The API was to answer, and did not.
  batch_failed: 502,
};

/** A call that was ended: 499 tells somebody who is still there nothing, so who ended it counts. */
const STATUS_OF_ABORT: Partial<Record<Reason, number>> = {
  deadline: 504,
  upstream_stalled: 504,
  closed: 503,
};

export interface RefusalDetails {
  readonly reason: Reason;
  /** Name of the quota, cap or upstream bucket that bound. */
  readonly rule?: string | undefined;
  readonly lane?: string | undefined;
  /** Milliseconds until the same call is expected to fit, rounded up. Absent where waiting does not help. */
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

// Shared by every copy of the package in a process, so that a check works across two installs.
const BRAND = Symbol.for('headgate.error');
/** What LangChain's retries ask of an error (`getRetryable` of @langchain/core 1.4). */
const LANGCHAIN_RETRYABLE = Symbol.for('langchain.errors.retryable');

/**
 * A call that Headgate ended itself. It extends the SDK's own base error because `messages.stream()`
 * wraps anything else; errors of the API stay the SDK's classes and never become one of these.
 */
export abstract class HeadgateError extends AnthropicError {
  abstract readonly code: ErrorCode;
  readonly reason: Reason;
  readonly rule: string | undefined;
  readonly lane: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly [BRAND] = true;

  constructor(message: string, details: RefusalDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    Object.defineProperty(this, 'name', {
      value: new.target.name,
      configurable: true,
      writable: true,
    });
    // What was decided here is not to be asked again by a policy above; fixed, since LangChain puts `true` on every 429.
    Object.defineProperty(this, LANGCHAIN_RETRYABLE, { value: false });
    this.reason = details.reason;
    this.rule = details.rule;
    this.lane = details.lane;
    this.retryAfterMs = details.retryAfterMs === undefined ? undefined : Math.ceil(details.retryAfterMs);
  }

  /**
   * The SDK takes any error whose text speaks of a time-out for one of the connection, and would put its
   * own in our place. So neither this text nor our messages may, whatever the class is called.
   */
  override toString(): string {
    return `HeadgateError: ${this.message}`;
  }

  /** The HTTP status that an adapter answers with. */
  get status(): number {
    const ofAbort = this.code === 'aborted' ? STATUS_OF_ABORT[this.reason] : undefined;
    return ofAbort ?? STATUS[this.code];
  }

  /** `retry-after` in whole seconds, rounded up, where waiting helps. */
  get headers(): Record<string, string> {
    return this.retryAfterMs === undefined
      ? {}
      : {
          'retry-after': String(Math.max(1, Math.ceil(this.retryAfterMs / 1000))),
        };
  }
}

/** A quota of the caller's own is used up. */
export class QuotaExceededError extends HeadgateError {
  readonly code = 'quota_exceeded';
}
/** The request asks for more output than a cap allows, and the cap refuses rather than clamps. */
export class CapRefusedError extends HeadgateError {
  readonly code = 'cap_refused';
}
/** A money rule applies to the call, its model has no price, and `unpriced: refuse`. */
export class UnpricedError extends HeadgateError {
  readonly code = 'unpriced';
}
/** The queue is full, or the wait that can be foreseen is longer than the call may wait. */
export class QueueFullError extends HeadgateError {
  readonly code = 'queue_full';
}
/** The call waited as long as it may. */
export class QueueTimeoutError extends HeadgateError {
  readonly code = 'queue_timeout';
}
/** The API is paused for everybody, or the governor is closed. */
export class UpstreamUnavailableError extends HeadgateError {
  readonly code = 'upstream_unavailable';
}
/** A call outside every caller scope, and `unknownCaller: refuse`. */
export class UnknownCallerError extends HeadgateError {
  readonly code = 'unknown_caller';
}
export const closedError = () => new UpstreamUnavailableError('the governor is closed', { reason: 'closed' });

/** The caller hung up, its deadline passed, its stream went unread for too long, or the API fell silent. */
export class AbortedError extends HeadgateError {
  readonly code = 'aborted';
}

/** A request that went in a batch has no answer, and will have none: `reason` says why. */
export class BatchFailedError extends HeadgateError {
  readonly code = 'batch_failed';
}

/** How the message of a limit that the organization has set itself begins. The API gives it no code. */
export const OWN_SPEND_LIMIT = /^You have reached your specified (workspace )?API usage limits/;

const STATUS_OF_TYPE: Record<string, number> = {
  invalid_request_error: 400,
  authentication_error: 401,
  billing_error: 402,
  permission_error: 403,
  not_found_error: 404,
  timeout_error: 408,
  conflict_error: 409,
  request_too_large: 413,
  rate_limit_error: 429,
  overloaded_error: 529,
};

/** The status that the API gives an error of this type, where it told the error in a stream or in the results of a batch. */
export function statusOfType(type: string | undefined): number {
  return STATUS_OF_TYPE[type ?? ''] ?? 500;
}

/** The SDK's own error for an error that the API told in the results of a batch: what a direct call would have thrown. */
export function apiErrorOf(type: string, body: object): Error {
  return APIError.generate(statusOfType(type), body, undefined, new Headers());
}

/** True for Headgate's own errors, also those of another installed copy of the package. */
export function isHeadgateError(error: unknown): error is HeadgateError {
  return typeof error === 'object' && error !== null && BRAND in error;
}

/** The Headgate error in `error` or in its chain of causes: the SDK's helpers wrap what they did not make. */
export function findHeadgateError(error: unknown): HeadgateError | undefined {
  const seen = new Set<unknown>();
  for (let at = error; typeof at === 'object' && at !== null && !seen.has(at); at = (at as Error).cause) {
    if (isHeadgateError(at)) return at;
    seen.add(at);
  }
  return undefined;
}

/** One thing that is wrong with a configuration. */
export interface ConfigProblem {
  /** The name of the check, stable across releases. */
  readonly code: CheckCode;
  /** Where, as in `quotas[0].requests`. */
  readonly path: string;
  readonly message: string;
  /** The rule. */
  readonly expected: string;
  /** The value, shortened. */
  readonly received: string;
  /** What to do about it, where we can guess. */
  readonly hint?: string;
}

/** A configuration that was refused, with everything that is wrong with it. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[], source = 'configuration') {
    const lines = problems.map((problem) => `  ${formatProblem(problem)}`);
    super(
      `Headgate ${source} has ${problems.length} problem${problems.length === 1 ? '' : 's'}:\n${lines.join('\n')}`,
    );
    this.problems = problems;
  }
}

/** A problem on one line: where, what, the rule, the value, what to do, and the name of the check. */
export function formatProblem({ path, message, expected, received, hint, code }: ConfigProblem): string {
  const where = path === '' ? '(top level)' : path;
  return `${where}: ${message} (expected ${expected}, received ${received})${hint === undefined ? '' : ` ${hint}`} [${code}]`;
}
