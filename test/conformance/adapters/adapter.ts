import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Caller, Governor } from '@headgate/core';
import type {
  ClaudeStream,
  DoorOptions,
  ErrorOptions,
  EventStreamOptions,
  RouteOptions,
} from '@headgate/core/http';
import { context, SpanKind, type Tracer, trace } from '@opentelemetry/api';
import { onTestFinished } from 'vitest';

/** One request, the same to a route of the suite whatever the framework. */
export interface Io {
  /** What the framework hands to a handler for the request: `governor.bind` takes it. */
  readonly key: object;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** As the framework's parser read it. */
  readonly body: unknown;
  json(value: unknown): unknown;
  events(stream: ClaudeStream | PromiseLike<ClaudeStream>, options?: EventStreamOptions): Promise<unknown>;
  /** The route answers on `response` itself. */
  takeOver(): void;
}

export interface TestRoute {
  /** `GET` where there is no body to read. */
  readonly method?: 'GET' | 'POST';
  readonly path: string;
  readonly options?: RouteOptions;
  handle(io: Io): unknown;
}

/** An app: a trace around each request, one door for each governor, an auth hook after them, routes, an error handler. */
export interface TestApp {
  readonly doors: readonly { readonly governor: Governor; readonly options: TestDoor }[];
  readonly routes: readonly TestRoute[];
  /** Routes under `/nested`, in a router or plugin of their own. */
  readonly nested?: readonly TestRoute[];
  /** Is handed the way on from a middleware or a hook that runs after the auth hook. */
  readonly handOver?: (next: () => void) => void;
  readonly tracer: Tracer;
  readonly http2?: boolean;
  /** How errors are answered. What the framework hands on as the request has `headers` everywhere. */
  readonly errors?: ErrorOptions<{ readonly headers: IncomingMessage['headers'] }>;
}

export interface TestDoor extends Pick<DoorOptions<[]>, 'deadlineMs' | 'timeoutHeader'> {
  /** `user` is what the auth hook has found, which runs after Headgate's. */
  readonly caller?: (user: string | undefined) => Caller | Promise<Caller>;
}

export interface Adapter {
  readonly name: string;
  readonly hasHttp2: boolean;
  /** Serves the app until the test is over. Gives its address. */
  serve(app: TestApp): Promise<string>;
}

/** What an app's own authentication would do. */
export const userOf = ({ headers }: { headers: IncomingMessage['headers'] }): string | undefined =>
  typeof headers['x-user'] === 'string' ? headers['x-user'] : undefined;

export const messageOf = (error: unknown): { message: string } => ({
  message: error instanceof Error ? error.message : String(error),
});

/** Runs a request in a server span, as instrumentation would. */
export function inSpan<T>(tracer: Tracer, response: ServerResponse, name: string, fn: () => T): T {
  const span = tracer.startSpan(name, { kind: SpanKind.SERVER });
  response.once('close', () => span.end());
  return context.with(trace.setSpan(context.active(), span), fn);
}

export async function listen(listener: RequestListener, http2 = false): Promise<string> {
  const server = http2
    ? createHttp2Server(listener as unknown as Parameters<typeof createHttp2Server>[1])
    : createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    if ('closeAllConnections' in server) server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
