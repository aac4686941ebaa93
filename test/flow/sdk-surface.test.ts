import Anthropic, { APIUserAbortError } from '@anthropic-ai/sdk';
import { findHeadgateError, HeadgateError, isHeadgateError } from '@headgate/core';
import { describe, expect, it } from 'vitest';
import { ask, isSettled, MODEL, pause, rejection, startGoverned, until } from '../support/governed.ts';

/** What the SDK offers works through a governed client as it does through a bare one. */
describe('a governed client', () => {
  it('answers create() with the very message the API sent', async () => {
    const { claude, bare } = await startGoverned({ api: { output: () => ({ text: 'Grüße 🌊' }) } });
    const governed = await claude.messages.create(ask());
    const ungoverned = await bare.messages.create(ask());
    expect(governed.content).toEqual(ungoverned.content);
    expect(governed.usage).toEqual(ungoverned.usage);
    expect(Object.keys(governed)).toEqual(Object.keys(ungoverned));
  });

  it('gives headers and request id by withResponse(), the raw response by asResponse()', async () => {
    const { claude, bare, api, governor } = await startGoverned();
    const { data, response, request_id } = await claude.messages.create(ask()).withResponse();
    expect(data.type).toBe('message');
    expect(request_id).toMatch(/^req_/);
    expect(response.headers.get('anthropic-ratelimit-requests-limit')).toBe('6000');
    const raw = await claude.messages.create(ask()).asResponse();
    expect(raw).toBeInstanceOf(Response);
    // Governed: '' and 'default' until 0.2.
    const plain = await bare.messages.create(ask()).asResponse();
    for (const each of [response, raw])
      expect([each.url, each.type, each.redirected]).toEqual([plain.url, plain.type, plain.redirected]);
    expect(raw.url).toBe(`${api.url}/v1/messages`);
    expect(raw.bodyUsed).toBe(false);
    const message = (await raw.json()) as Anthropic.Message;
    expect(message.type).toBe('message');
    expect(isSettled(governor)).toBe(true);
  });

  it('streams by stream() with its events, and by create({ stream: true }) with for await', async () => {
    const { claude, governor } = await startGoverned();
    const seen: string[] = [];
    const stream = claude.messages
      .stream(ask())
      .on('connect', () => seen.push('connect'))
      .on('streamEvent', ({ type }) => seen.push(type))
      .on('text', () => seen.push('text'))
      .on('finalMessage', () => seen.push('finalMessage'))
      .on('end', () => seen.push('end'));
    const message = await stream.finalMessage();
    expect(message.stop_reason).toBe('end_turn');
    expect(new Set(seen)).toEqual(
      new Set([
        'connect',
        'message_start',
        'content_block_start',
        'content_block_delta',
        'text',
        'content_block_stop',
        'message_delta',
        'message_stop',
        'finalMessage',
        'end',
      ]),
    );
    const types: string[] = [];
    for await (const event of await claude.messages.create({ ...ask(), stream: true }))
      types.push(event.type);
    expect(types[0]).toBe('message_start');
    expect(types.at(-1)).toBe('message_stop');
    await until(() => isSettled(governor));
  });

  it('serves beta.messages, countTokens, models.list and models.retrieve', async () => {
    const { claude, api } = await startGoverned();
    const message = await claude.beta.messages.create({ ...ask(), betas: ['files-api-2025-04-14'] });
    expect(message.type).toBe('message');
    expect(api.received.at(-1)?.headers['anthropic-beta']).toBe('files-api-2025-04-14');
    const { input_tokens } = await claude.messages.countTokens({ model: MODEL, messages: ask().messages });
    expect(input_tokens).toBeGreaterThan(0);
    const ids: string[] = [];
    for await (const model of claude.models.list()) ids.push(model.id);
    expect(ids).toContain(MODEL);
    expect((await claude.models.retrieve(MODEL)).id).toBe(MODEL);
  });

  it('runs the tool runner, one governed call a turn', async () => {
    const { claude, api, governor } = await startGoverned();
    const asked: unknown[] = [];
    const final = await claude.beta.messages.toolRunner({
      ...ask('[use:weather] how is it?'),
      tools: [
        {
          name: 'weather',
          description: 'weather',
          input_schema: { type: 'object', properties: {} },
          parse: (input: unknown) => input as Record<string, never>,
          run: (input) => {
            asked.push(input);
            return 'sunny';
          },
        },
      ],
    });
    expect(asked).toHaveLength(1);
    expect(final.content[0]?.type).toBe('text');
    expect(api.ledger.count({ outcome: 'admitted' })).toBe(2);
    expect(isSettled(governor)).toBe(true);
  });

  it('keeps the per-request timeout, which covers one attempt and not the wait in the queue', async () => {
    const { claude, api } = await startGoverned({ config: { retries: { maxAttempts: 1 } } });
    api.inject({ kind: 'stall', at: 'before-headers', ms: 2_000 });
    const error = await rejection(claude.messages.create(ask(), { timeout: 60 }));
    expect(error).toBeInstanceOf(Anthropic.APIConnectionTimeoutError);
  });

  it('passes on per-request headers', async () => {
    const { claude, api } = await startGoverned();
    await claude.messages.create(ask(), { headers: { 'x-tag': 'blue' } });
    expect(api.received.at(-1)?.headers['x-tag']).toBe('blue');
  });

  it('gives the SDK its own abort error when a signal fires, queued, waiting for headers, or mid-stream', async () => {
    const { claude, api, governor } = await startGoverned({
      config: { account: [{ name: 'sonnet-4', models: ['claude-sonnet-4-*'], concurrency: 1 }] },
      api: { latency: { timeToFirstTokenMs: 20, tokensPerSecond: 100, flushMs: 10 } },
    });
    api.inject({ kind: 'stall', at: 'before-headers', ms: 400 });
    const running = new AbortController();
    const first = rejection(claude.messages.create(ask(), { signal: running.signal }));
    await until(() => governor.snapshot().inFlight === 1);
    const queued = new AbortController();
    const second = rejection(claude.messages.create(ask(), { signal: queued.signal }));
    await until(() => governor.snapshot().buckets[0]?.lanes.interactive?.queued === 1);
    queued.abort();
    expect(await second).toBeInstanceOf(APIUserAbortError);
    running.abort();
    expect(await first).toBeInstanceOf(APIUserAbortError);
    await until(() => isSettled(governor));

    const streaming = new AbortController();
    const stream = await claude.messages.create({ ...ask(), stream: true }, { signal: streaming.signal });
    let events = 0;
    for await (const _ of stream) if (++events === 4) streaming.abort();
    expect(events).toBeGreaterThanOrEqual(4);
    await until(() => isSettled(governor));
    await until(() => api.openConnections() === 0 || api.ledger.count({ disconnected: true }) >= 1);
  });

  it('multiplies nothing when a call asks the SDK for retries of its own', async () => {
    const { claude, api } = await startGoverned({
      config: { retries: { maxAttempts: 2, maxDelay: '20ms' } },
    });
    for (const fault of [
      { kind: 'status', status: 529 },
      { kind: 'status', status: 500, headers: { 'x-should-retry': 'true' } },
      { kind: 'reset', at: 'before-headers' },
    ] as const) {
      api.reset();
      const remove = api.inject({ ...fault, times: Number.POSITIVE_INFINITY });
      await rejection(claude.messages.create(ask(), { maxRetries: 5 }));
      expect(api.ledger.count({}), JSON.stringify(fault)).toBe(2);
      remove();
    }
    api.reset();
    api.inject({ kind: 'stall', at: 'before-headers', ms: 5_000, times: Number.POSITIVE_INFINITY });
    const error = await rejection(claude.messages.create(ask(), { maxRetries: 5, timeout: 50 }));
    expect(error).toBeInstanceOf(Anthropic.APIConnectionTimeoutError);
    await pause(100);
    expect(api.received.filter(({ path }) => path === '/v1/messages')).toHaveLength(2);
  });

  it('is refused by the same error from create() and from stream()', async () => {
    const { claude, governor } = await startGoverned({
      config: { quotas: [{ name: 'tiny', requests: '1/day' }] },
    });
    const run = <T>(fn: () => T) => governor.run({ user: 'ada' }, fn);
    await run(() => claude.messages.create(ask()));
    const fromCreate = await rejection(run(() => claude.messages.create(ask())));
    const fromStream = await rejection(run(() => claude.messages.stream(ask()).finalMessage()));
    const fromIteration = await rejection(
      run(async () => {
        for await (const _ of claude.messages.stream(ask())) void _;
      }),
    );
    for (const error of [fromCreate, fromStream, fromIteration]) {
      expect(error).toBeInstanceOf(HeadgateError);
      expect(isHeadgateError(error)).toBe(true);
      expect(error).toMatchObject({
        name: 'QuotaExceededError',
        code: 'quota_exceeded',
        rule: 'tiny',
        status: 429,
      });
    }
  });

  it('keeps an error of the queue what it is, though its name speaks of a time-out', async () => {
    const { claude, governor, api } = await startGoverned({
      config: {
        account: [{ name: 'sonnet-4', models: ['claude-sonnet-4-*'], concurrency: 1 }],
        lanes: { only: { maxWait: '50ms' } },
      },
    });
    api.inject({ kind: 'stall', at: 'before-headers', ms: 300 });
    const first = claude.messages.create(ask());
    await until(() => governor.snapshot().inFlight === 1);
    for (const maxRetries of [0, 3]) {
      const error = await rejection(claude.messages.create(ask(), { maxRetries }));
      expect(error).toMatchObject({ name: 'QueueTimeoutError', reason: 'queue_timeout', status: 503 });
    }
    await first;
  });

  it('finds its errors through what others have wrapped around them', () => {
    const inner = Object.assign(new Error('x'), { cause: undefined });
    expect(findHeadgateError(new Error('outer', { cause: inner }))).toBeUndefined();
    const loop = new Error('loop');
    loop.cause = loop;
    expect(findHeadgateError(loop)).toBeUndefined();
  });
});
