import type Anthropic from '@anthropic-ai/sdk';
import { describe, expect, test } from 'vitest';
import { failureOf, hello, stillBench } from './support.ts';

const book = (words: number) => 'The keeper opens the gate. '.repeat(words / 5);
const mark = (ttl?: '5m' | '1h') => ({
  cache_control: {
    type: 'ephemeral' as const,
    ...(ttl === undefined ? {} : { ttl }),
  },
});
const system = (text: string, ttl?: '5m' | '1h') => [{ type: 'text' as const, text, ...mark(ttl) }];

const total = (usage: Anthropic.Usage) =>
  usage.input_tokens + (usage.cache_creation_input_tokens ?? 0) + (usage.cache_read_input_tokens ?? 0);

describe('the prompt cache', () => {
  test('writes a prefix, reads it, and lets it go after five minutes', async () => {
    const { client, clock } = await stillBench();
    const ask = async () => (await client.messages.create(hello({ system: system(book(5_000)) }))).usage;
    const first = await ask();
    expect(first.cache_read_input_tokens).toBe(0);
    expect(first.cache_creation_input_tokens).toBeGreaterThan(4_000);
    expect(first.cache_creation).toEqual({
      ephemeral_5m_input_tokens: first.cache_creation_input_tokens,
      ephemeral_1h_input_tokens: 0,
    });
    await clock.advance(240_000);
    const second = await ask();
    expect(second.cache_read_input_tokens).toBe(first.cache_creation_input_tokens);
    expect(second.cache_creation_input_tokens).toBe(0);
    expect(second.input_tokens).toBe(first.input_tokens);
    // A read makes it live another five minutes.
    await clock.advance(240_000);
    expect((await ask()).cache_read_input_tokens).toBe(first.cache_creation_input_tokens);
    await clock.advance(300_001);
    expect((await ask()).cache_read_input_tokens).toBe(0);
    expect(total(second)).toBe(total(first));
  });

  test('an hour is an hour', async () => {
    const { client, clock } = await stillBench();
    const ask = async () =>
      (await client.messages.create(hello({ system: system(book(5_000), '1h') }))).usage;
    const first = await ask();
    expect(first.cache_creation?.ephemeral_1h_input_tokens).toBe(first.cache_creation_input_tokens);
    await clock.advance(3_500_000);
    expect((await ask()).cache_read_input_tokens).toBe(first.cache_creation_input_tokens);
  });

  test('a short prefix is silently not cached, another model has its own cache', async () => {
    const { client } = await stillBench();
    const ask = async (model: string, words: number) =>
      (await client.messages.create(hello({ model, system: system(book(words)) }))).usage;
    expect(await ask('claude-opus-5', 200)).toMatchObject({
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 0,
    });
    expect((await ask('claude-opus-5', 5_000)).cache_creation_input_tokens).toBeGreaterThan(0);
    expect((await ask('claude-sonnet-5', 5_000)).cache_read_input_tokens).toBe(0);
    expect((await ask('claude-opus-5', 5_000)).cache_read_input_tokens).toBeGreaterThan(0);
    // Long enough for Opus 5 here, too short for Haiku 4.5, which wants 4,096.
    expect((await ask('claude-haiku-4-5', 2_500)).cache_creation_input_tokens).toBe(0);
  });

  test('a growing conversation reads what it wrote and writes the rest', async () => {
    const { client } = await stillBench();
    const turn = (role: 'user' | 'assistant', words: number, isMarked = false) => ({
      role,
      content: [
        {
          type: 'text' as const,
          text: book(words),
          ...(isMarked ? mark() : {}),
        },
      ],
    });
    const one = await client.messages.create(hello({ messages: [turn('user', 4_000, true)] }));
    const two = await client.messages.create(
      hello({
        messages: [turn('user', 4_000), turn('assistant', 1_000), turn('user', 2_000, true)],
      }),
    );
    expect(two.usage.cache_read_input_tokens).toBe(one.usage.cache_creation_input_tokens);
    expect(two.usage.cache_creation_input_tokens).toBeGreaterThan(2_500);
  });

  test('top-level cache_control marks the last block', async () => {
    const { client } = await stillBench();
    const params = {
      ...hello({ messages: [{ role: 'user', content: book(5_000) }] }),
      ...mark(),
    };
    expect((await client.messages.create(params)).usage.cache_creation_input_tokens).toBeGreaterThan(4_000);
    expect((await client.messages.create(params)).usage.cache_read_input_tokens).toBeGreaterThan(4_000);
  });

  test('reads do not count against the input limit, unless the bucket says so', async () => {
    const limits = [
      {
        name: 'opus',
        models: ['*'],
        inputTokensPerMinute: 600_000,
        burstSeconds: 60,
      },
    ];
    for (const cacheReadsCount of [false, true]) {
      const { client, api } = await stillBench({
        limits: [{ ...limits[0]!, cacheReadsCount }],
        estimateError: 0,
      });
      const ask = async () => (await client.messages.create(hello({ system: system(book(5_000)) }))).usage;
      const first = await ask();
      expect(600_000 - (api.level('opus').inputTokens ?? 0)).toBeCloseTo(total(first));
      const second = await ask();
      const charged = cacheReadsCount ? total(second) : second.input_tokens;
      expect(600_000 - (api.level('opus').inputTokens ?? 0)).toBeCloseTo(total(first) + charged);
      expect(api.ledger.entries[1]).toMatchObject({
        inputTokens: charged,
        cacheRead: second.cache_read_input_tokens,
      });
    }
  });

  test('four breakpoints, and the long-lived ones first', async () => {
    const { client } = await stillBench();
    const blocks = (ttls: readonly ('5m' | '1h')[]) => ttls.flatMap((ttl) => system('x', ttl));
    await client.messages.create(hello({ system: blocks(['1h', '5m', '5m', '5m']) }));
    const five = client.messages.create(hello({ system: blocks(['5m', '5m', '5m', '5m', '5m']) }));
    expect(await failureOf(five)).toMatchObject({
      status: 400,
      apiMessage: expect.stringContaining('maximum of 4'),
    });
    const late = client.messages.create(hello({ system: blocks(['5m', '1h']) }));
    expect(await failureOf(late)).toMatchObject({ status: 400 });
  });
});
