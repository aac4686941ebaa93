import { RateLimitError } from '@anthropic-ai/sdk';
import { manualClock } from '@headgate/testing';
import { describe, expect, test } from 'vitest';
import { bench, failureOf, hello, post, stillBench, until } from './support.ts';

const START = Date.parse('2026-01-01T00:00:00Z');

describe('requests per minute', () => {
  const limits = [
    {
      name: 'opus',
      models: ['claude-opus-5'],
      requestsPerMinute: 60,
      burstSeconds: 2,
    },
  ];

  test('retry-after is true: a second earlier fails, then it works', async () => {
    const { client, clock, api } = await stillBench({ limits });
    await client.messages.create(hello());
    await client.messages.create(hello());
    await clock.advance(250);
    const error = await failureOf(client.messages.create(hello()));
    if (!(error instanceof RateLimitError)) throw error;
    expect(error.type).toBe('rate_limit_error');
    expect(error.apiMessage).toContain('60 requests per minute');
    expect(error.errorCode).toBeNull();
    expect(error.headers.get('retry-after')).toBe('1');
    await clock.advance(700);
    await expect(client.messages.create(hello())).rejects.toThrow(RateLimitError);
    await clock.advance(50);
    await client.messages.create(hello());
    expect(api.ledger.count({ status: 429, refusedBy: 'requests' })).toBe(2);
    expect(api.ledger.totals('opus')).toMatchObject({
      attempts: 5,
      admitted: 3,
      refused: 2,
    });
  });

  test('a refusal can be made to cost a request', async () => {
    const { client, api } = await stillBench({ limits, refusedConsume: true });
    await client.messages.create(hello());
    await client.messages.create(hello());
    await failureOf(client.messages.create(hello()));
    expect(api.level('opus').requests).toBe(-1);
  });

  test('even a bucket of less than one request lets one go', async () => {
    const slow = [{ name: 'opus', models: ['*'], requestsPerMinute: 6, burstSeconds: 1 }];
    const { client, clock } = await stillBench({ limits: slow });
    await client.messages.create(hello());
    const error = await failureOf(client.messages.create(hello()));
    if (!(error instanceof RateLimitError)) throw error;
    expect(error.headers.get('retry-after')).toBe('10');
    await clock.advance(10_000);
    await client.messages.create(hello());
  });
});

describe('input tokens per minute', () => {
  const limits = [
    {
      name: 'opus',
      models: ['*'],
      inputTokensPerMinute: 60_000,
      burstSeconds: 6,
    },
  ];
  const prompt = (words: number) => hello({ messages: [{ role: 'user', content: 'gate '.repeat(words) }] });

  test('the estimate is charged on arrival, the true count from the first token', async () => {
    const latency = { timeToFirstTokenMs: 500, tokensPerSecond: 1_000 };
    const { client, clock, api } = await stillBench({
      limits,
      latency,
      output: () => 100,
    });
    const running = client.messages.create(prompt(2_000));
    await until(() => api.ledger.count({ outcome: 'admitted' }) === 1);
    const [entry] = api.ledger.entries;
    if (entry === undefined) throw new Error('no entry');
    expect(entry.estimatedInputTokens).not.toBe(entry.inputTokens);
    expect(api.level('opus').inputTokens).toBeCloseTo(6_000 - entry.estimatedInputTokens);
    await clock.advance(500);
    expect(api.level('opus').inputTokens).toBeCloseTo(6_000 - entry.inputTokens + 500);
    await clock.advance(100);
    const { usage } = await running;
    expect(usage.input_tokens).toBe(entry.inputTokens);
  });

  test('a prompt deeper than the bucket waits for a full one and leaves a debt', async () => {
    const { client, clock, api } = await stillBench({
      limits,
      estimateError: 0,
    });
    const { usage } = await client.messages.create(prompt(10_000));
    expect(usage.input_tokens).toBeGreaterThan(6_000);
    expect(api.level('opus').inputTokens).toBeCloseTo(6_000 - usage.input_tokens);
    const error = await failureOf(client.messages.create(prompt(10_000)));
    if (!(error instanceof RateLimitError)) throw error;
    expect(error.apiMessage).toContain('60,000 input tokens per minute');
    const seconds = Number(error.headers.get('retry-after'));
    expect(seconds).toBe(Math.ceil(usage.input_tokens / 1_000));
    await clock.advance(seconds * 1_000);
    await client.messages.create(prompt(10_000));
  });

  test('a prompt above the limit of a whole minute is refused, and no wait is promised', async () => {
    const { client } = await stillBench({ limits });
    const error = await failureOf(client.messages.create(prompt(80_000)));
    expect(error).toBeInstanceOf(RateLimitError);
    if (error instanceof RateLimitError) expect(error.headers.has('retry-after')).toBe(false);
  });

  test('all or nothing: a request that one dimension refuses takes nothing from the others', async () => {
    const tight = [
      {
        name: 'opus',
        models: ['*'],
        requestsPerMinute: 600,
        inputTokensPerMinute: 60_000,
      },
    ];
    const { client, api } = await stillBench({ limits: tight });
    api.drain('opus', 'inputTokens', 6_000);
    await failureOf(client.messages.create(hello()));
    expect(api.level('opus').requests).toBe(60);
  });
});

