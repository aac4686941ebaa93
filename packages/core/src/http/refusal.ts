import { type ErrorCode, findHeadgateError } from '../errors.ts';

/** An HTTP answer to a call that Headgate refused, shaped like the API's own errors. */
export interface Refusal {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: {
    readonly type: 'error';
    readonly error: {
      readonly type: 'rate_limit_error' | 'overloaded_error' | 'invalid_request_error' | 'api_error';
      readonly message: string;
      readonly details: {
        readonly error_code: string;
        readonly reason: string;
        readonly lane?: string;
        readonly retry_after_ms?: number;
      };
    };
    readonly request_id: string | null;
  };
}

const TYPE: Record<ErrorCode, Refusal['body']['error']['type']> = {
  quota_exceeded: 'rate_limit_error',
  cap_refused: 'invalid_request_error',
  queue_full: 'overloaded_error',
  queue_timeout: 'overloaded_error',
  upstream_unavailable: 'overloaded_error',
  unknown_caller: 'api_error',
  aborted: 'api_error',
};

/** Every 429 and 503 says when to come back, also where nobody knows: then soon. */
const UNKNOWN_RETRY_AFTER_MS = 1_000;

/** The answer to an error of Headgate's, also one wrapped by the SDK; nothing for any other error. */
export function refusalOf(error: unknown, requestId?: string): Refusal | undefined {
  const refusal = findHeadgateError(error);
  if (refusal === undefined) return undefined;
  const { code, status, reason, lane, message } = refusal;
  const isTemporary = status === 429 || status === 503;
  const retryAfterMs = refusal.retryAfterMs ?? (isTemporary ? UNKNOWN_RETRY_AFTER_MS : undefined);
  return {
    status,
    headers: {
      'content-type': 'application/json',
      ...(retryAfterMs === undefined
        ? {}
        : {
            'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))),
          }),
    },
    body: {
      type: 'error',
      error: {
        type: TYPE[code],
        message,
        details: {
          error_code: `headgate_${code}`,
          reason,
          ...(lane === undefined ? {} : { lane }),
          ...(retryAfterMs === undefined ? {} : { retry_after_ms: Math.ceil(retryAfterMs) }),
        },
      },
      request_id: requestId ?? null,
    },
  };
}
