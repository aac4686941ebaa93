import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type Anthropic from '@anthropic-ai/sdk';
import { type Caller, createGovernor, type Governor } from '@headgate/core';
import { headgate, headgateErrors } from '@headgate/express';
import { type ClaudeApi, startClaudeApi } from '@headgate/testing';
import { context, ROOT_CONTEXT, SpanKind, trace } from '@opentelemetry/api';
import express from 'express';
import { onTestFinished } from 'vitest';
import { ask, pause } from '../../support/governed.ts';
import { startTelemetry } from '../../support/telemetry.ts';

/** The three who hand over one call each: `a` first, and `b` and `c` as soon as its request is served. */
export const USERS = ['a', 'b', 'c'] as const;
export type User = (typeof USERS)[number];

/** Milliseconds of an answer: so long do the others wait behind the first. */
const ANSWER_MS = 60;
/** Milliseconds of the answer that `a` does not wait for, where it hangs up or has a deadline. */
const SLOW_MS = 400;
const IMPATIENCE_MS = 150;

/** A governed call of whoever makes it; it says in `metadata.user_id` for whom it is. */
export type Call = () => Promise<unknown>;

/** One request on its way through a case. */
export interface Handing {
  readonly user: User;
  readonly caller: Caller;
  readonly request: IncomingMessage;
  readonly call: Call;
  /** The same call through another client. */
  callBy(client: Anthropic): Promise<unknown>;
}

/** What a case is made with. */
export interface Kit {
  readonly governor: Governor;
  readonly claude: Anthropic;
  /** The client before it is governed. */
  readonly bare: Anthropic;
  /** A package as it was installed, at the version that the case names. */
  load(name: string): Promise<Record<string, any>>;
  readonly redisUrl: string;
  readonly postgresUrl: string;
  /** Runs when the case is over. */
  defer(fn: () => unknown): void;
}

export type HandOver = (handing: Handing) => Promise<unknown>;

/** Every call as it was charged and traced. */
export interface Charged {
  /** Calls by user, as the governor has booked them. */
  readonly usage: Record<string, number>;
  readonly tenants: Record<string, number>;
  /** The users whose call stands in the trace of their own request. */
  readonly traced: string[];
  /** The users whose call stands in the trace of another’s request. */
  readonly inTraceOfAnother: string[];
  /** The HTTP status of each request. */
  readonly statuses: Record<User, number>;
  readonly warnings: string[];
}

/** What becomes of the request of `a` meanwhile. */
export type Fate = 'answered' | 'hangs up' | 'deadline';

type Load = Kit['load'];

/** Serves three requests at once by `make`'s way of handing over, in an app of its own. */
export async function hand(
  make: (kit: Kit) => Promise<HandOver> | HandOver,
  { load, fate = 'answered', ...urls }: { load: Load; fate?: Fate; redisUrl: string; postgresUrl: string },
): Promise<Charged> {
  const telemetry = startTelemetry({ register: true });
  const api = await startApi(fate);
  const warnings: string[] = [];
  const governor = createGovernor({
    logger: { info() {}, warn: (message) => void warnings.push(message), error() {} },
    tracerProvider: telemetry.tracerProvider,
    config: {
      telemetry: { user: 'raw' },
      account: [{ name: 'all', models: ['*'], requestsPerMinute: 6_000 }],
    },
  });
  const { default: Client } = (await load('@anthropic-ai/sdk')) as { default: typeof Anthropic };
  const bare = new Client({ apiKey: 'k', baseURL: api.url, maxRetries: 0 });
  const claude = governor.govern(bare);
  const deferred: (() => unknown)[] = [];
  const handOver = await make({
    governor,
    claude,
    bare,
    load,
    defer: (fn) => void deferred.unshift(fn),
    ...urls,
  });
  onTestFinished(async () => {
    for (const fn of deferred) await fn();
    await governor.close({ drainMs: 50 });
    await api.close();
  });

  const url = await serve(
    governor,
    telemetry.tracerProvider.getTracer('app'),
    fate,
    async (user, request, caller) => {
      const params = { ...ask(user, { max_tokens: 50 }), metadata: { user_id: user } };
      const callBy = (client: Anthropic) => client.messages.create(params);
      await handOver({ user, caller, request, call: () => callBy(claude), callBy });
    },
  );
  const statuses = await postAll(url, fate);
  // A call that nobody waits for any more may still be ending.
  await pause(50);
  const { rows } = await governor.usage({ by: 'user' });
  const tenants = await governor.usage({ by: 'tenant' });
  const servers = new Map(
    telemetry.spans.spans.filter(({ kind }) => kind === 'server').map(({ traceId, name }) => [traceId, name]),
  );
  const traces = (isWanted: (user: unknown, server: string | undefined) => boolean) =>
    telemetry.spans.spans
      .filter(({ name }) => name === 'headgate.admission')
      .filter(({ traceId, attributes }) => isWanted(attributes['user.id'], servers.get(traceId)))
      .map(({ attributes }) => String(attributes['user.id']))
      .sort();
  return {
    usage: Object.fromEntries(rows.map(({ key, calls }) => [key, calls])),
    tenants: Object.fromEntries(tenants.rows.map(({ key, calls }) => [key, calls])),
    traced: traces((user, server) => user === server),
    inTraceOfAnother: traces((user, server) => server !== undefined && user !== server),
    statuses,
    warnings,
  };
}