describe('output tokens per minute', () => {
  const latency = { timeToFirstTokenMs: 1_000, tokensPerSecond: 100 };
  const limits = [
    {
      name: 'opus',
      models: ['*'],
      outputTokensPerMinute: 600,
      burstSeconds: 6,
    },
  ];

  for (const stream of [true, false]) {
    test(`are charged as they are produced (${stream ? 'stream' : 'JSON'}), max_tokens is no reservation`, async () => {
      const { client, clock, api } = await stillBench({
        limits,
        latency,
        output: () => 200,
      });
      const running = stream
        ? client.messages.stream(hello({ max_tokens: 64_000 })).finalMessage()
        : client.messages.create(hello({ max_tokens: 20_000 }));
      await until(() => api.ledger.count({ outcome: 'admitted' }) === 1);
      expect(api.level('opus').outputTokens).toBe(60);
      await clock.advance(1_000);
      expect(api.level('opus').outputTokens).toBe(60);
      await clock.advance(500);
      // 50 produced, 5 refilled.
      expect(api.level('opus').outputTokens).toBeCloseTo(60 - 50 + 5);
      expect(api.ledger.entries[0]?.outputTokens).toBe(50);

      // The level goes below zero: the running call goes on, a new one is refused until after its end.
      await clock.advance(500);
      const error = await failureOf(client.messages.create(hello()));
      if (!(error instanceof RateLimitError)) throw error;
      expect(error.apiMessage).toContain('600 output tokens per minute');
      // In one more second it stands at 60 − 200 + 20 = −120, then refills at 10 per second: after 12 s it is
      // at zero, and more than zero is needed.
      expect(error.headers.get('retry-after')).toBe(String(1 + 12 + 1));
      await clock.advance(1_000);
      const message = await running;
      expect(message.usage.output_tokens).toBe(200);
      expect(api.level('opus').outputTokens).toBeCloseTo(-120);
      expect(api.ledger.entries[0]).toMatchObject({
        outputTokens: 200,
        firstTokenAt: 1_000,
        endedAt: 3_000,
      });
    });
  }

  test('reserve-max takes max_tokens at the start and gives the rest back at the end', async () => {
    const reserving = [
      {
        ...limits[0]!,
        outputTokensPerMinute: 6_000,
        burstSeconds: 60,
        outputCharging: 'reserve-max' as const,
      },
    ];
    const { client, clock, api } = await stillBench({
      limits: reserving,
      latency,
      output: () => 100,
    });
    api.drain('opus', 'outputTokens', 3_000);
    const running = client.messages.create(hello({ max_tokens: 2_000 }));
    await until(() => api.ledger.count({ outcome: 'admitted' }) === 1);
    expect(api.level('opus').outputTokens).toBe(1_000);
    const error = await failureOf(client.messages.create(hello({ max_tokens: 2_000 })));
    expect(error).toBeInstanceOf(RateLimitError);
    await clock.advance(2_000);
    await running;
    // 2 s of refill, and 1,900 back.
    expect(api.level('opus').outputTokens).toBeCloseTo(1_000 + 200 + 1_900);
  });

  test('utilization is what was charged over what could have been', async () => {
    const wide = [
      {
        name: 'opus',
        models: ['*'],
        requestsPerMinute: 60,
        outputTokensPerMinute: 6_000,
        burstSeconds: 6,
      },
    ];
    const { client, clock, api } = await stillBench({
      limits: wide,
      latency,
      output: () => 400,
    });
    const running = client.messages.create(hello());
    await until(() => api.ledger.count({ outcome: 'admitted' }) === 1);
    await clock.advance(5_000);
    await running;
    // From 2 s to 4 s: 200 of the 600 + 200 tokens that could have flowed.
    expect(api.ledger.utilization('opus', 2_000, 4_000).outputTokens).toBeCloseTo(200 / 800);
    expect(api.ledger.utilization('opus', 0, 4_000).requests).toBeCloseTo(1 / 10);
    expect(api.ledger.utilization('opus', 0, 4_000).inputTokens).toBeUndefined();
    expect(() => api.ledger.utilization('nope', 0, 1)).toThrow(RangeError);
  });
});

