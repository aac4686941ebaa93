import { isRecord } from '../json.ts';
import type { ApiRequest, Call, MessageBody } from './read.ts';

/** What a plan changes in a request. */
export interface Rewrite {
  readonly model: string;
  readonly maxTokens: number | undefined;
  /** Marks the end of tools and system prompt for the cache. */
  readonly marksPrefix?: boolean;
}

/** The request with the plan's changes in its body; the very same request where there are none. */
export function rewriteRequest(
  request: ApiRequest,
  call: Call,
  { model, maxTokens, marksPrefix = false }: Rewrite,
): ApiRequest {
  if (call.body === undefined) return request;
  const changes: Record<string, unknown> = {};
  if (model !== call.model) changes.model = model;
  if (maxTokens !== undefined && maxTokens !== call.maxTokens) changes.max_tokens = maxTokens;
  if (marksPrefix) Object.assign(changes, markPrefix(call.body));
  if (Object.keys(changes).length === 0) return request;
  const headers = new Headers(request.headers);
  // The runtime computes it again: a stale length would cut the body or hang the server.
  headers.delete('content-length');
  return { ...request, headers, body: JSON.stringify({ ...call.body, ...changes }) };
}

const MARK = { type: 'ephemeral' } as const;

/** The system prompt, or the tools where there is none, with a mark at its end: what stands before it is in the prefix. */
function markPrefix({ system, tools }: MessageBody): { system?: unknown; tools?: unknown } {
  if (typeof system === 'string' && system !== '')
    return { system: [{ type: 'text', text: system, cache_control: MARK }] };
  if (Array.isArray(system) && isRecord(system.at(-1))) return { system: markLast(system) };
  return Array.isArray(tools) && isRecord(tools.at(-1)) ? { tools: markLast(tools) } : {};
}

const markLast = (blocks: readonly unknown[]) => [
  ...blocks.slice(0, -1),
  { ...(blocks.at(-1) as Record<string, unknown>), cache_control: MARK },
];
