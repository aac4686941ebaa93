import type { ApiRequest, Call } from './read.ts';

/** What a plan changes in a request. */
export interface Rewrite {
  readonly maxTokens?: number | undefined;
}

/** The request with the plan's changes in its body; the very same request where there are none. */
export function rewriteRequest(request: ApiRequest, call: Call, rewrite: Rewrite): ApiRequest {
  if (call.body === undefined || rewrite.maxTokens === undefined || rewrite.maxTokens === call.maxTokens) {
    return request;
  }
  const headers = new Headers(request.headers);
  // The runtime computes it again: a stale length would cut the body or hang the server.
  headers.delete('content-length');
  return {
    ...request,
    headers,
    body: JSON.stringify({ ...call.body, max_tokens: rewrite.maxTokens }),
  };
}