test('under a storm, no window of the ledger holds more than depth + rate × time', async () => {
  const limits = [{ name: 'opus', models: ['*'], requestsPerMinute: 1_200, burstSeconds: 1 }];
  const { api } = await bench({ limits });
  for (let wave = 0; wave < 8; wave += 1) {
    await Promise.all(Array.from({ length: 25 }, async () => (await post(api, hello())).arrayBuffer()));
  }
  const arrivals = api.ledger.entries.filter((entry) => entry.status === 200).map((entry) => entry.arrivedAt);
  expect(arrivals.length).toBeGreaterThanOrEqual(20);
  expect(api.ledger.totals()).toMatchObject({
    attempts: 200,
    admitted: arrivals.length,
    refused: 200 - arrivals.length,
  });
  for (const [from, first] of arrivals.entries()) {
    for (const [index, at] of arrivals.slice(from).entries()) {
      expect(index + 1).toBeLessThanOrEqual(20 + (at - first) / 50 + 1e-6);
    }
  }
});

describe('headers', () => {
  const limits = [
    {
      name: 'opus',
      models: ['*'],
      requestsPerMinute: 600,
      inputTokensPerMinute: 600_000,
      outputTokensPerMinute: 90_000,
    },
  ];

  test('on success and on refusal: per-minute limit, level, time of full replenishment', async () => {
    const { api, clock } = await stillBench({
      limits,
      output: () => 2_600,
      estimateError: 0,
    });
    api.drain('opus', 'inputTokens', 20_400);
    const ok = await post(api, hello({ max_tokens: 4_000 }));
    const input = api.ledger.entries[0]?.inputTokens ?? Number.NaN;
    expect(input).toBeLessThan(30);
    const headers = Object.fromEntries(
      [...ok.headers].filter(([name]) => name.startsWith('anthropic-ratelimit')),
    );
    expect(headers).toEqual({
      'anthropic-ratelimit-requests-limit': '600',
      'anthropic-ratelimit-requests-remaining': '59',
      'anthropic-ratelimit-requests-reset': '2026-01-01T00:00:01Z',
      'anthropic-ratelimit-input-tokens-limit': '600000',
      'anthropic-ratelimit-input-tokens-remaining': '40000',
      'anthropic-ratelimit-input-tokens-reset': '2026-01-01T00:00:03Z',
      'anthropic-ratelimit-output-tokens-limit': '90000',
      'anthropic-ratelimit-output-tokens-remaining': '6000',
      'anthropic-ratelimit-output-tokens-reset': '2026-01-01T00:00:02Z',
      'anthropic-ratelimit-tokens-limit': '690000',
      'anthropic-ratelimit-tokens-remaining': '46000',
      'anthropic-ratelimit-tokens-reset': '2026-01-01T00:00:03Z',
    });
    expect(ok.headers.get('date')).toBe('Thu, 01 Jan 2026 00:00:00 GMT');

    api.drain('opus', 'outputTokens', 12_000);
    await clock.advance(1);
    const refused = await post(api, hello());
    expect(refused.status).toBe(429);
    expect(refused.headers.get('anthropic-ratelimit-output-tokens-remaining')).toBe('0');
    expect(refused.headers.get('anthropic-ratelimit-requests-remaining')).toBe('59');
    const reset = Date.parse(refused.headers.get('anthropic-ratelimit-output-tokens-reset') ?? '');
    // 2,600 and 12,000 out of 9,000: 14,600 to refill at 1,500 per second.
    expect(reset).toBe(START + 10_000);
    const body: unknown = await refused.json();
    expect(body).toMatchObject({
      type: 'error',
      request_id: refused.headers.get('request-id'),
    });
  });

  test('a dimension without a limit has no headers', async () => {
    const { api } = await stillBench({
      limits: [{ name: 'opus', models: ['*'], requestsPerMinute: 600 }],
    });
    const { headers } = await post(api, hello());
    expect(headers.has('anthropic-ratelimit-requests-limit')).toBe(true);
    expect(headers.has('anthropic-ratelimit-tokens-limit')).toBe(false);
    expect(headers.has('anthropic-ratelimit-output-tokens-remaining')).toBe(false);
  });
});

