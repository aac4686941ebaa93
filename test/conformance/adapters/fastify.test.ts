import headgate from '@headgate/fastify';
import fastify from 'fastify';
import oldest from 'fastify-oldest';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ask, isSettled, startGoverned, until } from '../../support/governed.ts';
import { fastifyAdapter } from './fastify.ts';
import { testAdapter } from './suite.ts';

testAdapter(fastifyAdapter('Fastify 5', fastify));
testAdapter(fastifyAdapter('Fastify 5.0', oldest));

describe('handlerTimeout', () => {
  /** An API that answers after 0.7 s, behind routes that have 0.2 s. */
  async function setUp(config = {}) {
    const governed = await startGoverned({
      config: { account: [{ name: 'all', models: ['*'], concurrency: 1 }], ...config },
      api: { latency: { timeToFirstTokenMs: 700, tokensPerSecond: 1_000 } },
    });
    const { governor, claude } = governed;
    const app = fastify({ handlerTimeout: 200, forceCloseConnections: true });
    const failed: unknown[] = [];
    app.register(headgate, { governor, caller: () => ({ user: 'ada' }) });
    app.register(async (inner) => {
      const call = () =>
        claude.messages.create(ask()).catch((error: unknown) => {
          failed.push(error);
          throw error;
        });
      inner.get('/call', call);
      inner.post('/call', call);
      inner.get('/patient', { handlerTimeout: 5_000 }, call);
      inner.get('/late', async () => {
        await new Promise((resolve) => setTimeout(resolve, 250));
        return call();
      });
    });
    await app.listen({ port: 0, host: '127.0.0.1' });
    onTestFinished(() => app.close());
    const ended = () => governed.api.ledger.count({ disconnected: true });
    return { ...governed, failed, ended, url: app.listeningOrigin };
  }

  // Was: the 503 was sent, and the call went on and was paid for.
  it('ends the calls of the request that it answers: running, queued, and begun after it', async () => {
    const { url, governor, api, failed, ended } = await setUp();
    const responses = await Promise.all(['/call', '/call', '/late'].map((path) => fetch(`${url}${path}`)));
    expect(responses.map(({ status }) => status)).toEqual([503, 503, 503]);
    await until(() => isSettled(governor) && failed.length === 3);
    for (const error of failed) expect(error).toMatchObject({ code: 'aborted' });
    expect(api.received).toHaveLength(1);
    await until(() => ended() === 1);
  });

  it('leaves a call alone that is within the time of its own route', async () => {
    const { url, ended } = await setUp();
    expect((await fetch(`${url}/patient`)).status).toBe(200);
    expect(ended()).toBe(0);
  });

  // `request.signal` aborts when the body has been read, and Fastify's clock stops with it.
  it('does not end the call of a request whose body has been read', async () => {
    const { url, ended } = await setUp();
    const response = await fetch(`${url}/call`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"a":1}',
    });
    expect([response.status, ended()]).toEqual([200, 0]);
  });

  it('leaves the hang-up of a client what it is', async () => {
    const { url, governor, ended } = await setUp();
    const leaving = new AbortController();
    const left = fetch(`${url}/patient`, { signal: leaving.signal }).catch(() => 'left');
    await until(() => governor.snapshot().inFlight === 1);
    leaving.abort();
    expect(await left).toBe('left');
    await until(() => ended() === 1 && isSettled(governor));
  });
});
