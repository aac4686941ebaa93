import type { Fault } from '@headgate/testing';

/** The words of the provider, which no user of the app may see, and no log may hold. */
export const SECRET = 'words of the provider';

interface Told {
  readonly fault: Fault;
  readonly type: string;
  readonly reason: string;
  readonly message: string;
  /** Seconds. */
  readonly retryAfter?: number;
}

const status = (code: number, more: object = {}): Fault => ({
  kind: 'status',
  status: code,
  message: SECRET,
  ...more,
});

const ours = { type: 'api_error', reason: 'api_error', message: 'The request could not be answered.' };
const later = {
  type: 'overloaded_error',
  message: 'The assistant is not available right now. Try again in a moment.',
  retryAfter: 1,
};
const wrong = { type: 'invalid_request_error', message: 'This request cannot be answered as it is.' };

/** What goes wrong upstream, and the status that the app's user is told. */
export const UPSTREAM_ERRORS: readonly [what: string, status: number, told: Told][] = [
  ['a wrong API key (the browser saw 401)', 500, { fault: status(401), ...ours }],
  ['a right that is missing', 500, { fault: status(403), ...ours }],
  ['a model that is not there', 500, { fault: status(404), ...ours }],
  ['money that is used up', 500, { fault: status(402), ...ours }],
  [
    'a limit of the organization’s own, told as a 400',
    500,
    {
      fault: status(400, { message: 'You have reached your specified API usage limits. Later.' }),
      ...ours,
    },
  ],
  ['a request that is wrong', 400, { fault: status(400), ...wrong, reason: 'invalid_request_error' }],
  [
    'a request that cannot be processed',
    400,
    { fault: status(422), ...wrong, reason: 'invalid_request_error' },
  ],
  [
    'a request that is too large',
    413,
    {
      fault: status(413),
      type: 'invalid_request_error',
      reason: 'request_too_large',
      message: 'This request is too large.',
    },
  ],
  [
    'a rate limit, with its time',
    503,
    {
      fault: status(429, { headers: { 'retry-after': '7' } }),
      ...later,
      reason: 'rate_limit_error',
      retryAfter: 7,
    },
  ],
  ['a fault of the API', 503, { fault: status(500), ...later, reason: 'api_error' }],
  ['an API that is away', 503, { fault: status(503), ...later, reason: 'api_error' }],
  [
    'a page of a proxy in its place (was HTML, JSON or plain text, by framework)',
    503,
    { fault: status(502, { body: 'html' }), ...later, reason: 'api_error' },
  ],
  ['overload', 503, { fault: { kind: 'overload' }, ...later, reason: 'overloaded_error' }],
  [
    'a connection that breaks',
    503,
    { fault: { kind: 'reset', at: 'before-headers' }, ...later, reason: 'connection_error' },
  ],
  [
    'an answer that takes longer than the client’s own time-out (an error of the SDK)',
    504,
    {
      fault: { kind: 'stall', at: 'before-headers', ms: 5_000 },
      type: 'timeout_error',
      reason: 'timeout_error',
      message: 'The answer took too long.',
    },
  ],
];

/** `error.details.error_code` of each status. */
export const CODE_OF_STATUS: Readonly<Record<number, string>> = {
  500: 'upstream_failed',
  503: 'upstream_unavailable',
  504: 'upstream_timeout',
};
