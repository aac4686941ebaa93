import type { Standing } from '../caller/caller.ts';
import { standingOf } from '../caller/standing.ts';
import { type ErrorCode, findHeadgateError, type Reason } from '../errors.ts';
import { rateLimitHeaders } from './rate-limit-headers.ts';

type Limit = { readonly per: Standing['window'] } & { readonly [N in Standing['name']]?: number };

/**
 * An HTTP answer to a call that Headgate refused, shaped like the API's own errors. `message` is for the app's users,
 * `details` for programs.
 */
export interface Refusal {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: {
    readonly type: 'error';
    readonly error: {
      readonly type:
        | 'rate_limit_error'
        | 'overloaded_error'
        | 'invalid_request_error'
        | 'timeout_error'
        | 'api_error';
      readonly message: string;
      readonly details: {
        readonly error_code: string;
        readonly reason: string;
        readonly lane?: string;
        /** Name of the quota, budget, cap or bucket that bound. */
        readonly rule?: string;
        /** What that rule allows, where it is a quota of the caller's own: as `{ requests: 30, per: 'minute' }`. */
        readonly limit?: Limit;
        readonly retry_after_ms?: number;
      };
    };
    readonly request_id: string | null;
  };
  /** The body as it is sent: the same bytes whatever the framework. */
  readonly text: string;
}

type Body = Refusal['body'];

const JSON_TYPE = 'application/json; charset=utf-8';

const TYPE: Record<ErrorCode, Refusal['body']['error']['type']> = {
  quota_exceeded: 'rate_limit_error',
  cap_refused: 'invalid_request_error',
  unpriced: 'invalid_request_error',
  queue_full: 'overloaded_error',
  queue_timeout: 'overloaded_error',
  upstream_unavailable: 'overloaded_error',
  unknown_caller: 'api_error',
  aborted: 'api_error',
  batch_failed: 'api_error',
};
/** Of a call that was ended, why counts: with the type that the API has for the status. */
const TYPE_OF_ABORT: Partial<Record<Reason, Refusal['body']['error']['type']>> = {
  deadline: 'timeout_error',
  upstream_stalled: 'timeout_error',
  closed: 'overloaded_error',
};

/** What an app's users are told: nothing of lanes, rules and governors, which are the error's own message. */
const WORDS: Record<ErrorCode, string> = {
  quota_exceeded: 'You have reached your limit for now. Try again later.',
  cap_refused: 'This request asks for a longer answer than is allowed.',
  unpriced: 'This request cannot be answered as it is.',
  queue_full: 'There are too many requests right now. Try again in a moment.',
  queue_timeout: 'There are too many requests right now. Try again in a moment.',
  upstream_unavailable: 'The assistant is not available right now. Try again in a moment.',
  unknown_caller: 'The request could not be answered.',
  aborted: 'The request was ended.',
  batch_failed: 'The request was not answered.',
};
const WORDS_OF_ABORT: Partial<Record<Reason, string>> = {
  deadline: 'The answer took too long.',
  upstream_stalled: 'The answer took too long.',
  closed: 'The service is restarting. Try again in a moment.',
};

/** Every 429 and 503 says when to come back, also where nobody knows: then soon. */
const UNKNOWN_RETRY_AFTER_MS = 1_000;

/** The answer to an error of Headgate's, also one wrapped by the SDK; nothing for any other error. */
export function refusalOf(error: unknown, requestId?: string): Refusal | undefined {
  const refusal = findHeadgateError(error);
  if (refusal === undefined) return undefined;
  const { code, status, reason, lane, rule } = refusal;
  const standing = standingOf(refusal);
  const limit = limitOf(standing, rule);
  const isTemporary = status === 429 || status === 503;
  return answerOf({
    status,
    type: (code === 'aborted' ? TYPE_OF_ABORT[reason] : undefined) ?? TYPE[code],
    message: (code === 'aborted' ? WORDS_OF_ABORT[reason] : undefined) ?? WORDS[code],
    details: {
      error_code: `headgate_${code}`,
      reason,
      ...(lane === undefined ? {} : { lane }),
      ...(rule === undefined ? {} : { rule }),
      ...(limit === undefined ? {} : { limit }),
    },
    retryAfterMs: refusal.retryAfterMs ?? (isTemporary ? UNKNOWN_RETRY_AFTER_MS : undefined),
    headers: rateLimitHeaders(standing),
    requestId,
  });
}

/** What `rule` allows: of its several amounts, the one of which least is left. */
function limitOf(standing: readonly Standing[], rule: string | undefined): Limit | undefined {
  const [tightest] = standing
    .filter((each) => each.rule === rule)
    .sort((a, b) => a.remaining / a.quota - b.remaining / b.quota);
  return tightest === undefined ? undefined : { [tightest.name]: tightest.quota, per: tightest.window };
}

interface Told {
  readonly status: number;
  readonly type: Body['error']['type'];
  readonly message: string;
  readonly details: Body['error']['details'];
  /** Milliseconds. */
  readonly retryAfterMs?: number | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly requestId?: string | undefined;
}

/** An error as it is answered, in the shape of the API's own. */
export function answerOf({
  status,
  type,
  message,
  details,
  retryAfterMs,
  headers,
  requestId,
}: Told): Refusal {
  const body: Body = {
    type: 'error',
    error: {
      type,
      message,
      details: {
        ...details,
        ...(retryAfterMs === undefined ? {} : { retry_after_ms: Math.ceil(retryAfterMs) }),
      },
    },
    request_id: requestId ?? null,
  };
  const after =
    retryAfterMs === undefined ? {} : { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) };
  return withText({ status, headers: { ...after, ...headers }, body, text: '' }, JSON.stringify(body));
}

/** The answer with another text: JSON, unless the content type says otherwise. */
export function withText(answer: Refusal, text: string, contentType = JSON_TYPE): Refusal {
  const { 'content-type': _type, 'content-length': _length, ...others } = answer.headers;
  return {
    ...answer,
    headers: { 'content-type': contentType, 'content-length': String(Buffer.byteLength(text)), ...others },
    text,
  };
}
