import { findHeadgateError } from '@headgate/core';
import { describe, expect, it } from 'vitest';
import { ask, isSettled, startGoverned, until } from '../support/governed.ts';

const HEADERS = {
  'x-api-key': 'test-key',
  'anthropic-version': '2023-06-01',
  'content-type': 'application/json',
};
const post = (more: object = {}, init: RequestInit = {}): RequestInit => ({
  method: 'POST',
  body: JSON.stringify({ ...ask(), ...more }),
  ...init,
  headers: { ...HEADERS, ...(init.headers as object) },
});
const ADA_ONCE = { quotas: [{ name: 'q', when: { user: 'ada' }, requests: '1/day' }] };

describe('governor.fetch', () => {
  it('sends calls in the name of their scope, JSON and stream, and books what they used', async () => {
    const { governor, api } = await startGoverned();
    const fetch = governor.fetch();
    await governor.run({ user: 'ada' }, async () => {
      const answer = await fetch(`${api.url}/v1/messages`, post());
      expect(await answer.json()).toMatchObject({ type: 'message' });
      const stream = await fetch(new URL('/v1/messages', api.url), post({ stream: true }));
      expect(await stream.text()).toContain('event: message_stop');
    });
    await until(() => isSettled(governor));
    expect((await governor.usage({ by: 'user' })).rows).toMatchObject([{ key: 'ada', calls: 2 }]);
  });

  it('takes a Request, bytes, and what the caller of all its calls is', async () => {
    const { governor, api } = await startGoverned();
    const fetch = governor.fetch({ caller: { user: 'ben' } });
    const { body, ...rest } = post();
    const url = `${api.url}/v1/messages`;
    const answers = [
      await fetch(new Request(url, post())),
      await fetch(url, { ...rest, body: new TextEncoder().encode(String(body)) }),
    ];
    for (const answer of answers) expect(await answer.json()).toMatchObject({ usage: {} });
    await until(() => isSettled(governor));
    expect((await governor.usage({ by: 'user' })).rows).toMatchObject([{ key: 'ben', calls: 2 }]);
  });

  it('keeps to caps and routes, and sends on what it was given', async () => {
    const { governor, api } = await startGoverned({
      config: { caps: [{ maxTokens: 33 }], routes: [{ when: {}, model: 'claude-haiku-4-5' }] },
    });
    await (
      await governor.fetch()(`${api.url}/v1/messages?beta=true`, post({}, { headers: { 'x-own': 'kept' } }))
    ).json();
    const [{ body, headers, query } = {}] = api.received;
    expect(body).toMatchObject({ max_tokens: 33, model: 'claude-haiku-4-5' });
    expect([headers?.['x-own'], query]).toEqual(['kept', expect.stringContaining('beta=true')]);
  });

  it('throws a refusal, or answers with it as the API would', async () => {
    const { governor, api } = await startGoverned({ config: ADA_ONCE });
    const url = `${api.url}/v1/messages`;
    await governor.run({ user: 'ada' }, async () => {
      await (await governor.fetch()(url, post())).json();
      const error = await governor
        .fetch()(url, post())
        .catch((caught: unknown) => caught);
      expect(findHeadgateError(error)).toBe(error);
      expect(error).toMatchObject({ code: 'quota_exceeded' });
      const answer = await governor.fetch({ refusals: 'respond' })(url, post());
      expect([answer.status, answer.headers.get('x-should-retry')]).toEqual([429, 'false']);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
      expect(await answer.json()).toMatchObject({ type: 'error', error: { type: 'rate_limit_error' } });
    });
    expect(api.ledger.count({})).toBe(1);
  });

  it('retries as for a client of the SDK, and gives the last answer', async () => {
    const { governor, api } = await startGoverned({ config: { retries: { maxAttempts: 2 } } });
    const url = `${api.url}/v1/messages`;
    api.inject({ kind: 'status', status: 529 });
    expect((await governor.fetch()(url, post())).status).toBe(200);
    api.inject({ kind: 'status', status: 500, times: 9 });
    const last = await governor.fetch()(url, post());
    expect([last.status, api.received.length]).toEqual([500, 4]);
  });

  it('gives the AI SDK an error that it does not ask again for (it made 2 more rounds of all attempts)', async () => {
    const { governor, api } = await startGoverned({ config: { retries: { maxAttempts: 1 } } });
    const init = post({}, { headers: { 'user-agent': 'ai/6.0.326 ai-sdk/anthropic/3.0.140' } });
    for (const [status, isThrown] of [
      [529, true],
      [500, true],
      [400, false],
      [401, false],
    ] as const) {
      api.inject({ kind: 'status', status, message: 'no' });
      const end = await governor
        .run({ user: `user ${status}` }, () => governor.fetch()(`${api.url}/v1/messages`, init))
        .catch((caught: unknown) => caught);
      if (isThrown)
        expect(end).toMatchObject({ name: 'AI_APICallError', statusCode: status, isRetryable: false });
      else expect((end as Response).status).toBe(status);
    }
  });

  it('leaves alone what is no call of the API', async () => {
    const { governor, api } = await startGoverned({ config: ADA_ONCE });
    const seen: unknown[] = [];
    const fetch = governor.fetch({
      caller: { user: 'ada' },
      fetch: async (...args) => {
        seen.push(args);
        return new Response('as it is');
      },
    });
    const init = { method: 'PUT', body: 'x' };
    for (let i = 0; i < 3; i++)
      expect(await (await fetch('https://example.org/v1/other', init)).text()).toBe('as it is');
    expect(seen).toEqual(Array.from({ length: 3 }, () => ['https://example.org/v1/other', init]));
    expect(api.received).toEqual([]);
  });

  it('ends a call whose signal is aborted, and frees its slot', async () => {
    const { governor, api } = await startGoverned();
    api.inject({ kind: 'stall', at: 'before-headers', ms: 5_000 });
    const controller = new AbortController();
    const call = governor.fetch()(`${api.url}/v1/messages`, post({}, { signal: controller.signal }));
    await until(() => api.received.length === 1);
    controller.abort();
    await expect(call).rejects.toMatchObject({ name: 'AbortError' });
    await until(() => isSettled(governor));
  });

  it.each([
    [{ acount: 'x' }, /fetch\(\): unknown key "acount", did you mean "account"\?/],
    [{ account: 'nowhere' }, /no account "nowhere"/],
    [{ refusals: 'raise' }, /expected refusals to be throw or respond/],
    [{ fetch: {} }, /expected fetch to be a function/],
  ])('refuses %j', async (options, message) => {
    const { governor } = await startGoverned();
    expect(() => governor.fetch(options as never)).toThrow(message);
  });
});
