import Anthropic, { type Anthropic as Client } from '@anthropic-ai/sdk';
import type { Fault } from '@headgate/testing';
import { describe, expect, test } from 'vitest';
import { bench, failureOf, hello, post, stillBench, until } from './support.ts';

describe('status', () => {
  test.each([
    [400, Anthropic.BadRequestError, 'invalid_request_error'],
    [401, Anthropic.AuthenticationError, 'authentication_error'],
    [402, Anthropic.PaymentRequiredError, 'billing_error'],
    [403, Anthropic.PermissionDeniedError, 'permission_error'],
    [404, Anthropic.NotFoundError, 'not_found_error'],
    [408, Anthropic.APIError, 'timeout_error'],
    [409, Anthropic.ConflictError, 'conflict_error'],
    [413, Anthropic.APIError, 'request_too_large'],
    [422, Anthropic.UnprocessableEntityError, 'invalid_request_error'],
    [429, Anthropic.RateLimitError, 'rate_limit_error'],
    [500, Anthropic.InternalServerError, 'api_error'],
    [503, Anthropic.InternalServerError, 'api_error'],
    [504, Anthropic.InternalServerError, 'timeout_error'],
    [529, Anthropic.InternalServerError, 'overloaded_error'],
  ])('%i', async (status, type, name) => {
    const { client, api } = await bench();
    api.inject({ kind: 'status', status, message: 'As ordered' });
    const error = await failureOf(client.messages.create(hello()));
    expect(error).toBeInstanceOf(type);
    expect(error).toMatchObject({
      status,
      type: name,
      apiMessage: 'As ordered',
      errorCode: null,
    });
    expect(api.ledger.count({ status, outcome: 'fault' })).toBe(1);
    expect(api.level('opus-5').requests).toBe(1_000);
    await client.messages.create(hello());
  });

  test.each(['enforced_spend_limit_reached', 'contract_spend_limit_reached', 'ramp_limit_exceeded'])(
    '429 with %s',
    async (errorCode) => {
      const { client, api } = await bench();
      api.inject({ kind: 'status', status: 429, errorCode });
      const error = await failureOf(client.messages.create(hello()));
      expect(error).toMatchObject({
        status: 429,
        errorCode,
        details: { error_code: errorCode },
      });
      if (!(error instanceof Anthropic.RateLimitError)) throw error;
      expect(error.headers.has('retry-after')).toBe(false);
      expect(error.headers.has('anthropic-ratelimit-requests-remaining')).toBe(true);
      expect(api.ledger.count({ errorCode })).toBe(1);
    },
  );

  test.each(['7', '0', '-1', '86400000', 'Thu, 01 Jan 2026 00:00:30 GMT'])(
    'retry-after: %s',
    async (value) => {
      const { api } = await bench();
      api.inject({
        kind: 'status',
        status: 429,
        headers: { 'retry-after': value, 'x-should-retry': 'false' },
      });
      const { headers } = await post(api, hello());
      expect(headers.get('retry-after')).toBe(value);
      expect(headers.get('x-should-retry')).toBe('false');
    },
  );

  test.each([
    ['html', 'text/html', /^<html>/],
    ['empty', 'text/plain', /^$/],
    ['upstream connect error', 'text/plain', /^upstream connect error$/],
    [{ odd: true }, 'application/json', /^\{"odd":true\}$/],
  ])('502 with a body of %o', async (body, contentType, text) => {
    const { api, client } = await bench();
    api.inject({ kind: 'status', status: 502, body, times: 2 });
    const response = await post(api, hello());
    expect(response.headers.get('content-type')).toBe(contentType);
    expect(await response.text()).toMatch(text);
    expect(await failureOf(client.messages.create(hello()))).toBeInstanceOf(Anthropic.InternalServerError);
  });

  test('the SDK itself retries by them', async () => {
    const { api, client } = await bench();
    api.inject({
      kind: 'status',
      status: 529,
      headers: { 'retry-after-ms': '1' },
      times: 2,
    });
    await client.messages.create(hello(), { maxRetries: 2 });
    expect(api.received.map((request) => request.headers['x-stainless-retry-count'])).toEqual([
      '0',
      '1',
      '2',
    ]);
  });
});

