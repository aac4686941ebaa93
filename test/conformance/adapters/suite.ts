import { once } from 'node:events';
import { type ConfigInput, findHeadgateError, type Governor } from '@headgate/core';
import type { ClaudeApiOptions } from '@headgate/testing';
import { context, trace } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import { ask, type Governed, isSettled, pause, startGoverned, until } from '../../support/governed.ts';
import { startTelemetry } from '../../support/telemetry.ts';
import type { Adapter, Io, TestApp, TestDoor, TestRoute } from './adapter.ts';
import { type Client, type ClientInit, clientOf, PROTOCOLS, type Protocol } from './client.ts';
import { REFUSALS } from './refusals.ts';
import { CODE_OF_STATUS, SECRET, UPSTREAM_ERRORS } from './upstream-errors.ts';

const caller = (user: string | undefined) => {
  if (user === 'boom') throw new Error('no session');
  return { user };
};

const SLOW: ClaudeApiOptions = {
  latency: { timeToFirstTokenMs: 10, tokensPerSecond: 100, flushMs: 10 },
  output: () => 2_000,
};
const ONE_AT_A_TIME: ConfigInput = {
  account: [{ name: 's', models: ['claude-sonnet-*'], concurrency: 1 }],
};
/** What a framework, or Node, adds to every answer of its own accord. */
const OF_THE_FRAMEWORK = ['date', 'connection', 'keep-alive', 'x-powered-by'];
const ownHeaders = (headers: Headers) =>
  Object.fromEntries([...headers].filter(([name]) => !OF_THE_FRAMEWORK.includes(name)));

/** One answer as server-sent events. */
const eventsOf = (text: string) =>
  text
    .split('\n\n')
    .filter((each) => each !== '')
    .map((each) => {
      const [, event, data] = /^event: (.+)\ndata: (.+)$/.exec(each) ?? [];
      return { event, data: JSON.parse(data ?? 'null') };
    });

/** What every adapter must do, over real HTTP: all of it by every protocol that the framework has. */
export function testAdapter(adapter: Adapter): void {
  for (const protocol of PROTOCOLS) {
    if (protocol === 'HTTP/1.1' || adapter.hasHttp2) testOver(protocol, adapter);
  }
}

