import type Anthropic from '@anthropic-ai/sdk';
import { AuthenticationError, BadRequestError, ContentTooLargeError, NotFoundError } from '@anthropic-ai/sdk';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';
import OldestAnthropic from 'anthropic-sdk-oldest';
import { describe, expect, test } from 'vitest';
import { bench, clientOf, failureOf, HEADERS, hello, MODEL, post } from './support.ts';

const weather = {
  name: 'weather',
  description: 'The weather at a place',
  input_schema: {
    type: 'object' as const,
    properties: { city: { type: 'string' as const } },
    required: ['city'],
  },
};

describe('messages', () => {
  test('a message has every field, and its usage is what the ledger says', async () => {
    const { client, api } = await bench({ output: () => 50 });
    const message = await client.messages.create(hello({ metadata: { user_id: 'ada' } }));
    expect(message).toMatchObject({
      type: 'message',
      role: 'assistant',
      model: MODEL,
      stop_reason: 'end_turn',
      stop_sequence: null,
      stop_details: null,
      container: null,
      usage: {
        output_tokens: 50,
        cache_read_input_tokens: 0,
        server_tool_use: null,
        service_tier: 'standard',
      },
    });
    expect(message.content).toHaveLength(1);
    expect(api.ledger.entries).toHaveLength(1);
    expect(api.ledger.entries[0]).toMatchObject({
      inputTokens: message.usage.input_tokens,
      outputTokens: 50,
      userId: 'ada',
      bucket: 'opus-5',
      outcome: 'admitted',
      requestId: message._request_id,
    });
  });

  test('on the real clock too, usage and ledger agree to the token', async () => {
    const { client, api } = await bench({
      latency: { timeToFirstTokenMs: 3, tokensPerSecond: 7_000, flushMs: 2 },
    });
    const usages = await Promise.all(
      Array.from({ length: 60 }, async (_, index) => {
        const params = hello({ messages: [{ role: 'user', content: `Question ${index}` }] });
        const { data, request_id } = await client.messages.create(params).withResponse();
        return { requestId: request_id, outputTokens: data.usage.output_tokens };
      }),
    );
    const known = new Map(api.ledger.entries.map((entry) => [entry.requestId, entry.outputTokens]));
    for (const { requestId, outputTokens } of usages) expect(known.get(requestId ?? '')).toBe(outputTokens);
    expect(api.ledger.count({ disconnected: true })).toBe(0);
  });

  test('max_tokens cuts the answer', async () => {
    const { client } = await bench({ output: () => 500 });
    const message = await client.messages.create(hello({ max_tokens: 20 }));
    expect(message.stop_reason).toBe('max_tokens');
    expect(message.usage.output_tokens).toBe(20);
  });

  test('the same seed writes the same lengths, whatever the order; another seed others', async () => {
    const prompts = Array.from({ length: 6 }, (_, index) => `Question ${index}`);
    const lengths = async (seed: number, order: readonly string[]) => {
      const { client } = await bench({ seed });
      const found = new Map<string, number>();
      for (const content of order) {
        const message = await client.messages.create(hello({ messages: [{ role: 'user', content }] }));
        found.set(content, message.usage.output_tokens);
      }
      return prompts.map((prompt) => found.get(prompt));
    };
    const one = await lengths(7, prompts);
    expect(await lengths(7, prompts.toReversed())).toEqual(one);
    expect(await lengths(8, prompts)).not.toEqual(one);
    expect(new Set(one).size).toBeGreaterThan(3);
  });

  test('a MessageStream assembles what the JSON answer would have been', async () => {
    const { client } = await bench({ output: () => 120 });
    const params = hello({
      model: 'claude-haiku-4-5',
      thinking: { type: 'enabled', budget_tokens: 1_024 },
      max_tokens: 4_000,
    });
    const stream = client.messages.stream(params);
    const kinds: string[] = [];
    stream.on('streamEvent', (event) => kinds.push(event.type));
    const streamed = await stream.finalMessage();
    const whole = await client.messages.create(params);
    expect(streamed.content.map((block) => ('text' in block ? block.text : block.type))).toEqual(
      whole.content.map((block) => ('text' in block ? block.text : block.type)),
    );
    expect(streamed.usage).toEqual(whole.usage);
    expect(streamed.usage.output_tokens_details).toEqual({
      thinking_tokens: 36,
    });
    expect(streamed.content.map((block) => block.type)).toEqual(['thinking', 'text']);
    expect(kinds[0]).toBe('message_start');
    expect(kinds.slice(-2)).toEqual(['message_delta', 'message_stop']);
  });

  test('thinking whose display is omitted is billed and not shown', async () => {
    const { client } = await bench({
      output: () => ({ tokens: 100, thinkingTokens: 60 }),
    });
    const thinking = { type: 'adaptive' as const, display: 'omitted' as const };
    const message = await client.messages.stream(hello({ thinking })).finalMessage();
    expect(message.content[0]).toMatchObject({
      type: 'thinking',
      thinking: '',
      signature: expect.stringMatching(/^sig_/),
    });
    expect(message.usage.output_tokens).toBe(100);
  });

  test('the text of a plan arrives whole, with characters of every length', async () => {
    const text = 'Straße 水 👩‍🚀 done';
    const { client } = await bench({ output: () => ({ text }) });
    const streamed = await client.messages.stream(hello()).finalText();
    expect(streamed).toBe(text);
  });

  test('structured output fits its schema', async () => {
    const { client } = await bench();
    const schema = {
      type: 'object',
      properties: {
        name: { type: 'string' },
        age: { type: 'integer' },
        kind: { enum: ['a', 'b'] },
      },
      required: ['name', 'age', 'kind'],
      additionalProperties: false,
    };
    const message = await client.messages.create(
      hello({ output_config: { format: { type: 'json_schema', schema } } }),
    );
    const [block] = message.content;
    if (block?.type !== 'text') throw new Error('no text');
    expect(JSON.parse(block.text)).toEqual({
      name: expect.any(String),
      age: expect.any(Number),
      kind: 'a',
    });
  });
});

