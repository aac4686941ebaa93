import { connect } from 'node:net';
import type { Governor } from '@headgate/core';
import { headgate, headgateErrors } from '@headgate/express';
import express5, { type Request } from 'express';
import express4 from 'express-4';
import { describe, expect, it } from 'vitest';
import { ask, isSettled, pause, startGoverned, until } from '../support/governed.ts';
import { listen } from '../support/listen.ts';

const userOf = (req: Request) => {
  const user = req.headers['x-user'];
  if (user === 'boom') throw new Error('no session');
  return typeof user === 'string' ? { user } : {};
};

for (const [name, express] of [
  ['Express 5', express5],
  ['Express 4', express4],
] as const) {
  describe(name, () => {
    async function setUp(config = {}, api = {}) {
      const governed = await startGoverned({ config, api });
      const { governor, claude } = governed;
      const app = express();
      app.use(headgate(governor, { caller: userOf }));
      app.use(express.json());
      app.post(
        '/chat',
        headgate.handler(async (_req, res) => void res.json(await claude.messages.create(ask()))),
      );
      app.get(
        '/stream',
        headgate.handler(async (_req, res) => {
          res.setHeader('content-type', 'text/plain');
          for await (const event of claude.messages.stream(ask('x', { max_tokens: 4_000 })))
            res.write(`${event.type}\n`);
          res.end();
        }),
      );
      app.get('/after', (_req, res) => {
        res.json({ ok: true });
        void pause(30).then(() => claude.messages.create(ask()));
      });
      app.use(headgateErrors());
      app.use(
        ((error, _req, res, _next) =>
          void res.status(500).json({ message: error.message })) as express5.ErrorRequestHandler,
      );
      return { ...governed, url: await listen(app) };
    }

    it('answers, and knows the caller after the body parser', async () => {
      const { url, governor } = await setUp({ quotas: [{ name: 'q', requests: '1/day' }] });
      const post = (user: string) =>
        fetch(`${url}/chat`, {
          method: 'POST',
          headers: { 'x-user': user, 'content-type': 'application/json' },
          body: '{"a":1}',
        });
      expect((await post('ada')).status).toBe(200);
      expect((await post('ada')).status).toBe(429);
      expect((await post('ben')).status).toBe(200);
      expect(isSettled(governor)).toBe(true);
    });

    it('answers a refusal like the API, with Retry-After', async () => {
      const { url } = await setUp({ quotas: [{ name: 'q', requests: '2/minute', burst: 0.5 }] });
      const post = () => fetch(`${url}/chat`, { method: 'POST', headers: { 'x-user': 'ada' } });
      await post();
      const refused = await post();
      expect(refused.status).toBe(429);
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(25);
      expect(await refused.json()).toEqual({
        type: 'error',
        error: {
          type: 'rate_limit_error',
          message: 'quota "q" is used up',
          details: {
            error_code: 'headgate_quota_exceeded',
            reason: 'user_quota',
            lane: 'interactive',
            retry_after_ms: expect.any(Number),
          },
        },
        request_id: null,
      });
    });

    it('tells a caller how their own quotas stand, and nobody else’s', async () => {
      const { url } = await setUp({
        quotas: [
          { name: 'mine', requests: '10/minute', outputTokens: '1k/day' },
          { name: 'ours', per: 'all', requests: '99/day' },
          { name: 'hidden', requests: '5/day', shadow: true },
        ],
      });
      const post = () => fetch(`${url}/chat`, { method: 'POST', headers: { 'x-user': 'ada' } });
      const first = await post();
      expect(first.headers.get('ratelimit-policy')).toBe(
        '"mine";q=10;w=60, "mine-output-tokens";q=1000;w=86400;qu="output-tokens"',
      );
      expect(first.headers.get('ratelimit')).toMatch(/^"mine";r=9;t=6, "mine-output-tokens";r=\d+;t=\d+$/);
      const second = await post();
      expect(second.headers.get('ratelimit')).toMatch(/^"mine";r=8;t=12, /);
    });

    it('gives what `caller` throws, and what the API answers, to the app’s own error handler', async () => {
      const { url, api } = await setUp();
      const boom = await fetch(`${url}/chat`, { method: 'POST', headers: { 'x-user': 'boom' } });
      expect([boom.status, await boom.json()]).toEqual([500, { message: 'no session' }]);
      api.inject({ kind: 'status', status: 400, message: 'bad' });
      expect((await fetch(`${url}/chat`, { method: 'POST' })).status).toBe(500);
    });

    it('a client that hangs up ends its running stream', async () => {
      const { url, api, governor } = await setUp(
        {},
        { latency: { timeToFirstTokenMs: 10, tokensPerSecond: 100, flushMs: 10 }, output: () => 2_000 },
      );
      const hangUp = new AbortController();
      const response = await fetch(`${url}/stream`, { signal: hangUp.signal, headers: { 'x-user': 'ada' } });
      await response.body?.getReader().read();
      hangUp.abort();
      await until(() => api.ledger.count({ disconnected: true }) === 1, 1_000);
      await until(() => isSettled(governor));
    });

    it('a client that hangs up leaves the queue', async () => {
      const { url, api, governor } = await setUp({
        account: [{ name: 's', models: ['claude-sonnet-*'], concurrency: 1 }],
      });
      api.inject({ kind: 'stall', at: 'before-headers', ms: 500 });
      const first = fetch(`${url}/chat`, { method: 'POST' });
      await until(() => governor.snapshot().inFlight === 1);
      const { port } = new URL(url);
      const socket = connect(Number(port), '127.0.0.1');
      socket.on('error', () => {});
      socket.write('POST /chat HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n');
      await until(() => governor.snapshot().buckets[0]?.lanes.interactive?.queued === 1);
      socket.destroy();
      await until(() => governor.snapshot().buckets[0]?.lanes.interactive?.queued === 0);
      expect((await first).status).toBe(200);
      expect(api.ledger.count({})).toBe(1);
    });

    it('what goes on after a finished response is left alone', async () => {
      const { url, api } = await setUp();
      const response = await fetch(`${url}/after`, { headers: { connection: 'close' } });
      expect(await response.json()).toEqual({ ok: true });
      await until(() => api.ledger.count({ outcome: 'admitted' }) === 1);
      await until(() => (api.ledger.entries[0]?.endedAt ?? 0) > 0);
      expect(api.ledger.count({ disconnected: true })).toBe(0);
    });

    it('keeps requests apart on one connection, one after the other', async () => {
      const { url, governor } = await setUp({ quotas: [{ name: 'q', requests: '1/day' }] });
      const statuses: number[] = [];
      for (const user of ['a', 'b', 'a', 'c', 'b']) {
        statuses.push((await fetch(`${url}/chat`, { method: 'POST', headers: { 'x-user': user } })).status);
      }
      expect(statuses).toEqual([200, 200, 429, 200, 429]);
      expect(isSettled(governor)).toBe(true);
    });
  });
}

it('two governors in one app keep their own limits', async () => {
  const one = await startGoverned({ config: { quotas: [{ name: 'q', requests: '1/day' }] } });
  const two = await startGoverned();
  const app = express5();
  const use = (path: string, governor: Governor, claude: typeof one.claude) =>
    app.use(
      path,
      headgate(governor, { caller: userOf }),
      async (_req, res) => void res.json(await claude.messages.create(ask())),
    );
  use('/one', one.governor, one.claude);
  use('/two', two.governor, two.claude);
  app.use(headgateErrors());
  const url = await listen(app);
  const statuses: number[] = [];
  for (const path of ['one', 'two', 'one', 'two']) statuses.push((await fetch(`${url}/${path}`)).status);
  expect(statuses).toEqual([200, 200, 429, 200]);
});