function testOver(protocol: Protocol, adapter: Adapter): void {
  describe(`${adapter.name} over ${protocol}`, () => {
    /** Serves an app, and gives a client of it. */
    const serve = async (app: Parameters<Adapter['serve']>[0]): Promise<Client> =>
      clientOf[protocol](await adapter.serve({ ...app, http2: protocol === 'HTTP/2' }));

    interface SetUp {
      config?: ConfigInput;
      api?: ClaudeApiOptions;
      door?: TestDoor;
      handOver?: (next: () => void) => void;
      routes?: (governed: Governed) => readonly TestRoute[];
      nested?: (governed: Governed) => readonly TestRoute[];
      errors?: TestApp['errors'];
    }

    async function setUp({
      config = {},
      api = {},
      door = { caller },
      handOver,
      routes,
      nested,
      errors,
    }: SetUp = {}) {
      const telemetry = startTelemetry({ register: true });
      const said: string[] = [];
      const say = (message: string, fields?: Record<string, unknown>) =>
        void said.push(`${message} ${JSON.stringify(fields)}`);
      const governed = await startGoverned({
        config: { telemetry: { user: 'raw' }, ...config },
        api,
        governor: {
          tracerProvider: telemetry.tracerProvider,
          meterProvider: telemetry.meterProvider,
          logger: { info: say, warn: say, error: say },
        },
      });
      const { governor, claude } = governed;
      const chat: TestRoute = {
        path: '/chat',
        handle: async ({ json }) => json(await claude.messages.create(ask())),
      };
      const client = await serve({
        doors: [{ governor, options: door }],
        routes: [chat, ...(routes?.(governed) ?? [])],
        ...(nested === undefined ? {} : { nested: nested(governed) }),
        ...(handOver === undefined ? {} : { handOver }),
        ...(errors === undefined ? {} : { errors }),
        tracer: telemetry.tracerProvider.getTracer('app'),
      });
      const post = (path = '/chat', { user, headers, ...init }: ClientInit & { user?: string } = {}) =>
        client.fetch(path, {
          method: 'POST',
          ...init,
          headers: { ...headers, ...(user === undefined ? {} : { 'x-user': user }) },
        });
      /** Of each admission, as its span tells. */
      const admissions = () => admissionSpans().map((span) => span.attributes);
      const admissionSpans = () => telemetry.spans.spans.filter(({ name }) => name === 'headgate.admission');
      const requestOf = (traceId: string) =>
        telemetry.spans.spans.find((span) => span.traceId === traceId && span.kind === 'server')?.name;
      /** User and lane of each call, and the request to whose trace it belongs: known when its span has ended. */
      const callers = async () => {
        await until(() => admissionSpans().every(({ traceId }) => requestOf(traceId) !== undefined));
        return admissionSpans().map(({ attributes, traceId }) => [
          attributes['user.id'],
          attributes['headgate.lane'],
          requestOf(traceId),
        ]);
      };
      const queued = () => governor.snapshot().buckets[0]?.lanes.interactive?.queued ?? 0;
      return { ...governed, telemetry, client, post, admissions, callers, queued, said };
    }

    describe('answers', () => {
      it('JSON, and knows the caller that an auth hook finds after the adapter', async () => {
        const { post, governor, callers } = await setUp({
          config: { quotas: [{ name: 'q', requests: '1/day' }] },
          routes: ({ claude }) => [
            {
              path: '/echo',
              handle: async ({ json, body }) => {
                const { content } = await claude.messages.create(ask());
                return json({ body, content });
              },
            },
          ],
        });
        const echo = (user: string) =>
          post('/echo', { user, body: '{"a":1}', headers: { 'content-type': 'application/json' } });
        const first = await echo('ada');
        expect([first.status, await first.json()]).toEqual([
          200,
          { body: { a: 1 }, content: expect.any(Array) },
        ]);
        expect((await echo('ada')).status).toBe(429);
        expect((await echo('ben')).status).toBe(200);
        expect((await callers()).map(([user, , server]) => [user, server])).toEqual([
          ['ada', '/echo'],
          ['ada', '/echo'],
          ['ben', '/echo'],
        ]);
        expect(isSettled(governor)).toBe(true);
      });

      it('a handler that never calls Claude, and asks nobody who it is', async () => {
        let asked = 0;
        const { client, governor } = await setUp({
          door: { caller: () => ({ user: String(asked++) }) },
          routes: () => [{ method: 'GET', path: '/idle', handle: ({ json }) => json({ ok: true }) }],
        });
        const response = await client.fetch('/idle');
        expect([response.status, await response.json()]).toEqual([200, { ok: true }]);
        expect(response.headers.get('ratelimit')).toBeNull();
        expect(asked).toBe(0);
        expect(isSettled(governor)).toBe(true);
      });

      it('in nested routers, with the pattern of the route, which no client can multiply', async () => {
        const { post, admissions } = await setUp({
          nested: ({ claude }) => [
            { path: '/rooms/:id', handle: async ({ json }) => json(await claude.messages.create(ask())) },
          ],
        });
        for (const id of ['a', 'b']) expect((await post(`/nested/rooms/${id}`)).status).toBe(200);
        await post();
        expect(admissions().map((attributes) => attributes['headgate.route'])).toEqual([
          '/nested/rooms/:id',
          '/nested/rooms/:id',
          '/chat',
        ]);
      });

      it('one request after another on one connection, and keeps them apart', async () => {
        const { client, governor } = await setUp({ config: { quotas: [{ name: 'q', requests: '1/day' }] } });
        const statuses: number[] = [];
        for (const user of ['a', 'b', 'a', 'c', 'b']) {
          const response = await client.single.fetch('/chat', {
            method: 'POST',
            headers: { 'x-user': user },
          });
          await response.text();
          statuses.push(response.status);
        }
        expect(statuses).toEqual([200, 200, 429, 200, 429]);
        expect(client.single.ports.size).toBe(1);
        expect(isSettled(governor)).toBe(true);
      });

      it('for two governors in one app, each with its own limits', async () => {
        const one = await startGoverned({ config: { quotas: [{ name: 'q', requests: '1/day' }] } });
        const two = await startGoverned();
        const { tracerProvider } = startTelemetry();
        const routeOf = ({ claude }: Governed, path: string): TestRoute => ({
          path,
          options: { maxTokens: 500 },
          handle: async ({ json }) => json(await claude.messages.create(ask())),
        });
        const client = await serve({
          doors: [one, two].map(({ governor }) => ({ governor, options: { caller } })),
          routes: [routeOf(one, '/one'), routeOf(two, '/two')],
          tracer: tracerProvider.getTracer('app'),
        });
        const statuses: number[] = [];
        for (const path of ['one', 'two', 'one', 'two']) {
          statuses.push(
            (await client.fetch(`/${path}`, { method: 'POST', headers: { 'x-user': 'ada' } })).status,
          );
        }
        expect(statuses).toEqual([200, 200, 429, 200]);
        expect([one, two].map(({ governor }) => isSettled(governor))).toEqual([true, true]);
      });

      it('and leaves alone what goes on after a finished response', async () => {
        const { client, api } = await setUp({
          routes: ({ claude }) => [
            {
              method: 'GET',
              path: '/after',
              handle: ({ json }) => {
                void claude.messages.create(ask());
                void pause(30).then(() => claude.messages.create(ask()));
                return json({ ok: true });
              },
            },
          ],
        });
        const response = await client.fetch('/after', { headers: { connection: 'close' } });
        expect(await response.json()).toEqual({ ok: true });
        await until(() => api.ledger.count({ outcome: 'admitted' }) === 2);
        await until(() => api.ledger.entries.every(({ endedAt }) => endedAt !== undefined));
        expect(api.ledger.count({ disconnected: true })).toBe(0);
      });

      it('also where a route stops a stream of its own: no client has hung up', async () => {
        const { post, governor } = await setUp({
          api: SLOW,
          routes: ({ claude }) => [
            {
              path: '/short',
              handle: async ({ json }) => {
                const answer = claude.messages.stream(ask('x', { max_tokens: 4_000 }));
                answer.on('text', () => answer.abort());
                await answer.done().catch(() => {});
                return json(
                  await claude.messages.create(ask('x', { model: 'claude-haiku-4-5', max_tokens: 5 })),
                );
              },
            },
          ],
        });
        const response = await post('/short');
        expect([response.status, await response.json()]).toMatchObject([200, { type: 'message' }]);
        await until(() => isSettled(governor));
      });
    });

    describe('refuses', () => {
      for (const { name, error, status, retryAfter, body } of REFUSALS) {
        it(`${name}, the same to the byte as every framework`, async () => {
          const { post } = await setUp({
            routes: () => [
              { path: '/refused', handle: () => Promise.reject(error) },
              { path: '/wrapped', handle: () => Promise.reject(new Error('wrapped', { cause: error })) },
            ],
          });
          for (const path of ['/refused', '/wrapped']) {
            const response = await post(path);
            expect(response.status).toBe(status);
            expect(ownHeaders(response.headers)).toEqual({
              'content-type': 'application/json; charset=utf-8',
              'content-length': String(Buffer.byteLength(body)),
              ...(retryAfter === undefined ? {} : { 'retry-after': retryAfter }),
            });
            expect(await response.text()).toBe(body);
          }
        });
      }

      it('a call over its quota like the API, with Retry-After', async () => {
        const { post } = await setUp({
          config: { quotas: [{ name: 'q', requests: '2/minute', burst: 0.5 }] },
        });
        await post('/chat', { user: 'ada' });
        const refused = await post('/chat', { user: 'ada' });
        expect(refused.status).toBe(429);
        expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(25);
        expect(await refused.json()).toEqual({
          type: 'error',
          error: {
            type: 'rate_limit_error',
            message: 'You have reached your limit for now. Try again later.',
            details: {
              error_code: 'headgate_quota_exceeded',
              reason: 'user_quota',
              lane: 'interactive',
              rule: 'q',
              limit: { requests: 2, per: 'minute' },
              retry_after_ms: expect.any(Number),
            },
          },
          request_id: null,
        });
      });

      it('calls by the bounds of their queue', async () => {
        const { post, api, queued } = await setUp({
          config: { ...ONE_AT_A_TIME, lanes: { interactive: { maxWait: '100ms', maxQueued: 1 } } },
        });
        api.inject({ kind: 'stall', at: 'before-headers', ms: 600 });
        const first = post();
        await until(() => api.ledger.count({}) === 1);
        const second = post();
        await until(() => queued() === 1);
        const third = await post();
        const statuses = [(await first).status, (await second).status, third.status];
        expect(statuses).toEqual([200, 503, 503]);
        for (const refused of [await second, third]) {
          expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
          expect(await refused.json()).toMatchObject({ error: { type: 'overloaded_error' } });
        }
      });

      it('but tells a caller how their own quotas stand, and nobody else’s', async () => {
        const { post } = await setUp({
          config: {
            quotas: [
              { name: 'mine', requests: '10/minute', outputTokens: '1k/day' },
              { name: 'ours', per: 'all', requests: '99/day' },
              { name: 'hidden', requests: '5/day', shadow: true },
              { name: 'once', when: { user: 'bob' }, requests: '1/day' },
            ],
          },
        });
        const first = await post('/chat', { user: 'ada' });
        expect(first.headers.get('ratelimit-policy')).toBe(
          '"mine";q=10;w=60, "mine-output-tokens";q=1000;w=86400;qu="output-tokens"',
        );
        expect(first.headers.get('ratelimit')).toMatch(/^"mine";r=9;t=6, "mine-output-tokens";r=\d+;t=\d+$/);
        const second = await post('/chat', { user: 'ada' });
        expect(second.headers.get('ratelimit')).toMatch(/^"mine";r=8;t=12, /);
        // Was: a refused call had Retry-After alone.
        await post('/chat', { user: 'bob' });
        const refused = await post('/chat', { user: 'bob' });
        expect(refused.status).toBe(429);
        expect(refused.headers.get('ratelimit-policy')).toContain('"once";q=1;w=86400');
        expect(refused.headers.get('ratelimit')).toMatch(/"mine";r=9;t=6.*"once";r=0;t=[1-9]\d*$/);
        expect(refused.headers.get('ratelimit')).not.toContain('ours');
      });

      it('nothing else: what `caller` throws and what breaks is the app’s own to answer', async () => {
        const { post } = await setUp({
          routes: () => [
            { path: '/broken', handle: () => Promise.reject(new Error('broken')) },
            {
              path: '/thrown',
              handle: () => {
                throw new Error('thrown');
              },
            },
          ],
        });
        for (const [path, user, message] of [
          ['/chat', 'boom', 'no session'],
          ['/broken', 'ada', 'broken'],
          ['/thrown', 'ada', 'thrown'],
        ] as const) {
          const response = await post(path, { user });
          expect([response.status, await response.json()]).toEqual([500, { message }]);
        }
      });

      it.each(protocol === 'HTTP/1.1' ? UPSTREAM_ERRORS : UPSTREAM_ERRORS.slice(0, 2))(
        '%s: %s',
        async (_what, status, { fault, type, reason, message, retryAfter }) => {
          const { post, api, said } = await setUp({
            config: { retries: { maxAttempts: 1 } },
            routes: ({ claude }) => [
              {
                path: '/patient',
                handle: async ({ json }) => json(await claude.messages.create(ask(), { timeout: 300 })),
              },
            ],
          });
          api.inject(fault);
          const response = await post('/patient');
          expect(response.status).toBe(status);
          const code = CODE_OF_STATUS[status] ?? 'upstream_refused';
          const after = retryAfter === undefined ? {} : { retry_after_ms: retryAfter * 1_000 };
          const details = { error_code: code, reason, ...after };
          expect(await response.text()).toBe(
            JSON.stringify({ type: 'error', error: { type, message, details }, request_id: null }),
          );
          expect(response.headers.get('retry-after')).toBe(
            retryAfter === undefined ? null : String(retryAfter),
          );
          expect(response.headers.get('content-type')).toBe('application/json; charset=utf-8');
          const lines = said.filter((line) => line.includes('the client is told'));
          expect(lines).toEqual([expect.stringContaining(`the client is told ${status}`)]);
          if (fault.kind === 'status') expect(lines[0]).toMatch(/answered \d+ \w+ \(req_\w+\)/);
          expect(said.join()).not.toContain(SECRET);
        },
      );
    });

    describe('lets the app say', () => {
      const config: ConfigInput = { retries: { maxAttempts: 1 }, quotas: [{ name: 'q', requests: '1/day' }] };

      it('what a refusal and an error of the API read like', async () => {
        const { post, api } = await setUp({
          config,
          errors: {
            refusals: {
              body: ({ status, body: { error } }, { headers }) => {
                if (headers['x-user'] === 'boor') throw new Error('no words');
                return headers['x-user'] === 'ada' ? `${status}: sorry` : { code: error.details.error_code };
              },
            },
          },
        });
        const answers = async (user: string) => {
          await post('/chat', { user });
          const refused = await post('/chat', { user });
          expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, expect.any(String)]);
          return [refused.headers.get('content-type'), await refused.text()];
        };
        expect(await answers('ada')).toEqual(['text/plain; charset=utf-8', '429: sorry']);
        const json = 'application/json; charset=utf-8';
        expect(await answers('ben')).toEqual([json, '{"code":"headgate_quota_exceeded"}']);
        expect(await answers('boor')).toEqual([json, expect.stringContaining('"rate_limit_error"')]);
        api.inject({ kind: 'status', status: 401 });
        expect(await (await post('/chat', { user: 'eve' })).text()).toBe('{"code":"upstream_failed"}');
      });

      it('that errors of the API are its own to answer', async () => {
        const { post, api, said } = await setUp({ config, errors: { upstreamErrors: 'pass' } });
        api.inject({ kind: 'status', status: 400, message: 'bad' });
        const passed = await post('/chat', { user: 'ada' });
        expect([passed.status, await passed.json()]).toEqual([
          500,
          { message: expect.stringContaining('bad') },
        ]);
        expect(said.join()).not.toContain('the client is told');
      });
    });

    describe('streams', () => {
      const streams = ({ claude }: Governed): TestRoute[] => [
        {
          path: '/raw',
          handle: ({ events }) => events(claude.messages.create({ ...ask(), stream: true })),
        },
        { path: '/helper', handle: ({ events }) => events(claude.messages.stream(ask())) },
      ];

      it('as the API does, event for event', async () => {
        const { post, governor } = await setUp({
          routes: streams,
          config: { quotas: [{ name: 'q', requests: '9/day' }] },
        });
        for (const path of ['/raw', '/helper']) {
          const response = await post(path);
          expect(response.status).toBe(200);
          expect(ownHeaders(response.headers)).toMatchObject({
            'content-type': 'text/event-stream; charset=utf-8',
            'cache-control': 'no-cache, no-transform',
            'x-accel-buffering': 'no',
            ratelimit: expect.stringContaining('"q"'),
          });
          const events = eventsOf(await response.text());
          expect(events[0]?.event).toBe('message_start');
          expect(events.at(-1)).toEqual({ event: 'message_stop', data: { type: 'message_stop' } });
          expect(events.every(({ event, data }) => event === data.type)).toBe(true);
        }
        await until(() => isSettled(governor));
      });

      it('in pieces, as they come', async () => {
        const { post } = await setUp({
          routes: streams,
          api: { latency: { timeToFirstTokenMs: 10, tokensPerSecond: 100, flushMs: 20 }, output: () => 30 },
        });
        for (const path of ['/raw', '/helper']) {
          const response = await post(path);
          const times: number[] = [];
          for await (const _ of response.body ?? []) times.push(performance.now());
          expect(times.length).toBeGreaterThan(4);
          expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThan(100);
        }
      });

      it('and refuses with a status what is refused before the first event', async () => {
        const { post, governor } = await setUp({
          routes: streams,
          config: { quotas: [{ name: 'q', requests: '1/day' }] },
        });
        for (const path of ['/raw', '/helper']) {
          expect((await post(path, { user: path })).status).toBe(200);
          const refused = await post(path, { user: path });
          expect([refused.status, refused.headers.get('content-type')]).toEqual([
            429,
            'application/json; charset=utf-8',
          ]);
          expect(await refused.json()).toMatchObject({ error: { type: 'rate_limit_error' } });
        }
        await until(() => isSettled(governor));
      });

      it('and ends with an error event what is refused after the headers were sent', async () => {
        const told: unknown[] = [];
        const { post } = await setUp({
          config: { quotas: [{ name: 'q', requests: '1/day' }] },
          routes: ({ claude }) => [
            {
              path: '/early',
              handle: ({ events, response }) => {
                response.setHeader('content-type', 'text/event-stream');
                response.writeHead(200);
                response.flushHeaders();
                return events(claude.messages.create({ ...ask(), stream: true }), {
                  onError: (error) => told.push(error),
                });
              },
            },
          ],
        });
        await (await post('/early', { user: 'ada' })).text();
        const refused = await post('/early', { user: 'ada' });
        expect(refused.status).toBe(200);
        const events = eventsOf(await refused.text());
        expect(events).toEqual([
          {
            event: 'error',
            data: {
              type: 'error',
              error: expect.objectContaining({ type: 'rate_limit_error' }),
              request_id: null,
            },
          },
        ]);
        expect(told.map((error) => findHeadgateError(error)?.code)).toEqual(['quota_exceeded']);
      });

      it('and ends with an error event also where a route writes events itself', async () => {
        const { post } = await setUp({
          config: { quotas: [{ name: 'q', requests: '1/day' }] },
          routes: ({ claude }) => [
            {
              path: '/own',
              handle: async ({ response, takeOver }) => {
                response.setHeader('content-type', 'text/event-stream');
                response.write(': hello\n\n');
                await claude.messages.create(ask());
                takeOver();
                response.end('event: done\ndata: {}\n\n');
              },
            },
          ],
        });
        expect(await (await post('/own', { user: 'ada' })).text()).toContain('event: done');
        const text = await (await post('/own', { user: 'ada' })).text();
        expect(eventsOf(text.replace(': hello\n\n', ''))).toMatchObject([
          { event: 'error', data: { error: { type: 'rate_limit_error' } } },
        ]);
      });

      it('and hands on what breaks off upstream, as the API’s error or without a word about us', async () => {
        const { post, api, governor } = await setUp({ routes: streams });
        for (const path of ['/raw', '/helper']) {
          api.inject({
            kind: 'stream-error',
            type: 'overloaded_error',
            message: 'Overloaded',
            afterEvents: 3,
          });
          const overloaded = eventsOf(await (await post(path)).text());
          expect(overloaded[0]?.event).toBe('message_start');
          expect(overloaded.at(-1)).toMatchObject({
            event: 'error',
            data: { type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } },
          });
          api.inject({ kind: 'reset', at: 'mid-stream', afterEvents: 3 });
          const broken = eventsOf(await (await post(path)).text());
          expect(broken.at(-1)?.data).toEqual({
            type: 'error',
            error: { type: 'api_error', message: 'the stream broke off' },
            request_id: null,
          });
        }
        await until(() => isSettled(governor));
      });

      it('no faster than they are read, and lets go of the source when the reader leaves', async () => {
        let made = 0;
        let isClosed = false;
        async function* source() {
          try {
            for (;;) {
              made++;
              yield { type: 'content_block_delta', text: 'x'.repeat(10_000) };
            }
          } finally {
            isClosed = true;
          }
        }
        const { client } = await setUp({
          routes: () => [{ path: '/flood', handle: ({ events }) => events(source()) }],
        });
        const { bytes, leave } = client.hang('/flood');
        bytes.pause();
        let before = -1;
        while (made !== before) {
          before = made;
          await pause(150);
        }
        expect(made).toBeGreaterThan(1);
        // What the buffers of the kernel take, and not more.
        expect(made).toBeLessThan(2_000);
        leave();
        await until(() => isClosed);
      });
    });

    describe('ends the calls of a client that hangs up', () => {
      it('in the queue', async () => {
        const { post, client, api, governor, queued } = await setUp({ config: ONE_AT_A_TIME });
        api.inject({ kind: 'stall', at: 'before-headers', ms: 500 });
        const first = post();
        await until(() => governor.snapshot().inFlight === 1);
        const { leave } = client.hang('/chat');
        await until(() => queued() === 1);
        leave();
        await until(() => queued() === 0);
        expect((await first).status).toBe(200);
        expect(api.ledger.count({})).toBe(1);
      });

      it('while they wait for headers', async () => {
        const { client, api, governor } = await setUp();
        api.inject({ kind: 'stall', at: 'before-headers', ms: 10_000 });
        const { leave } = client.hang('/chat');
        await until(() => api.ledger.count({}) === 1);
        leave();
        await until(() => isSettled(governor), 1_000);
        await until(() => api.ledger.count({ disconnected: true }) === 1);
      });

      it('in mid-stream', async () => {
        const { client, api, governor } = await setUp({
          api: SLOW,
          routes: ({ claude }) => [
            {
              path: '/raw',
              handle: ({ events }) =>
                events(claude.messages.create({ ...ask('x', { max_tokens: 4_000 }), stream: true })),
            },
            {
              path: '/helper',
              handle: ({ events }) => events(claude.messages.stream(ask('x', { max_tokens: 4_000 }))),
            },
            {
              path: '/own',
              handle: async ({ response, takeOver }) => {
                takeOver();
                for await (const event of claude.messages.stream(ask('x', { max_tokens: 4_000 })))
                  response.write(`${event.type}\n`);
                response.end();
              },
            },
          ],
        });
        for (const [index, path] of ['/raw', '/helper', '/own'].entries()) {
          const { bytes, leave } = client.hang(path);
          await once(bytes, 'data');
          leave();
          await until(() => api.ledger.count({ disconnected: true }) === index + 1, 1_000);
          await until(() => isSettled(governor));
        }
      });
    });

    describe('keeps deadlines', () => {
      const stalled = (api: Governed['api']) =>
        api.inject({ kind: 'stall', at: 'before-headers', ms: 3_000, times: Number.POSITIVE_INFINITY });
      const timed = async (response: Promise<Response>) => {
        const startedAt = performance.now();
        const { status } = await response;
        return { status, ms: performance.now() - startedAt };
      };

      it('of the app, which a client’s header cannot lengthen', async () => {
        const { post, api } = await setUp({ door: { caller, deadlineMs: 100, timeoutHeader: true } });
        stalled(api);
        for (const seconds of ['60', '1e9', '-1', 'soon', '']) {
          const { status, ms } = await timed(post('/chat', { headers: { 'x-request-timeout': seconds } }));
          expect(status).toBe(504);
          expect(ms).toBeLessThan(1_500);
        }
      });

      it('of a client’s header, in seconds, only where the app takes them', async () => {
        const { post, api } = await setUp({ door: { caller, timeoutHeader: 'X-Patience' } });
        stalled(api);
        const refused = await post('/chat', { headers: { 'x-patience': '0.1' } });
        expect(refused.status).toBe(504);
        expect(await refused.json()).toMatchObject({
          error: { type: 'timeout_error', details: { reason: 'deadline' } },
        });
        const deaf = await setUp({ door: { caller, deadlineMs: 300 } });
        stalled(deaf.api);
        const { ms } = await timed(deaf.post('/chat', { headers: { 'x-request-timeout': '0.01' } }));
        expect(ms).toBeGreaterThan(250);
      });

      it('of a caller and of a route, the shortest of all', async () => {
        const { post, api } = await setUp({
          door: { caller: (user) => ({ user, deadlineMs: 400 }), deadlineMs: 5_000 },
          routes: ({ claude }) => [
            {
              path: '/hurry',
              options: { deadlineMs: 50 },
              handle: async ({ json }) => json(await claude.messages.create(ask())),
            },
          ],
        });
        stalled(api);
        const [caller, route] = await Promise.all([timed(post()), timed(post('/hurry'))]);
        expect([caller.status, route.status]).toEqual([504, 504]);
        expect(caller.ms).toBeGreaterThan(350);
        expect(route.ms).toBeLessThan(350);
      });

      it('in mid-stream, with an error event', async () => {
        const { post } = await setUp({
          api: SLOW,
          door: { caller, deadlineMs: 250 },
          routes: ({ claude }) => [
            {
              path: '/raw',
              handle: ({ events }) =>
                events(claude.messages.create({ ...ask('x', { max_tokens: 4_000 }), stream: true })),
            },
            {
              path: '/helper',
              handle: ({ events }) => events(claude.messages.stream(ask('x', { max_tokens: 4_000 }))),
            },
          ],
        });
        for (const path of ['/raw', '/helper']) {
          const events = eventsOf(await (await post(path)).text());
          expect(events[0]?.event).toBe('message_start');
          expect(events.at(-1)).toMatchObject({ event: 'error', data: { error: { type: 'timeout_error' } } });
        }
      });

      it('that are numbers: others are refused when the app starts', async () => {
        await expect(setUp({ door: { caller, deadlineMs: -1 } })).rejects.toThrow('caller.deadlineMs');
      });
    });

    describe('tells a client of an API that falls silent', () => {
      const prompt = () => ask('x', { max_tokens: 4_000 });
      const start = () =>
        setUp({
          config: { timeouts: { streamIdle: '200ms' }, retries: { maxAttempts: 2 } },
          routes: ({ claude }) => [
            { path: '/json', handle: async ({ json }) => json(await claude.messages.create(prompt())) },
            {
              path: '/patient',
              handle: async ({ json }) => json(await claude.messages.create(prompt(), { timeout: 200 })),
            },
            {
              path: '/raw',
              handle: ({ events }) => events(claude.messages.create({ ...prompt(), stream: true })),
            },
            { path: '/helper', handle: ({ events }) => events(claude.messages.stream(prompt())) },
          ],
        });
      const stall = { kind: 'stall', at: 'mid-stream', ms: 20_000 } as const;

      it.each(['/json', '/raw', '/helper'])(
        'by 504, where nothing has reached them yet: %s (was 499)',
        async (path) => {
          const { api, post, governor } = await start();
          api.inject({ ...stall, at: 'after-headers' });
          const response = await post(path);
          expect(response.status).toBe(504);
          expect(await response.json()).toEqual({
            type: 'error',
            error: {
              type: 'timeout_error',
              message: 'The answer took too long.',
              details: { error_code: 'headgate_aborted', reason: 'upstream_stalled' },
            },
            request_id: null,
          });
          await until(() => isSettled(governor));
        },
      );

      it('by 504, where each attempt was ended before its headers came', async () => {
        const { api, post, governor } = await start();
        api.inject({ ...stall, at: 'before-headers', times: 2 });
        const response = await post('/patient');
        expect(response.status).toBe(504);
        expect(await response.json()).toMatchObject({
          error: { type: 'timeout_error', details: { error_code: 'upstream_timeout' } },
        });
        expect(api.ledger.count({})).toBe(2);
        await until(() => isSettled(governor));
      });

      it.each(['/raw', '/helper'])('by an error event in mid-stream: %s', async (path) => {
        const { api, post } = await start();
        api.inject({ ...stall, afterEvents: 4 });
        const events = eventsOf(await (await post(path)).text());
        expect(events[0]?.event).toBe('message_start');
        expect(events.at(-1)).toMatchObject({
          event: 'error',
          data: { error: { type: 'timeout_error', details: { reason: 'upstream_stalled' } } },
        });
      });
    });

    describe('lets a route say', () => {
      const routes =
        (...routes: Omit<TestRoute, 'handle'>[]) =>
        ({ claude }: Governed) =>
          routes.map((route) => ({
            ...route,
            handle: async ({ json }: Io) => json(await claude.messages.create(ask())),
          }));

      it('its lane, before what the caller says', async () => {
        const { post, admissions } = await setUp({
          door: { caller: (user) => ({ user, lane: 'interactive' }) },
          routes: routes({ path: '/jobs', options: { lane: 'background' } }),
        });
        for (const path of ['/jobs', '/chat']) expect((await post(path, { user: 'ada' })).status).toBe(200);
        expect(
          admissions().map((attributes) => [
            attributes['user.id'],
            attributes['headgate.route'],
            attributes['headgate.lane'],
          ]),
        ).toEqual([
          ['ada', '/jobs', 'background'],
          ['ada', '/chat', 'interactive'],
        ]);
      });

      it('its ceiling on max_tokens, which can only lower the caller’s', async () => {
        const { post, api } = await setUp({
          door: { caller: (user) => ({ user, maxTokens: 150 }) },
          routes: routes(
            { path: '/low', options: { maxTokens: 60 } },
            { path: '/high', options: { maxTokens: 1_000 } },
          ),
        });
        for (const path of ['/low', '/high', '/chat']) expect((await post(path)).status).toBe(200);
        const asked = api.received.map(({ body }) => (body as { max_tokens: number }).max_tokens);
        expect(asked).toEqual([60, 150, 150]);
      });
    });

    describe('keeps the context', () => {
      it('after awaits, timers and body parsing, and in every turn of the tool runner', async () => {
        const { post, callers } = await setUp({
          door: { caller: (user) => ({ user, lane: 'background' }) },
          routes: ({ claude }) => [
            {
              path: '/awaits',
              handle: async ({ json }) => {
                await pause(2);
                await new Promise((resolve) => setImmediate(resolve));
                await claude.messages.create(ask());
                await Promise.all([claude.messages.create(ask()), claude.messages.create(ask())]);
                return json({});
              },
            },
            {
              path: '/tools',
              handle: async ({ json }) => {
                await claude.beta.messages.toolRunner({
                  ...ask('[use:weather] now'),
                  tools: [
                    {
                      name: 'weather',
                      description: 'weather',
                      input_schema: { type: 'object', properties: {} },
                      parse: (input: unknown) => input as Record<string, never>,
                      run: () => 'sunny',
                    },
                  ],
                });
                return json({});
              },
            },
          ],
        });
        const send = (path: string, user: string) =>
          post(path, {
            user,
            body: JSON.stringify({ text: 'x'.repeat(200_000) })
              .slice(0, 90_000)
              .concat('"}'),
            headers: { 'content-type': 'application/json' },
          });
        const responses = await Promise.all([
          send('/awaits', 'ada'),
          send('/tools', 'ben'),
          send('/awaits', 'cy'),
          send('/tools', 'dot'),
        ]);
        expect(responses.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
        const of = (user: string, path: string, times: number) =>
          Array.from({ length: times }, () => [user, 'background', path]);
        expect((await callers()).sort()).toEqual([
          ...of('ada', '/awaits', 3),
          ...of('ben', '/tools', 2),
          ...of('cy', '/awaits', 3),
          ...of('dot', '/tools', 2),
        ]);
      });

      it('in the callbacks of an upload, by governor.bind, with the trace', async () => {
        const { post, callers } = await setUp({
          routes: ({ claude, governor }) => [
            {
              path: '/upload',
              options: { lane: 'background' },
              handle: ({ request, key, json }) =>
                new Promise<void>((resolve, reject) => {
                  let bytes = 0;
                  request.on('data', (chunk: Buffer) => {
                    bytes += chunk.length;
                  });
                  request.on(
                    'end',
                    governor.bind(key, () => {
                      claude.messages.create(ask()).then(() => resolve(json({ bytes }) as never), reject);
                    }),
                  );
                }),
            },
          ],
        });
        const upload = (user: string) =>
          post('/upload', {
            user,
            body: new Uint8Array(300_000),
            headers: { 'content-type': 'application/octet-stream' },
          });
        const responses = await Promise.all(['ada', 'ben', 'cy'].map(upload));
        for (const response of responses) expect(await response.json()).toEqual({ bytes: 300_000 });
        expect((await callers()).sort()).toEqual(
          ['ada', 'ben', 'cy'].map((user) => [user, 'background', '/upload']),
        );
      });

      it('a queue in a hook that runs the requests of one in the context of another', async () => {
        const tasks: ((done: () => void) => void)[] = [];
        // Each task starts where the one before has ended.
        const work = (): void =>
          tasks[0]?.(() => {
            tasks.shift();
            work();
          });
        const handOver = (next: () => void) => {
          tasks.push((done) => {
            next();
            setImmediate(done);
          });
          if (tasks.length === 1) work();
        };
        const { post, governor, telemetry } = await setUp({
          api: { latency: { timeToFirstTokenMs: 1, tokensPerSecond: 100_000, flushMs: 1 } },
          handOver,
        });
        const users = ['ada', 'ben', 'cy'];
        for (let round = 0; round < 2; round++) {
          await Promise.all(users.map(async (user) => (await post('/chat', { user })).text()));
        }
        const admitted = telemetry.spans.spans.filter(({ name }) => name === 'headgate.admission');
        // Each in the trace of its own request.
        expect(new Set(admitted.map(({ traceId }) => traceId)).size).toBe(6);
        const { rows } = await governor.usage({ by: 'user' });
        expect(Object.fromEntries(rows.map(({ key, calls }) => [key, calls]))).toEqual({
          ada: 2,
          ben: 2,
          cy: 2,
        });
      });

      for (const unknownCaller of ['allow', 'refuse'] as const) {
        it(`or is seen to have lost it: unknownCaller: ${unknownCaller}`, async () => {
          // A queue of the app's own, worked off by a loop that no request has started.
          const jobs: (() => void)[] = [];
          const { post, telemetry } = await setUp({
            config: { unknownCaller },
            routes: ({ claude, governor }) => {
              const later = (key: object | undefined, { json }: Io) =>
                new Promise<void>((resolve, reject) => {
                  const job = () =>
                    void claude.messages
                      .create(ask())
                      .then(() => resolve(json({ ok: true }) as never), reject);
                  jobs.push(key === undefined ? job : governor.bind(key, job));
                });
              return [
                { path: '/lost', handle: (io) => later(undefined, io) },
                { path: '/bound', handle: (io) => later(io.key, io) },
              ];
            },
          });
          const loop = setInterval(() => jobs.shift()?.(), 2);
          try {
            expect((await post('/bound', { user: 'ada' })).status).toBe(200);
            await telemetry.collect();
            expect(telemetry.metrics.value('headgate.caller.unknown', {}) ?? 0).toBe(0);
            const lost = await post('/lost', { user: 'ada' });
            expect(lost.status).toBe(unknownCaller === 'allow' ? 200 : 500);
            await telemetry.collect();
            expect(telemetry.metrics.value('headgate.caller.unknown', {})).toBe(1);
          } finally {
            clearInterval(loop);
          }
        });
      }

      it('of the trace for the app too', async () => {
        const active: (string | undefined)[] = [];
        const { post, telemetry } = await setUp({
          routes: () => [
            {
              path: '/trace',
              handle: ({ json }) => {
                active.push(trace.getSpan(context.active())?.spanContext().traceId);
                return json({});
              },
            },
          ],
        });
        const response = await post('/trace', {
          body: '{}',
          headers: { 'content-type': 'application/json' },
        });
        await response.text();
        await until(() => telemetry.spans.spans.length === 1);
        expect(active).toEqual([telemetry.spans.spans[0]?.traceId]);
      });
    });

    it('says at the start what it means to have no `caller` function', async () => {
      const { governor, said } = await setUp({ door: {} });
      expect((governor as Governor).snapshot().warnings.map(({ code }) => code)).toContain('HG_NO_CALLER');
      expect(said.join()).toContain('everybody is `anonymous`');
    });
  });
}