test('the oldest SDK with a middleware option is understood too', async () => {
  const { api } = await bench({ output: () => 30 });
  const client = new OldestAnthropic({
    apiKey: 'k',
    baseURL: api.url,
    maxRetries: 0,
  });
  const params = {
    model: MODEL,
    max_tokens: 100,
    messages: [{ role: 'user' as const, content: 'Hello' }],
  };
  const message = await client.messages.create({ ...params, temperature: 0.5 });
  expect(message.usage.output_tokens).toBe(30);
  const streamed = await client.messages.stream(params).finalMessage();
  expect(streamed.usage.output_tokens).toBe(30);
  expect(api.received[0]?.headers).toMatchObject({
    'x-api-key': 'k',
    'anthropic-version': '2023-06-01',
  });
});

test('a callback that throws answers 500 and warns', async () => {
  const { client } = await bench({
    output: () => {
      throw new Error('no idea');
    },
  });
  const warned = new Promise<Error>((resolve) => process.once('warning', resolve));
  const error = await failureOf(client.messages.create(hello()));
  expect(error).toMatchObject({
    status: 500,
    apiMessage: 'The test API failed: no idea',
  });
  expect((await warned).message).toBe('no idea');
});

describe('tools', () => {
  test('toolRunner goes through call, result and answer', async () => {
    const { client, api } = await bench({ output: () => 30 });
    const cities: unknown[] = [];
    const tool = betaTool({
      name: 'weather',
      description: 'The weather at a place',
      inputSchema: weather.input_schema,
      run: ({ city }) => {
        cities.push(city);
        return 'Clear';
      },
    });
    const final = await client.beta.messages.toolRunner({
      model: MODEL,
      max_tokens: 1_000,
      messages: [
        {
          role: 'user',
          content: 'What is it like? [use:weather {"city":"Ulm"}]',
        },
      ],
      tools: [tool],
    });
    expect(cities).toEqual(['Ulm']);
    expect(final.stop_reason).toBe('end_turn');
    expect(api.received.map((request) => request.path)).toEqual(['/v1/messages', '/v1/messages']);
  });

  test('a forced choice calls its tool, with an input made from the schema', async () => {
    const { client } = await bench();
    const params = hello({
      tools: [weather],
      tool_choice: { type: 'tool', name: 'weather' },
    });
    const streamed = await client.messages.stream(params).finalMessage();
    expect(streamed.stop_reason).toBe('tool_use');
    expect(streamed.content.at(-1)).toMatchObject({
      type: 'tool_use',
      name: 'weather',
      input: { city: 'Zürich 🌤' },
    });
    const any = await client.messages.create({
      ...params,
      tool_choice: { type: 'any' },
    });
    expect(any.content.at(-1)).toMatchObject({
      type: 'tool_use',
      input: { city: 'Zürich 🌤' },
    });
  });

  test('tools cost input, more of it when forced', async () => {
    const { client } = await bench();
    const input = async (over: object) =>
      (await client.messages.create(hello({ model: 'claude-sonnet-5', ...over }))).usage.input_tokens;
    const plain = await input({});
    const auto = await input({ tools: [weather] });
    expect(auto - plain).toBeGreaterThan(354);
    expect(await input({ tools: [weather], tool_choice: { type: 'any' } })).toBe(auto + 120);
  });
});