async function startApi(fate: Fate): Promise<ClaudeApi> {
  const api = await startClaudeApi({
    latency: { timeToFirstTokenMs: ANSWER_MS, tokensPerSecond: 100_000, flushMs: 1 },
    output: () => 10,
  });
  if (fate !== 'answered') {
    api.inject({
      kind: 'stall',
      at: 'before-headers',
      ms: SLOW_MS,
      when: ({ body }) => (body as { metadata?: { user_id?: string } }).metadata?.user_id === 'a',
    });
  }
  return api;
}

type Tracer = ReturnType<typeof trace.getTracer>;
type Serve = (user: User, request: IncomingMessage, caller: Caller) => Promise<void>;

/** An app with a trace for each request and @headgate/express, whose one route hands over. */
async function serve(governor: Governor, tracer: Tracer, fate: Fate, handle: Serve): Promise<string> {
  const app = express();
  const userOf = (request: IncomingMessage) => request.headers['x-user'] as User;
  const callerOf = (request: IncomingMessage): Caller => {
    const user = userOf(request);
    const deadline = fate === 'deadline' && user === 'a' ? { deadlineMs: IMPATIENCE_MS } : {};
    return { user, tenant: `tenant of ${user}`, ...deadline };
  };
  app.use((request, response, next) => {
    const span = tracer.startSpan(userOf(request), { kind: SpanKind.SERVER }, ROOT_CONTEXT);
    response.once('close', () => span.end());
    context.with(trace.setSpan(context.active(), span), next);
  });
  app.use(headgate(governor, { caller: callerOf }));
  app.post('/task', async (request, response) => {
    await handle(userOf(request), request, callerOf(request));
    response.json({});
  });
  app.use(headgateErrors());
  app.use(
    ((_error, _request, response, _next) => void response.status(500).end()) as express.ErrorRequestHandler,
  );
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/task`;
}

/** `a` first; `499` is what a client that hangs up sees of it. */
async function postAll(url: string, fate: Fate): Promise<Record<User, number>> {
  const post = async (user: User): Promise<number> => {
    const isLeaving = fate === 'hangs up' && user === 'a';
    const signal = isLeaving ? { signal: AbortSignal.timeout(IMPATIENCE_MS) } : {};
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'x-user': user, 'content-type': 'application/octet-stream' },
      body: BODY,
      ...signal,
    }).catch((error: unknown) => {
      if (isLeaving) return undefined;
      throw error;
    });
    return response?.status ?? 499;
  };
  const first = post('a');
  await pause(ANSWER_MS / 2);
  const [a, b, c] = await Promise.all([first, post('b'), post('c')]);
  return { a, b, c };
}

/** More than comes with the headers, for those who read it by hand. */
const BODY = new Uint8Array(300_000);
