import { setTimeout as sleep } from 'node:timers/promises';
import Anthropic from '@anthropic-ai/sdk';
import {
  type ClaudeApi,
  type ClaudeApiOptions,
  type ManualClock,
  manualClock,
  startClaudeApi,
} from '@headgate/testing';
import { afterEach } from 'vitest';

const open: ClaudeApi[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((api) => api.close()));
});

/** Answers in no time, so that a test takes none: what is tested is not the latency. */
export const INSTANT = {
  timeToFirstTokenMs: 0,
  tokensPerSecond: Number.POSITIVE_INFINITY,
} as const;

export interface Bench {
  readonly api: ClaudeApi;
  readonly client: Anthropic;
}

/** An API that the test's end closes, and a client of it that does not retry. */
export async function bench(options: ClaudeApiOptions = {}): Promise<Bench> {
  const api = await startClaudeApi({ latency: INSTANT, ...options });
  open.push(api);
  return { api, client: clientOf(api) };
}

/** The same on a clock that stands still. */
export async function stillBench(
  options: ClaudeApiOptions = {},
): Promise<Bench & { readonly clock: ManualClock }> {
  const clock = manualClock();
  return { ...(await bench({ clock, ...options })), clock };
}

export function clientOf(api: ClaudeApi): Anthropic {
  return new Anthropic({
    apiKey: 'test-key',
    baseURL: api.url,
    maxRetries: 0,
    logLevel: 'off',
  });
}

export const MODEL = 'claude-opus-5';

export const hello = (over: Partial<Anthropic.MessageCreateParamsNonStreaming> = {}) => ({
  model: MODEL,
  max_tokens: 1_000,
  messages: [{ role: 'user' as const, content: 'Hello, Claude' }],
  ...over,
});

export const HEADERS = {
  'content-type': 'application/json',
  authorization: 'Bearer test-key',
  'anthropic-version': '2026-10-21',
};

/** The request as it goes over the wire, without the SDK. */
export function post(
  api: ClaudeApi,
  body: unknown,
  headers: Record<string, string> = HEADERS,
): Promise<Response> {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return fetch(`${api.url}/v1/messages`, {
    method: 'POST',
    headers,
    body: text,
  });
}

/** Waits for something that I/O brings about. Fails by the test's own time limit. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(1);
}

/** What a promise was rejected with. */
export async function failureOf(promise: PromiseLike<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('Expected a rejection.');
}