describe('catalogue', () => {
  test('models come in pages and one by one', async () => {
    const { client } = await bench();
    const all: Anthropic.ModelInfo[] = [];
    for await (const model of client.models.list({ limit: 4 })) all.push(model);
    expect(new Set(all.map((model) => model.id)).size).toBe(all.length);
    expect(all.length).toBeGreaterThan(10);
    const page = await client.models.list({ limit: 4 });
    expect(page.has_more).toBe(true);
    expect(page.last_id).toBe(page.data.at(-1)?.id);
    const haiku = await client.models.retrieve('claude-haiku-4-5');
    expect(haiku).toMatchObject({
      id: 'claude-haiku-4-5-20251001',
      max_tokens: 64_000,
      max_input_tokens: 200_000,
    });
    expect(haiku.lifecycle).toBe('active');
    await expect(client.models.retrieve('claude-2')).rejects.toThrow(NotFoundError);
  });

  test('rate limits are listed as they are, each model in the bucket that it draws on', async () => {
    const { client, api } = await bench();
    api.setLimits('opus-4', { requestsPerMinute: 77 });
    const all = [];
    for await (const entry of client.organization.rateLimits.list({ limit: 3 })) all.push(entry);
    const opus = all.find((entry) => entry.models?.includes('claude-opus-4-6'));
    expect(opus?.limits[0]).toEqual({ type: 'requests_per_minute', value: 77 });
    expect(opus?.models).toContain('claude-opus-4-5');
    const models = all.flatMap((entry) => entry.models ?? []);
    expect(new Set(models).size).toBe(models.length);
    expect(all.map((entry) => entry.group.type)).toContain('token_count');
  });

  test('count_tokens agrees with the usage', async () => {
    const { client, api } = await bench();
    const message = await client.messages.create(hello());
    const count = await client.messages.countTokens({
      model: MODEL,
      messages: hello().messages,
    });
    expect(count.input_tokens).toBe(message.usage.input_tokens);
    expect(api.level('opus-5').requests).toBeGreaterThan(998.9);
  });

  test('?beta=true is the same path', async () => {
    const { api } = await bench();
    const init = {
      method: 'POST',
      headers: HEADERS,
      body: JSON.stringify(hello()),
    };
    expect((await fetch(`${api.url}/v1/messages?beta=true`, init)).status).toBe(200);
    expect(api.received[0]).toMatchObject({
      path: '/v1/messages',
      query: 'beta=true',
    });
  });

  test('what is not there yet is 404', async () => {
    const { client } = await bench();
    await expect(client.get('/v1/files')).rejects.toThrow(NotFoundError);
  });
});