test('with turns enough, calls that timers make arrive at the time of the timer', async () => {
  const clock = manualClock(START, { turns: 12 });
  const { api, client } = await bench({
    clock,
    latency: { timeToFirstTokenMs: 30, tokensPerSecond: 1_000 },
    output: () => 20,
  });
  const answered: number[] = [];
  for (let round = 1; round <= 10; round += 1) {
    clock.after(round * 100, async () => {
      await (round % 2 === 0
        ? client.messages.create(hello())
        : client.messages.stream(hello()).finalMessage());
      answered.push(clock.now());
    });
    clock.after(round * 100 + 1, () => undefined);
    clock.after(round * 100 + 51, () => undefined);
  }
  await clock.advance(2_000);
  const hundreds = Array.from({ length: 10 }, (_, index) => (index + 1) * 100);
  expect(api.ledger.entries.map((entry) => entry.arrivedAt)).toEqual(hundreds);
  expect(answered).toEqual(hundreds.map((at) => at + 50));
});

describe('buckets', () => {
  test('Opus 4.x shares one, Haiku has its own, count_tokens too', async () => {
    const { client, api } = await stillBench();
    await client.messages.create(hello({ model: 'claude-opus-4-6' }));
    await client.messages.create(hello({ model: 'claude-opus-4-8' }));
    await client.messages.create(hello({ model: 'claude-haiku-4-5' }));
    await client.messages.countTokens({
      model: 'claude-opus-4-8',
      messages: hello().messages,
    });
    expect(api.level('opus-4').requests).toBe(998);
    expect(api.level('haiku-4-5').requests).toBe(999);
    expect(api.level('token_count').requests).toBe(399);
    expect(() => api.level('gpt')).toThrow(/Unknown bucket "gpt"/);
  });

  test('a change of tier is enforced at once and shows in the next headers', async () => {
    const { client, api } = await stillBench();
    api.setLimits('opus-5', { requestsPerMinute: 10 });
    const { response } = await client.messages.create(hello()).withResponse();
    expect(response.headers.get('anthropic-ratelimit-requests-limit')).toBe('10');
    await expect(client.messages.create(hello())).rejects.toThrow(RateLimitError);
    api.reset();
    expect(api.ledger.entries).toEqual([]);
    expect(api.received).toEqual([]);
    await client.messages.create(hello());
  });

  test('more than the capacity in flight is an overload', async () => {
    const latency = { timeToFirstTokenMs: 100, tokensPerSecond: 1_000 };
    const { client, clock, api } = await stillBench({ capacity: 1, latency });
    const first = client.messages.create(hello());
    await until(() => api.ledger.count({ outcome: 'admitted' }) === 1);
    expect(await failureOf(client.messages.create(hello()))).toMatchObject({
      status: 529,
      type: 'overloaded_error',
    });
    await clock.advance(10_000);
    await first;
  });
});