describe('which requests', () => {
  test('as many times as told, until it is removed, and where told', async () => {
    const { api, client } = await bench();
    const remove = api.inject({
      kind: 'overload',
      times: Number.POSITIVE_INFINITY,
      path: '*',
    });
    for (let round = 0; round < 3; round += 1) {
      expect(await failureOf(client.messages.create(hello()))).toMatchObject({
        status: 529,
      });
    }
    expect(await failureOf(client.models.list())).toMatchObject({
      status: 529,
    });
    remove();
    await client.messages.create(hello());
    await client.models.list();
  });

  test('by predicate, and by chance', async () => {
    const { api, client } = await bench({ seed: 3 });
    const isRetry = (request: { headers: Readonly<Record<string, string>> }) =>
      request.headers['x-stainless-retry-count'] !== '0';
    api.inject({ kind: 'status', status: 500, when: isRetry });
    await client.messages.create(hello());
    api.reset();
    api.inject({
      kind: 'status',
      status: 500,
      probability: 0.5,
      times: Number.POSITIVE_INFINITY,
    });
    const outcomes = [];
    for (let round = 0; round < 40; round += 1) {
      outcomes.push(
        await client.messages.create(hello()).then(
          () => 1,
          () => 0,
        ),
      );
    }
    const successes = outcomes.filter((outcome) => outcome === 1).length;
    expect(successes).toBeGreaterThan(8);
    expect(successes).toBeLessThan(32);
  });

  test('one ends the request, the next waits for the next', async () => {
    const { api, client } = await bench();
    api.inject({ kind: 'status', status: 500 });
    api.inject({ kind: 'status', status: 503 });
    expect(await failureOf(client.messages.create(hello()))).toMatchObject({
      status: 500,
    });
    expect(await failureOf(client.messages.create(hello()))).toMatchObject({
      status: 503,
    });
    await client.messages.create(hello());
  });
});

/** Reads a stream to its end, and says what came and how it ended. */
async function read(client: Client): Promise<{ events: string[]; error: unknown }> {
  const events: string[] = [];
  try {
    for await (const event of await client.messages.create({
      ...hello(),
      stream: true,
    }))
      events.push(event.type);
  } catch (error) {
    return { events, error };
  }
  return { events, error: undefined };
}