describe('access and validation', () => {
  test('a key is needed, in either header; the right one if there is a list', async () => {
    const { api } = await bench({ keys: ['right'] });
    const { authorization: _, ...rest } = HEADERS;
    const statuses = await Promise.all([
      post(api, hello(), rest),
      post(api, hello(), { ...rest, authorization: 'Bearer wrong' }),
      post(api, hello(), { ...rest, authorization: 'Bearer right' }),
      post(api, hello(), { ...rest, 'x-api-key': 'right' }),
    ]);
    expect(statuses.map((response) => response.status)).toEqual([401, 401, 200, 200]);
    await expect(clientOf(api).messages.create(hello())).rejects.toThrow(AuthenticationError);
  });

  test('the version is needed, and the newest refuses sampling parameters', async () => {
    const { api, client } = await bench();
    const { 'anthropic-version': _, ...rest } = HEADERS;
    expect((await post(api, hello(), rest)).status).toBe(400);
    expect((await post(api, hello(), { ...rest, 'anthropic-version': '1999-01-01' })).status).toBe(400);
    // The SDK's types have dropped it; what is on the wire is what counts.
    const warm = Object.assign(hello(), { temperature: 1 });
    expect((await post(api, warm, { ...rest, 'anthropic-version': '2023-06-01' })).status).toBe(200);
    const error = await failureOf(client.messages.create(warm));
    expect(error).toMatchObject({
      status: 400,
      apiMessage: 'temperature: Extra inputs are not permitted',
    });
  });

  test.each([
    ['not json', '{"model":', 400, /JSON/],
    ['no model', { max_tokens: 1, messages: hello().messages }, 400, /^model: Field required$/],
    ['no messages', { model: MODEL, max_tokens: 1 }, 400, /^messages: Field required$/],
    ['empty messages', { ...hello(), messages: [] }, 400, /at least one message/],
    ['no max_tokens', { model: MODEL, messages: hello().messages }, 400, /^max_tokens: Field required$/],
    ['zero max_tokens', hello({ max_tokens: 0 }), 400, /greater than or equal to 1/],
    ['too many max_tokens', hello({ max_tokens: 128_001 }), 400, /128001 > 128000/],
    ['unknown model', hello({ model: 'claude-1' }), 404, /model: claude-1/],
    ['retired model', hello({ model: 'claude-3-5-haiku-20241022' }), 404, /model:/],
    ['a bad role', { ...hello(), messages: [{ role: 'robot', content: 'x' }] }, 400, /messages\.0\.role/],
    ['empty content', { ...hello(), messages: [{ role: 'user', content: '' }] }, 400, /non-empty content/],
    ['a small budget', hello({ thinking: { type: 'enabled', budget_tokens: 100 } }), 400, /1024/],
    [
      'a budget over max_tokens',
      hello({
        thinking: { type: 'enabled', budget_tokens: 1_024 },
        max_tokens: 1_024,
      }),
      400,
      /must be greater than/,
    ],
  ])('%s', async (_, body, status, message) => {
    const { api } = await bench();
    const response = await post(api, body);
    const answer: unknown = await response.json();
    expect(response.status).toBe(status);
    expect(answer).toMatchObject({
      type: 'error',
      error: {
        type: status === 404 ? 'not_found_error' : 'invalid_request_error',
        message: expect.stringMatching(message),
      },
      request_id: response.headers.get('request-id'),
    });
    expect(api.ledger.totals()).toMatchObject({ invalid: 1, admitted: 0 });
    expect(api.level('opus-5').requests).toBe(1_000);
  });

  test('errors have the classes of the SDK', async () => {
    const { client } = await bench();
    expect(await failureOf(client.messages.create(hello({ max_tokens: 0 })))).toBeInstanceOf(BadRequestError);
    expect(await failureOf(client.messages.create(hello({ model: 'x' })))).toBeInstanceOf(NotFoundError);
  });

  test('a body of more than 32 MB is too large, a prompt beyond the context window too long', async () => {
    const { client } = await bench();
    const large = hello({
      messages: [{ role: 'user', content: 'x'.repeat(33 * 1024 * 1024) }],
    });
    expect(await failureOf(client.messages.create(large))).toBeInstanceOf(ContentTooLargeError);
    const long = hello({
      model: 'claude-haiku-4-5',
      messages: [{ role: 'user', content: 'gate '.repeat(210_000) }],
    });
    expect(await failureOf(client.messages.create(long))).toMatchObject({
      status: 400,
      apiMessage: expect.stringMatching(/prompt is too long: \d+ tokens > 200000 maximum/),
    });
  });
});
