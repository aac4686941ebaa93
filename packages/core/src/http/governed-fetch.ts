import type { Middleware } from '@anthropic-ai/sdk';
import type { CallerSource } from '../caller/scope.ts';
import type { Scopes } from '../caller/scopes.ts';
import { findHeadgateError } from '../errors.ts';
import { type ApiRequest, readCall } from '../request/read.ts';
import { refusalOf } from './refusal.ts';

type Fetch = typeof globalThis.fetch;

/** How a governed `fetch` is made. */
export interface FetchOptions {
  /** The entry of `accounts` whose limits it draws on. Default: the default account. */
  readonly account?: string | undefined;
  /** What sends the requests. Default: the global one, asked at each call. */
  readonly fetch?: Fetch | undefined;
  /** The caller of every call made through it. Default: that of the scope in which a call is made. */
  readonly caller?: CallerSource | undefined;
  /**
   * How a refused call ends. `throw`: with the `HeadgateError`, which libraries hand on without trying again.
   * `respond`: with the response that the API would give, for libraries that know nothing else. Default: `throw`.
   */
  readonly refusals?: 'throw' | 'respond' | undefined;
}

interface Parts extends Omit<FetchOptions, 'account'> {
  readonly scopes: Scopes;
  /** The account's chain, as clients of the SDK have it. */
  readonly middleware: Middleware;
}

/** A `fetch` whose calls of the Claude API go through the governor; what is no such call passes as it is. */
export function governedFetch({ scopes, middleware, fetch, caller, refusals = 'throw' }: Parts): Fetch {
  const send: Fetch = (input, init) => (fetch ?? globalThis.fetch)(input, init);
  return async (input, init) => {
    const head = readHead(input, init);
    // By address and method alone: what passes is not read.
    if (readCall(head).kind === 'other') return send(input, init);
    const body = await bodyOf(input, init, head.headers);
    const request = body === undefined ? head : { ...head, body };
    const next = (sent: ApiRequest) => send(sent.url, initOf(sent, input, init));
    // What of the SDK's options the chain reads. Fresh ones: each call of a `fetch` is a call of its own.
    const options = {
      method: request.method.toLowerCase(),
      path: new URL(request.url).pathname,
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    };
    const call = () => middleware(request, next, { options } as unknown as Parameters<Middleware>[2]);
    const around = scopes.current();
    try {
      const response = await (caller === undefined
        ? call()
        : scopes.run(scopes.openWhole(caller, around), call));
      return await asLibraryTakesIt(response, request);
    } catch (error) {
      const answer = refusals === 'respond' ? refusalOf(error) : undefined;
      if (answer === undefined) throw findHeadgateError(error) ?? error;
      // Libraries repeat 429 and 503 unless they are told; here the wait was the queue's.
      return new Response(answer.text, {
        status: answer.status,
        headers: { ...answer.headers, 'x-should-retry': 'false' },
      });
    }
  };
}

/** A request as the chain reads it. */
interface ReadRequest extends ApiRequest {
  method: string;
  headers: Headers;
  signal?: AbortSignal;
}

/** The request without its body. */
function readHead(input: Parameters<Fetch>[0], init: Parameters<Fetch>[1]): ReadRequest {
  const given = input instanceof Request ? input : undefined;
  const signal = init?.signal ?? given?.signal;
  return {
    url: given?.url ?? String(input),
    method: (init?.method ?? given?.method ?? 'GET').toUpperCase(),
    headers: new Headers(init?.headers ?? given?.headers),
    ...(signal === undefined || signal === null ? {} : { signal }),
  };
}

type Body = NonNullable<ApiRequest['body']>;

/** A JSON body as text, since rules read and change it. */
async function bodyOf(
  input: Parameters<Fetch>[0],
  init: Parameters<Fetch>[1],
  headers: Headers,
): Promise<Body | undefined> {
  const body: unknown = init?.body;
  if (body === undefined || body === null) {
    return input instanceof Request && input.body !== null ? await input.clone().text() : undefined;
  }
  const isJson = /\bjson\b/.test(headers.get('content-type') ?? '');
  return isJson && (body instanceof Uint8Array || body instanceof ArrayBuffer)
    ? new TextDecoder().decode(body)
    : (body as Body);
}

/** What is sent: everything that the caller has said, but for what the chain may have changed. */
function initOf(sent: ApiRequest, input: Parameters<Fetch>[0], init: Parameters<Fetch>[1]): RequestInit {
  const given = input instanceof Request ? input : undefined;
  const { method = 'GET', headers, body, signal } = sent;
  return {
    ...(given === undefined ? {} : { redirect: given.redirect, credentials: given.credentials }),
    ...init,
    method,
    ...(headers === undefined ? {} : { headers }),
    ...(body === undefined ? {} : { body: body as NonNullable<RequestInit['body']> }),
    ...(signal === undefined ? {} : { signal }),
  };
}

/** What the AI SDK (5, 6) knows its own error by, in every copy of it. */
const AI_SDK_ERROR = Symbol.for('vercel.ai.error.AI_APICallError');
const AI_SDK_BASE = Symbol.for('vercel.ai.error');
/** What it repeats by itself, whatever the response's headers say (6.0). */
const isRepeated = (status: number) => status === 408 || status === 409 || status === 429 || status >= 500;

/**
 * The final answer of the API, in the form in which the library that has asked does not ask again: the AI SDK would
 * repeat it twice, after all attempts of ours.
 */
async function asLibraryTakesIt(response: Response, request: ApiRequest): Promise<Response> {
  if (response.ok || !isRepeated(response.status)) return response;
  const isAiSdk = /\bai(-sdk)?\//.test(request.headers.get('user-agent') ?? '');
  if (!isAiSdk) return response;
  const text = await response.text();
  throw aiSdkError(response, request, text);
}

function aiSdkError(response: Response, request: ApiRequest, responseBody: string): Error {
  const { message, data } = readError(responseBody);
  const fields = {
    [AI_SDK_BASE]: true,
    [AI_SDK_ERROR]: true,
    name: 'AI_APICallError',
    url: request.url,
    requestBodyValues: undefined,
    statusCode: response.status,
    responseHeaders: Object.fromEntries(response.headers),
    responseBody,
    data,
    isRetryable: false,
  };
  return Object.assign(new Error(message ?? response.statusText), fields);
}

function readError(body: string): { readonly message?: string; readonly data?: unknown } {
  try {
    const data = JSON.parse(body) as { error?: { message?: unknown } };
    const message = data.error?.message;
    return { data, ...(typeof message === 'string' ? { message } : {}) };
  } catch {
    // A proxy's page.
    return {};
  }
}
