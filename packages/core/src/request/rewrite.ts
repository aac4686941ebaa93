import type { ApiRequest, Call } from './read.ts';

/** What a plan changes in a request. */
export interface Rewrite {
  readonly model: string;
  readonly maxTokens: number | undefined;
}

/** The request with the plan's changes in its body; the very same request where there are none. */
export function rewriteRequest(request: ApiRequest, call: Call, { model, maxTokens }: Rewrite): ApiRequest {
  if (call.body === undefined) return request;
  const changes: { model?: string; max_tokens?: number } = {};
  if (model !== call.model) changes.model = model;
  if (maxTokens !== undefined && maxTokens !== call.maxTokens) changes.max_tokens = maxTokens;
  if (Object.keys(changes).length === 0) return request;
  const headers = new Headers(request.headers);
  // The runtime computes it again: a stale length would cut the body or hang the server.
  headers.delete('content-length');
  return { ...request, headers, body: JSON.stringify({ ...call.body, ...changes }) };
}
