/** A request that the API answers with an error of its own. */
export interface ApiFailure {
  readonly status: number;
  readonly type: string;
  readonly message: string;
  readonly errorCode?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const TYPES: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  402: 'billing_error',
  403: 'permission_error',
  404: 'not_found_error',
  408: 'timeout_error',
  409: 'conflict_error',
  413: 'request_too_large',
  422: 'invalid_request_error',
  429: 'rate_limit_error',
  500: 'api_error',
  503: 'api_error',
  504: 'timeout_error',
  529: 'overloaded_error',
};

/** `error.type` for a status. */
export function typeOf(status: number): string {
  return TYPES[status] ?? (status >= 500 ? 'api_error' : 'invalid_request_error');
}

/** The status of an error type: the other way round, for errors that a stream would carry after its 200. */
export function statusOf(type: string): number {
  const found = Object.entries(TYPES).find(([, name]) => name === type);
  return found === undefined ? 500 : Number(found[0]);
}

export function errorBody(failure: ApiFailure, requestId: string): object {
  const { type, message, errorCode } = failure;
  const details = errorCode === undefined ? {} : { details: { error_code: errorCode } };
  return { type: 'error', error: { type, message, ...details }, request_id: requestId };
}

export function failure(status: number, message: string, type = typeOf(status)): ApiFailure {
  return { status, type, message };
}

/** What a proxy in front of the API says. */
export function proxyPage(status: number): string {
  return `<html>\r\n<head><title>${status} Bad Gateway</title></head>\r\n<body>\r\n<center><h1>${status} Bad Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n`;
}
