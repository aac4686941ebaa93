import type { Middleware } from '@anthropic-ai/sdk';
import { boundedName } from '../bounded-name.ts';
import { isRecord } from '../json.ts';

export type ApiRequest = Parameters<Middleware>[0];

/** The parts of a Messages request that the stages look at. Everything is `unknown` until it is read. */
export interface MessageBody {
  readonly model?: unknown;
  readonly max_tokens?: unknown;
  readonly stream?: unknown;
  readonly messages?: unknown;
  readonly system?: unknown;
  readonly tools?: unknown;
  readonly tool_choice?: unknown;
  readonly thinking?: unknown;
  readonly temperature?: unknown;
  readonly top_p?: unknown;
  readonly top_k?: unknown;
  readonly speed?: unknown;
  readonly context_management?: unknown;
  readonly output_config?: unknown;
  readonly output_format?: unknown;
  readonly compaction?: unknown;
  readonly mcp_servers?: unknown;
  readonly cache_control?: unknown;
  readonly fallbacks?: unknown;
  readonly inference_geo?: unknown;
  readonly billing_policy?: unknown;
  readonly metadata?: unknown;
}

/**
 * `messages` is what is governed in full. `count_tokens` and `batches` (all of their endpoints) have buckets of their
 * own, by requests. Everything else generates nothing and passes with telemetry alone.
 */
export type CallKind = 'messages' | 'count_tokens' | 'batches' | 'other';

/** One API call as the stages know it. */
export interface Call {
  readonly kind: CallKind;
  /** Of bounded length; `unknown` where the body names none. */
  readonly model: string;
  readonly maxTokens: number | undefined;
  readonly isStreaming: boolean;
  /** Absent for a body that is no JSON object: it goes to the API untouched, whose answer is the best error. */
  readonly body: MessageBody | undefined;
  /** Bytes of the request body. */
  readonly bytes: number;
  /** False for a body that can be sent but once. */
  readonly isReplayable: boolean;
  /** The caller has marked something for the cache itself. */
  readonly hasCacheControl?: boolean;
  /** Its input as the API has counted it for a model, where it was asked. */
  readonly counted?: { readonly tokens: number; readonly modelId: string };
  /** Doing it twice makes two: only what certainly came to nothing may be tried again. */
  readonly isCreation?: boolean;
}

/** What a call's model is called where its body names none. */
export const NO_MODEL = 'unknown';

const KINDS: readonly [path: string, kind: CallKind][] = [
  ['/v1/messages', 'messages'],
  ['/v1/messages/count_tokens', 'count_tokens'],
];
/** All endpoints of batches share one limit of requests, whatever their method. */
const BATCHES = /\/v1\/messages\/batches(\/[^/]+(\/(cancel|results))?)?$/;

/** Reads the request as it stands at the seam. Pure; never throws. */
export function readCall(request: ApiRequest): Call {
  const isPost = request.method === 'POST';
  const path = pathOf(request.url);
  const kind = BATCHES.test(path) ? 'batches' : isPost ? kindOf(path) : 'other';
  const text = typeof request.body === 'string' ? request.body : undefined;
  const body = kind === 'messages' || kind === 'count_tokens' ? parseObject(text) : undefined;
  return {
    kind,
    model: typeof body?.model === 'string' && body.model !== '' ? boundedName(body.model) : 'unknown',
    maxTokens: readCount(body?.max_tokens),
    isStreaming: body?.stream === true,
    body,
    bytes: text?.length ?? 0,
    isReplayable: isReplayable(request.body),
    ...(body !== undefined && text?.includes('"cache_control"') ? { hasCacheControl: true } : {}),
    ...(kind === 'batches' && isPost && path.endsWith('/batches') ? { isCreation: true } : {}),
  };
}

/** A form with files, bytes and text can be sent again, as the SDK does; a stream has been read by then. */
function isReplayable(body: ApiRequest['body']): boolean {
  if (typeof body !== 'object' || body === null) return true;
  return !(Symbol.asyncIterator in body) && !('getReader' in body);
}

/** The query (`?beta=true`) and whatever a gateway puts before /v1 do not matter. */
function pathOf(url: string): string {
  const end = url.search(/[?#]/);
  return end === -1 ? url : url.slice(0, end);
}

function kindOf(path: string): CallKind {
  for (const [suffix, kind] of KINDS) if (path.endsWith(suffix)) return kind;
  return 'other';
}

function parseObject(text: string | undefined): MessageBody | undefined {
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function readCount(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value > 0 ? Math.floor(value) : undefined;
}

/** `thinking.budget_tokens`, where thinking is on with a budget. */
export function thinkingBudget(body: MessageBody | undefined): number | undefined {
  const thinking = body?.thinking;
  if (typeof thinking !== 'object' || thinking === null) return undefined;
  return readCount((thinking as { budget_tokens?: unknown }).budget_tokens);
}

/** A model that a call can be billed at. */
export interface BilledModel {
  readonly id: string;
  readonly isFast: boolean;
}

/**
 * The models that a call can be billed at: the one that is sent, those of server tools such as the advisor, and the
 * fallbacks that it leaves to the API. Pure; never throws.
 */
export function billedModels({ body }: Call, modelId: string): BilledModel[] {
  const isFast = body?.speed === 'fast';
  const others = [body?.tools, body?.fallbacks].flatMap((list) => (Array.isArray(list) ? list : []));
  return [
    { id: modelId, isFast },
    ...others
      .filter(isRecord)
      .flatMap(({ model, speed }) =>
        typeof model === 'string' ? [{ id: model, isFast: speed === 'fast' }] : [],
      ),
  ];
}