describe('streams and connections', () => {
  const output = () => 40;

  test.each<[string, Fault]>([
    ['before the headers', { kind: 'reset', at: 'before-headers' }],
    ['in the middle', { kind: 'reset', at: 'mid-stream' }],
    ['after the headers', { kind: 'reset', at: 'after-headers' }],
  ])('reset %s', async (_, fault) => {
    const { api, client } = await bench({ output });
    api.inject({ ...fault, times: 2 });
    expect((await read(client)).error).toBeInstanceOf(Error);
    expect(await failureOf(client.messages.create(hello()))).toBeInstanceOf(Error);
    expect(api.ledger.count({ outcome: 'fault', disconnected: false })).toBe(2);
    await client.messages.create(hello());
  });

  test('events before a reset in the middle arrive', async () => {
    const { api, client } = await bench({ output });
    api.inject({ kind: 'reset', at: 'mid-stream', afterEvents: 2 });
    const { events, error } = await read(client);
    expect(error).toBeDefined();
    expect(events).toEqual(['message_start', 'content_block_start']);
  });

  test('an error after HTTP 200 has a type and no status', async () => {
    const { api, client } = await bench({ output });
    api.inject({
      kind: 'stream-error',
      type: 'overloaded_error',
      message: 'Overloaded',
      afterEvents: 4,
    });
    const { events, error } = await read(client);
    expect(events).toEqual(['message_start', 'content_block_start', 'content_block_delta']);
    expect(error).toBeInstanceOf(Anthropic.APIError);
    expect(error).toMatchObject({
      status: undefined,
      type: 'overloaded_error',
      apiMessage: 'Overloaded',
    });
    expect(
      api.ledger.count({
        outcome: 'fault',
        status: 200,
        errorType: 'overloaded_error',
      }),
    ).toBe(1);
    api.inject({ kind: 'stream-error', type: 'overloaded_error' });
    expect(await failureOf(client.messages.create(hello()))).toMatchObject({
      status: 529,
    });
  });

  test('a truncated stream ends without message_stop', async () => {
    const { api, client } = await bench({ output });
    api.inject({ kind: 'truncate', afterEvents: 5 });
    const { events, error } = await read(client);
    expect(error).toBeUndefined();
    expect(events.at(-1)).not.toBe('message_stop');
    expect(events).toHaveLength(4);
    api.inject({ kind: 'truncate', afterEvents: 5 });
    await expect(client.messages.stream(hello()).finalMessage()).rejects.toThrow();
  });

  test('what a fault cuts off is not charged', async () => {
    const latency = { timeToFirstTokenMs: 100, tokensPerSecond: 100 };
    const limits = [
      {
        name: 'opus',
        models: ['*'],
        outputTokensPerMinute: 3_000,
        burstSeconds: 60,
      },
    ];
    const { api, client, clock } = await stillBench({
      output: () => 500,
      latency,
      limits,
    });
    api.inject({ kind: 'truncate', afterEvents: 12 });
    const reading = read(client);
    await until(() => api.ledger.entries.length === 1);
    await clock.advance(1_500);
    await reading;
    const [entry] = api.ledger.entries;
    expect(entry?.outputTokens).toBeGreaterThan(50);
    expect(entry?.outputTokens).toBeLessThan(200);
    expect(entry?.endedAt).toBeLessThan(1_200);
    // 100 per second out and 50 in while it lasted, then only in.
    const [from = 0, to = 0] = [entry?.firstTokenAt, entry?.endedAt];
    expect(api.level('opus').outputTokens).toBeCloseTo(3_000 - (to - from) / 20 + (1_500 - to) / 20, 3);
  });

  test('a stall keeps silent for its time, before the headers and in the middle', async () => {
    const { api, client, clock } = await stillBench({ output });
    api.inject({ kind: 'stall', at: 'before-headers', ms: 5_000 });
    api.inject({ kind: 'stall', at: 'mid-stream', ms: 7_000, afterEvents: 3 });
    let isDone = false;
    const reading = read(client).finally(() => {
      isDone = true;
    });
    await until(() => api.received.length === 1);
    await until(() => api.ledger.count({ outcome: 'admitted' }) === 1);
    await clock.advance(4_999);
    expect(clock.pending()).toBe(1);
    await clock.advance(1);
    await until(() => clock.pending() === 1);
    await clock.advance(6_900);
    expect(isDone).toBe(false);
    await clock.advance(100);
    expect((await reading).events.at(-1)).toBe('message_stop');
  });
});

describe('headers', () => {
  test('set, removed, made senseless, or old', async () => {
    const { api } = await bench();
    const read = async () => (await post(api, hello())).headers;
    const first = await read();
    api.inject({
      kind: 'headers',
      remove: ['anthropic-ratelimit-*-reset'],
      set: { 'anthropic-workspace-id': 'wrk_1' },
    });
    const cut = await read();
    expect(cut.has('anthropic-ratelimit-requests-reset')).toBe(false);
    expect(cut.has('anthropic-ratelimit-requests-limit')).toBe(true);
    expect(cut.get('anthropic-workspace-id')).toBe('wrk_1');
    api.inject({ kind: 'headers', mangle: 'nonsense' });
    expect(Number((await read()).get('anthropic-ratelimit-requests-remaining'))).not.toBeGreaterThan(0);
    api.drain('opus-5', 'requests', 500);
    api.inject({ kind: 'headers', mangle: 'stale' });
    expect((await read()).get('anthropic-ratelimit-requests-remaining')).toBe(
      first.get('anthropic-ratelimit-requests-remaining'),
    );
    expect(Number((await read()).get('anthropic-ratelimit-requests-remaining'))).toBeLessThan(600);
  });
});
