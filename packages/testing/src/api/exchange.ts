import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import type { Clock } from '@headgate/core';
import { type ApiFailure, errorBody } from './errors.ts';
import type { ReceivedRequest } from './options.ts';
import type { Headers } from './rate-limit-headers.ts';

/** One request and its answer over one socket. */
export interface Exchange {
  readonly request: ReceivedRequest;
  readonly requestId: string;
  readonly clock: Clock;
  readonly response: ServerResponse;
  /** True once the answer is complete, or the client is gone. */
  readonly isOver: boolean;
  /** Called once if the client goes away before it has the whole answer. */
  onDisconnect(listener: () => void): void;
  /** Resolves after `ms`, or at once when the client goes away. */
  wait(ms: number): Promise<void>;
  /** Resolves when the clock shows `time`, never earlier (a timer may), or at once when the client goes away. */
  waitUntil(time: number): Promise<void>;
  /** Writes a chunk and waits while the client does not read. */
  write(chunk: Uint8Array): Promise<void>;
  open(status: number, headers: Headers): void;
  sendJson(status: number, headers: Headers, body: object): void;
  fail(failure: ApiFailure, headers?: Headers): void;
  /** RST: the client sees a broken connection, not an end. What was written before reaches it first. */
  reset(): Promise<void>;
}

const RESET_LAG_MS = 50;

/** The organization behind every key. */
const ORGANIZATION_ID = '6f1c2d52-0b1e-4c57-9d3e-5a3f2a7b9c10';

export function createExchange(
  request: ReceivedRequest,
  requestId: string,
  response: ServerResponse,
  clock: Clock,
): Exchange {
  const listeners: (() => void)[] = [];
  const wakes = new Set<() => void>();
  let isOver = false;
  let wasReset = false;
  response.on('error', () => undefined);
  response.once('close', () => {
    const isGone = !response.writableFinished && !wasReset;
    isOver = true;
    if (isGone) for (const listener of listeners) listener();
    for (const wake of wakes) wake();
  });

  const exchange: Exchange = {
    request,
    requestId,
    clock,
    response,
    get isOver() {
      return isOver;
    },
    onDisconnect(listener) {
      listeners.push(listener);
    },
    wait(ms) {
      if (isOver || ms <= 0) return Promise.resolve();
      return new Promise((resolve) => {
        const wake = (): void => {
          timer.cancel();
          wakes.delete(wake);
          resolve();
        };
        const timer = clock.after(ms, wake);
        wakes.add(wake);
      });
    },
    async waitUntil(time) {
      while (!isOver && clock.now() < time) await exchange.wait(time - clock.now());
    },
    write(chunk) {
      if (isOver || response.write(chunk)) return Promise.resolve();
      return new Promise((resolve) => {
        const wake = (): void => {
          response.removeListener('drain', wake);
          wakes.delete(wake);
          resolve();
        };
        response.once('drain', wake);
        wakes.add(wake);
      });
    },
    open(status, headers) {
      if (isOver) return;
      response.writeHead(status, {
        date: new Date(clock.wall()).toUTCString(),
        'request-id': requestId,
        'anthropic-organization-id': ORGANIZATION_ID,
        ...headers,
      });
    },
    sendJson(status, headers, body) {
      const bytes = Buffer.from(JSON.stringify(body));
      exchange.open(status, {
        'content-type': 'application/json',
        'content-length': String(bytes.length),
        ...headers,
      });
      response.end(bytes);
    },
    fail(failure, headers = {}) {
      exchange.sendJson(failure.status, { ...headers, ...failure.headers }, errorBody(failure, requestId));
    },
    async reset() {
      wasReset = true;
      // An RST overtakes what is still on its way. Real time: the wire knows nothing of the clock.
      if (response.headersSent) await setTimeout(RESET_LAG_MS);
      response.socket?.resetAndDestroy();
    },
  };
  return exchange;
}

/** Largest body of Messages and `count_tokens`. */
export const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** The body as text; undefined when it is too large. What is too much is read and dropped. */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    size += chunk.length;
    if (size <= maxBytes) chunks.push(chunk);
    else chunks.length = 0;
  }
  return size > maxBytes ? undefined : Buffer.concat(chunks).toString('utf8');
}
