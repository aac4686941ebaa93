/** The closed sets of values that attributes and labels have. */

/** What was decided on a call. */
export const DECISIONS = ['admit', 'queue', 'refuse', 'pass'] as const;
export type Decision = (typeof DECISIONS)[number];

/** Who keeps the limits of a fleet: the shared store, or each process its share. */
export const MODES = ['shared', 'degraded'] as const;

/** How a governed call ended. */
export const CALL_OUTCOMES = ['ok', 'error', 'refused', 'aborted'] as const;
export type CallOutcome = (typeof CALL_OUTCOMES)[number];

/** How an attempt ended. */
export const ATTEMPT_OUTCOMES = ['complete', 'aborted', 'error'] as const;
export type AttemptOutcome = (typeof ATTEMPT_OUTCOMES)[number];

/** How a call left the queue. */
export const WAIT_OUTCOMES = ['admitted', 'refused'] as const;

/** What became of a new configuration. */
export const RELOAD_OUTCOMES = ['applied', 'refused'] as const;
export type ReloadOutcome = (typeof RELOAD_OUTCOMES)[number];

/** Why another model than the one asked for is asked. */
export const MODEL_CAUSES = ['route', 'budget', 'pressure', 'fallback'] as const;
export type ModelCause = (typeof MODEL_CAUSES)[number];

/** Who says how long to wait before another attempt. */
export const BACKOFF_SOURCES = ['retry_after', 'backoff'] as const;
export type BackoffSource = (typeof BACKOFF_SOURCES)[number];

/** Why there is no further attempt. */
export const RETRY_DENIALS = ['final', 'attempts', 'deadline', 'budget'] as const;
export type RetryDenial = (typeof RETRY_DENIALS)[number];

export const BREAKER_STATES = ['closed', 'open', 'half_open'] as const;
export type BreakerState = (typeof BREAKER_STATES)[number];

export const DIRECTIONS = ['input', 'output'] as const;
/** What of an answer's usage can be beyond its bound, or missing altogether. */
export const USAGE_PARTS = ['input', 'output', 'web_searches', 'iterations', 'unreadable'] as const;
export type UsagePart = (typeof USAGE_PARTS)[number];

/** What has made calls cheaper. */
/** Signs that a call runs in the scope of another caller than its own. */
export const CALLER_DOUBTS = ['scope_changed', 'scope_over', 'user_differs'] as const;
export type CallerDoubt = (typeof CALLER_DOUBTS)[number];

export const MECHANISMS = ['cache', 'batch', 'downgrade'] as const;

/** By which prices a request is paid. */
export const BILLINGS = ['standard', 'batch'] as const;

/** What counts for a model without a known price: the dearest price, nothing, or no money at all. */
export const PRICINGS = ['dearest', 'free', 'unknown'] as const;

/** What became of a batch that was sent. */
export const SUBMISSION_OUTCOMES = ['accepted', 'refused', 'doubt'] as const;

/** What became of a request in a batch. */
export const BATCH_OUTCOMES = [
  'succeeded',
  'errored',
  'canceled',
  'expired',
  'missing',
  'unreadable',
  'gone',
  'stale',
] as const;

/** What `error.type` is where it is none of the known ones, and a label past its bound. */
export const OTHER = '_OTHER';

/** The API's own error types, and ours for what never got an answer. */
export const ERROR_TYPES = [
  'invalid_request_error',
  'authentication_error',
  'billing_error',
  'permission_error',
  'not_found_error',
  'conflict_error',
  'request_too_large',
  'rate_limit_error',
  'api_error',
  'timeout_error',
  'overloaded_error',
  'timeout',
  'aborted',
  'connection_error',
  'headgate.refused',
] as const;

const KNOWN_ERROR_TYPES: ReadonlySet<string> = new Set(ERROR_TYPES);

export const isErrorType = (type: string) => KNOWN_ERROR_TYPES.has(type);

export const errorType = (type: string | undefined) =>
  type !== undefined && KNOWN_ERROR_TYPES.has(type) ? type : OTHER;
