import Anthropic from '@anthropic-ai/sdk';
import {
  type ConfigInput,
  type CounterStore,
  createGovernor,
  isHeadgateError,
  type SavedCounter,
} from '@headgate/core';
import type { UsageFields } from '@headgate/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ask, pause, rejection, startGoverned, until } from '../support/governed.ts';
import { listen } from '../support/listen.ts';
import { startTelemetry } from '../support/telemetry.ts';

const MODES = ['json', 'stream'] as const;
type Mode = (typeof MODES)[number];
type Params = Record<string, unknown>;

const SONNET = 'claude-sonnet-4-6';
const OPUS = 'claude-opus-4-8';
const HAIKU = 'claude-haiku-5-5';
const SPEC = [SONNET, OPUS, HAIKU].map((id) => ({ id, maxTokens: 128_000, maxInputTokens: 1_000_000 }));
const LIMIT = {
  requestsPerMinute: 60_000,
  inputTokensPerMinute: 6_000_000,
  outputTokensPerMinute: 6_000_000,
};
const ACCOUNT: ConfigInput['account'] = [
  { name: 'sonnet', models: ['claude-sonnet-*'], ...LIMIT, burst: 1 },
  { name: 'opus', models: ['claude-opus-*'], ...LIMIT, burst: 1 },
  { name: 'haiku', models: ['claude-haiku-*'], ...LIMIT, burst: 1 },
];

async function bench(config: ConfigInput = {}) {
  const telemetry = startTelemetry();
  const governed = await startGoverned({
    api: {
      models: SPEC,
      limits: [{ name: 'all', models: ['*'], requestsPerMinute: 600_000 }],
      latency: { timeToFirstTokenMs: 1, tokensPerSecond: Number.POSITIVE_INFINITY },
      output: () => 10,
    },
    governor: { tracerProvider: telemetry.tracerProvider, meterProvider: telemetry.meterProvider },
    config: { account: ACCOUNT, budgets: [{ name: 'day', usd: '1000000/day' }], ...config },
  });
  return { ...governed, telemetry };
}

const send = (claude: Anthropic, mode: Mode, more: Params) => {
  const body = { ...ask('hello', { max_tokens: 20_000 }), ...more } as Anthropic.MessageCreateParams;
  return mode === 'stream'
    ? claude.messages.stream(body).finalMessage()
    : claude.messages.create({ ...body, stream: false });
};

const tokens = (input: number, output: number, more: Params = {}) => ({
  input_tokens: input,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  output_tokens: output,
  ...more,
});
const entry = (type: string, model: string | null, input: number, output: number, more: Params = {}) => ({
  type,
  ...(model === null ? {} : { model }),
  ...tokens(input, output, more),
});

/** USD, and tokens by model: input with all of the cache, and output. */
type Row = [
  name: string,
  asked: Params,
  usage: UsageFields,
  usd: number,
  models: Record<string, [number, number]>,
];

const TABLE: Row[] = [
  ['one inference', {}, tokens(1_000, 100), 0.0045, { [SONNET]: [1_000, 100] }],
  [
    "an advisor of another model (old: 0.0045 USD, and none of the advisor's tokens)",
    {},
    tokens(1_000, 100, { iterations: [entry('advisor_message', OPUS, 300_000, 20_000)] }),
    0.0045 + 2,
    { [SONNET]: [1_000, 100], [OPUS]: [300_000, 20_000] },
  ],
  [
    'two advisors, one with a cache, and all iterations listed',
    {},
    tokens(3_000, 300, {
      iterations: [
        entry('message', SONNET, 1_000, 100),
        entry('advisor_message', OPUS, 1_000, 1_000, { cache_read_input_tokens: 10_000 }),
        entry('message', SONNET, 2_000, 200),
        entry('advisor_message', HAIKU, 1_000, 1_000),
      ],
    }),
    0.0135 + 0.035 + 0.0006,
    { [SONNET]: [3_000, 300], [OPUS]: [11_000, 1_000], [HAIKU]: [1_000, 1_000] },
  ],
  [
    'a summary of the context (old: cache reads booked as input)',
    {},
    tokens(1_000, 100, {
      iterations: [
        entry('compaction', null, 40_000, 2_000, { cache_read_input_tokens: 30_000 }),
        entry('message', SONNET, 1_000, 100),
      ],
    }),
    0.0045 + 0.12 + 0.009 + 0.03,
    { [SONNET]: [71_000, 2_100] },
  ],
  [
    'a fallback after a part of the answer (old: all at the price of the model that was asked)',
    { model: OPUS },
    tokens(1_000, 100, {
      iterations: [entry('message', OPUS, 500, 200), entry('fallback_message', SONNET, 1_000, 100)],
    }),
    0.0025 + 0.005 + 0.0045,
    { [OPUS]: [500, 200], [SONNET]: [1_000, 100] },
  ],
  [
    'a fallback after a refusal before any output, which is free',
    { model: OPUS },
    tokens(1_000, 100, {
      iterations: [entry('message', OPUS, 900, 0), entry('fallback_message', SONNET, 1_000, 100)],
    }),
    0.0045,
    { [OPUS]: [0, 0], [SONNET]: [1_000, 100] },
  ],
  [
    'a conversation that stays with its fallback',
    { model: OPUS },
    tokens(1_000, 100, { iterations: [entry('fallback_message', SONNET, 1_000, 100)] }),
    0.0045,
    { [OPUS]: [0, 0], [SONNET]: [1_000, 100] },
  ],
  [
    'iterations that each have a model',
    {},
    tokens(2_000, 200, {
      iterations: [entry('message', SONNET, 1_000, 100), entry('message', OPUS, 1_000, 100)],
    }),
    0.0045 + 0.0075,
    { [SONNET]: [1_000, 100], [OPUS]: [1_000, 100] },
  ],
  [
    'iterations that leave a part of the sum out',
    {},
    tokens(3_000, 300, { iterations: [entry('message', `${SONNET}-20260101`, 1_000, 100)] }),
    0.0135,
    { [SONNET]: [3_000, 300] },
  ],
  [
    'a kind of iteration that nobody knows, with a model of its own',
    {},
    tokens(1_000, 100, {
      iterations: [entry('message', null, 1_000, 100), entry('critic', OPUS, 1_000, 100)],
    }),
    0.0045 + 0.0075,
    { [SONNET]: [1_000, 100], [OPUS]: [1_000, 100] },
  ],
  [
    'inference in the US (old: 0.0045)',
    {},
    tokens(1_000, 100, { inference_geo: 'us' }),
    0.00495,
    { [SONNET]: [1_000, 100] },
  ],
  [
    'inference anywhere',
    {},
    tokens(1_000, 100, { inference_geo: 'global' }),
    0.0045,
    { [SONNET]: [1_000, 100] },
  ],
  [
    'an advisor in the US',
    {},
    tokens(1_000, 100, { inference_geo: 'us', iterations: [entry('advisor_message', OPUS, 1_000, 100)] }),
    1.1 * (0.0045 + 0.0075),
    { [SONNET]: [1_000, 100], [OPUS]: [1_000, 100] },
  ],
  [
    'fast mode, in the US',
    { model: OPUS },
    tokens(1_000, 100, { speed: 'fast', inference_geo: 'us' }),
    1.1 * 0.015,
    { [OPUS]: [1_000, 100] },
  ],
  [
    'fast mode asked for, and not served',
    { model: OPUS, speed: 'fast' },
    tokens(1_000, 100, { speed: 'standard' }),
    0.0075,
    { [OPUS]: [1_000, 100] },
  ],
  [
    'a tool loop, each turn below the step of its price (old: 0.0925)',
    { model: HAIKU },
    tokens(180_000, 1_000, {
      iterations: [60_000, 60_000, 60_000].map((input, n) =>
        entry('message', HAIKU, input, n === 2 ? 1_000 : 0),
      ),
    }),
    0.0185,
    { [HAIKU]: [180_000, 1_000] },
  ],
  [
    'one turn above the step, and one below',
    { model: HAIKU },
    tokens(160_000, 0, {
      iterations: [entry('message', HAIKU, 40_000, 0), entry('message', HAIKU, 120_000, 0)],
    }),
    0.004 + 0.06,
    { [HAIKU]: [160_000, 0] },
  ],
  [
    'a call that a customer pays (old: 0.0045 of the budget)',
    { billing_policy: { type: 'billing_policy', bill_to: 'user_profile' } },
    tokens(1_000, 100, { iterations: [entry('advisor_message', OPUS, 1_000, 100)] }),
    0,
    { [SONNET]: [1_000, 100], [OPUS]: [1_000, 100] },
  ],
  [
    'web searches',
    {},
    tokens(1_000, 100, { server_tool_use: { web_search_requests: 3 } }),
    0.0345,
    { [SONNET]: [1_000, 100] },
  ],
  [
    '4294967295 output tokens (old: 64,424 USD, and 29.8 days)',
    { max_tokens: 50 },
    tokens(10, 4_294_967_295),
    0.00078,
    { [SONNET]: [10, 50] },
  ],
  ['an output beyond every number', { max_tokens: 50 }, tokens(10, 1e300), 0.00078, { [SONNET]: [10, 50] }],
  [
    'an advisor with a number gone wrong',
    {},
    tokens(10, 50, { iterations: [entry('advisor_message', OPUS, 2 ** 60, 2 ** 60)] }),
    0.00078 + 5 + 7.5,
    { [SONNET]: [10, 50], [OPUS]: [1_000_000, 300_000] },
  ],
  [
    '4294967295 web searches',
    {},
    tokens(10, 50, { server_tool_use: { web_search_requests: 4_294_967_295 } }),
    1.00078,
    { [SONNET]: [10, 50] },
  ],
];

describe.each(MODES)('an answer as %s', (mode) => {
  it.each(TABLE)('is counted once, in all places alike: %s', async (_name, asked, usage, usd, models) => {
    const { api, governor, claude, telemetry } = await bench();
    api.inject({ kind: 'usage', usage });
    await send(claude, mode, { model: SONNET, ...asked });
    await until(() => governor.snapshot().inFlight === 0);
    const sum = (at: 0 | 1) => Object.values(models).reduce((all, each) => all + each[at], 0);

    expect(governor.budgets()[0]?.usedUsd).toBeCloseTo(usd, 9);
    const { rows, total } = await governor.usage({ by: 'model' });
    const read = (row: (typeof rows)[number]) => row.inputTokens + row.cacheReadTokens + row.cacheWriteTokens;
    expect(Object.fromEntries(rows.map((row) => [row.key, [read(row), row.outputTokens]]))).toEqual(models);
    expect([total.calls, total.usd]).toEqual([1, expect.closeTo(usd, 9)]);
    const span = telemetry.spans.spans.find(({ name }) => name === 'headgate.attempt');
    expect(span?.attributes['headgate.cost']).toBeCloseTo(usd, 9);
    expect(span?.attributes['headgate.usage.input_tokens']).toBe(sum(0));
    expect(span?.attributes['headgate.usage.output_tokens']).toBe(sum(1));
    for (const [model, [, output]] of Object.entries(models)) {
      if (output < 15_000) continue;
      const name = model.split('-')[1] ?? '';
      const level = governor.snapshot().buckets.find((bucket) => bucket.name === name)?.limits
        .outputTokens?.level;
      expect(level, name).toBeLessThan(LIMIT.outputTokensPerMinute - output / 2);
    }
  });

  it('of an advisor is held against a budget and against quotas of its model (old: 40 USD of 5 passed)', async () => {
    const { api, governor, claude } = await bench({
      budgets: [{ name: 'day', usd: '5/day' }],
      quotas: [{ name: 'opus', when: { model: 'claude-opus-*' }, per: 'user', outputTokens: '30k/day' }],
    });
    const usage = tokens(10, 10, { iterations: [entry('advisor_message', OPUS, 300_000, 20_000)] });
    api.inject({ kind: 'usage', usage, times: Number.POSITIVE_INFINITY });
    const run = (model: string) =>
      governor
        .run({ user: 'ada' }, () => send(claude, mode, { model, max_tokens: 10 }))
        .then(
          () => 'ok',
          (error: unknown) => (isHeadgateError(error) ? error.rule : String(error)),
        );
    expect([await run(SONNET), await run(SONNET), await run(OPUS)]).toEqual(['ok', 'ok', 'opus']);
    expect([await run(SONNET), await run(SONNET)]).toEqual(['ok', 'day']);
    expect(governor.budgets()[0]?.usedUsd).toBeLessThan(5 + 2.1);
  });

  it.each([
    [402, 'linked_organization_spend_limit_reached'],
    [402, 'linked_organization_billing_unavailable'],
    [403, 'user_profile_billing_not_authorized'],
    [403, 'user_profile_not_billable'],
    [402, undefined],
  ])(
    'that a customer cannot pay (%s %s) is final and closes nothing (old: the account, to the first of next month)',
    async (status, errorCode) => {
      const { api, governor, claude } = await bench();
      api.inject({
        kind: 'status',
        status,
        ...(errorCode === undefined ? {} : { errorCode }),
        headers: { 'x-should-retry': 'true' },
      });
      const billing_policy = { type: 'billing_policy', bill_to: 'user_profile' };
      const error = (await rejection(send(claude, mode, { model: SONNET, billing_policy }))) as {
        status: number;
      };
      expect([error.status, api.received.length]).toEqual([status, 1]);
      await send(claude, mode, { model: SONNET });
      expect(governor.snapshot().breakers).toEqual([]);
    },
  );

  const block = (type: string, source: Params) => ({
    messages: [{ role: 'user', content: [{ type, source }] }],
  });
  const long = 'word '.repeat(100_000);
  it.each<[name: string, asked: Params, told: number, counted: 'all' | number]>([
    ['a few words cannot have held (old: all of it)', {}, 1_000_001, 5_000],
    ['a few words and a tool of its own cannot have held', { tools: [{ name: 't' }] }, 3_000_000, 5_000],
    ['more words could not have held', { system: 'w'.repeat(20_000) }, 4_294_967_295, 70_000],
    ['a gateway may have added to a few words', {}, 900_000, 'all'],
    ['its words can have held', { system: long }, 480_000, 'all'],
    ['a file can have', block('document', { type: 'file', file_id: 'f' }), 900_000, 'all'],
    ['a document at a URL can have', block('document', { type: 'url', url: 'https://x/y' }), 700_000, 'all'],
    ['an image at a URL can have', block('image', { type: 'url', url: 'https://x/y' }), 300_000, 'all'],
    ['a search can have brought in', { tools: [{ type: 'web_search_20250305', name: 's' }] }, 900_000, 'all'],
    ['tools of a server can have brought in', { mcp_servers: [{ name: 'm' }] }, 900_000, 'all'],
    ['a container can have brought in', { container: 'c' }, 900_000, 'all'],
  ])('counts of its input what %s', async (_, asked, told, counted) => {
    const { api, governor, claude, warnings } = await bench();
    api.inject({ kind: 'usage', usage: tokens(told, 10) });
    await send(claude, mode, { model: SONNET, ...asked });
    await until(() => governor.snapshot().inFlight === 0);
    const { total } = await governor.usage({ by: 'model' });
    const said = warnings.filter((line) => line.includes('HG_USAGE_BOUNDED'));
    expect(said).toHaveLength(counted === 'all' ? 0 : 1);
    if (counted === 'all') expect(total.inputTokens).toBe(told);
    else expect(total.inputTokens).toBeLessThan(counted);
    expect(governor.budgets()[0]?.usedUsd).toBeCloseTo((total.inputTokens * 3 + 10 * 15) / 1e6, 9);
  });

  it('with numbers that cannot be says so once, and holds up nobody', async () => {
    const { api, governor, claude, warnings, telemetry } = await bench({
      quotas: [{ name: 'q', per: 'user', inputTokens: '100k/minute', outputTokens: '100k/minute' }],
    });
    const wrong: UsageFields[] = [
      tokens(4_294_967_295, 10),
      tokens(10, 4_294_967_295),
      { input_tokens: '10', output_tokens: '10' },
      { input_tokens: -50_000, output_tokens: -50_000 },
    ];
    for (const usage of [...wrong, ...wrong]) {
      api.inject({ kind: 'usage', usage });
      await governor.run({ user: 'ada' }, () => send(claude, mode, { model: SONNET, max_tokens: 50 }));
    }
    const said = warnings.filter((line) => line.includes('HG_USAGE_BOUNDED'));
    expect(said).toHaveLength(3);
    await telemetry.collect();
    const points = telemetry.metrics.points('headgate.usage.bounded');
    expect(points.reduce((all, point) => all + Number(point.value), 0)).toBe(8);
  });
});

describe('a stream', () => {
  it('with an event of 5 MiB is read to its usage (old: nothing after it)', async () => {
    const { api, governor, claude } = await bench();
    api.inject({ kind: 'long-event', bytes: 5 * 2 ** 20 });
    api.inject({ kind: 'usage', usage: tokens(1_000, 100) });
    await send(claude, 'stream', { model: SONNET });
    await until(() => governor.snapshot().inFlight === 0);
    expect(governor.budgets()[0]?.usedUsd).toBeCloseTo(0.0045, 9);
  });
});

describe('a JSON answer', () => {
  it('that is too long to be read is counted as estimated, and is no failure (old: connection_error)', async () => {
    const { governor, claude, telemetry } = await bench();
    const text = 'x'.repeat(33 * 2 ** 20);
    const url = await listen(async (request, response) => {
      for await (const _ of request);
      await pause(50);
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({ type: 'message', content: [{ type: 'text', text }], usage: tokens(9, 9) }),
      );
    });
    const { content } = await governor.run({ user: 'ada' }, () =>
      claude.withOptions({ baseURL: url }).messages.create(ask('hello', { max_tokens: 1_000 })),
    );
    expect(content[0]).toMatchObject({ type: 'text', text });
    await until(() => governor.snapshot().inFlight === 0);
    const attempt = telemetry.spans.spans.find(({ name }) => name === 'headgate.attempt');
    expect(attempt?.attributes['headgate.outcome']).toBe('complete');
    expect((await governor.usage({ by: 'user' })).total.outputTokens).toBeGreaterThan(40);
  });
});

describe('a call that nobody waits for', () => {
  const SLOW = { timeToFirstTokenMs: 20, tokensPerSecond: 1_000 };
  const slow = (config: ConfigInput = {}) =>
    startGoverned({ api: { latency: SLOW, output: () => 400 }, config });

  it.each([
    ['its signal', 'signal'],
    ["the SDK's time-out", 'timeout'],
    ['its deadline', 'deadlineMs'],
  ])('is counted by time and speed when %s ends it (old: 0 output tokens)', async (_name, how) => {
    const { api, governor, claude } = await slow({ retries: { maxAttempts: 1 } });
    const options =
      how === 'signal' ? { signal: AbortSignal.timeout(200) } : how === 'timeout' ? { timeout: 200 } : {};
    const caller = { user: 'ada', ...(how === 'deadlineMs' ? { deadlineMs: 200 } : {}) };
    await governor.run(caller, () =>
      rejection(claude.messages.create(ask('hi', { max_tokens: 1_000 }), options)),
    );
    await until(() => governor.snapshot().inFlight === 0 && api.ledger.entries.at(-1)?.endedAt !== undefined);
    const produced = api.ledger.totals().outputTokens;
    const { outputTokens } = (await governor.usage({ by: 'user' })).total;
    expect(outputTokens).toBeGreaterThanOrEqual(produced * 0.7);
    expect(outputTokens).toBeLessThanOrEqual(1_000);
  });

  it('is read to its end with `hangUp: drain`, as JSON too (old: aborted, and 0 booked)', async () => {
    const { api, governor, claude } = await slow({ hangUp: 'drain' });
    const controller = new AbortController();
    const run = governor.run({ user: 'ada', signal: controller.signal }, () =>
      rejection(claude.messages.create(ask('hi', { max_tokens: 1_000 }))),
    );
    await until(() => api.ledger.entries.length === 1);
    controller.abort();
    expect(await run).toMatchObject({ code: 'aborted' });
    expect(governor.snapshot().inFlight).toBe(1);
    await until(() => governor.snapshot().inFlight === 0);
    const { total } = await governor.usage({ by: 'user' });
    expect([total.calls, total.outputTokens, api.ledger.totals().outputTokens]).toEqual([1, 400, 400]);
  });
});

interface Listed {
  readonly type: 'message' | 'advisor_message' | 'compaction';
  readonly model: string;
  readonly input: number;
  readonly read: number;
  readonly output: number;
}
/** USD per million tokens, below every step: input, cache read, output. */
const PRICE: Record<string, readonly [number, number, number]> = {
  [SONNET]: [3, 0.3, 15],
  [OPUS]: [5, 0.5, 25],
  [HAIKU]: [0.1, 0.01, 0.5],
};

/** The reference: each iteration at its model, a summary at the model that was asked. */
function reference(list: readonly Listed[]) {
  const models = new Map<string, { input: number; read: number; output: number; usd: number }>();
  for (const { type, model, input, read, output } of list) {
    const ran = type === 'compaction' ? SONNET : model;
    const [perInput = 0, perRead = 0, perOutput = 0] = PRICE[ran] ?? [];
    const sum = models.get(ran) ?? { input: 0, read: 0, output: 0, usd: 0 };
    const usd = sum.usd + (input * perInput + read * perRead + output * perOutput) / 1e6;
    models.set(ran, { input: sum.input + input, read: sum.read + read, output: sum.output + output, usd });
  }
  return models;
}

describe('random lists of iterations', () => {
  const count = fc.integer({ min: 0, max: 20_000 });
  const listed: fc.Arbitrary<Listed> = fc.record({
    type: fc.constantFrom('message', 'advisor_message', 'compaction'),
    model: fc.constantFrom(SONNET, OPUS, HAIKU),
    input: count,
    read: count,
    output: count,
  });

  it('agree in cost, quotas, buckets, usage book and spans with a reference', async () => {
    const telemetry = startTelemetry();
    await fc.assert(
      fc.asyncProperty(fc.array(listed, { minLength: 1, maxLength: 8 }), async (list) => {
        const sums = list.filter(({ type }) => type === 'message');
        const total = (key: 'input' | 'read' | 'output') => sums.reduce((all, each) => all + each[key], 0);
        const usage = tokens(total('input'), total('output'), {
          cache_read_input_tokens: total('read'),
          iterations: list.map(({ type, model, input, read, output }) =>
            entry(type, type === 'compaction' ? null : model, input, output, {
              cache_read_input_tokens: read,
            }),
          ),
        });
        const message = {
          id: 'm',
          type: 'message',
          role: 'assistant',
          model: SONNET,
          content: [],
          stop_reason: 'end_turn',
          stop_sequence: null,
          usage,
        };
        const fetch = async () => Response.json(message);
        const counters = new Map<string, SavedCounter>();
        const store: CounterStore = {
          get: (key) => counters.get(key),
          set: (key, counter) => void counters.set(key, counter),
          flush() {},
          close() {},
        };
        const governor = createGovernor({
          store,
          clock: { now: () => 0, wall: () => 1.8e12, after: () => ({ cancel() {}, keepAlive() {} }) },
          tracerProvider: telemetry.tracerProvider,
          logger: { info() {}, warn() {}, error() {} },
          config: {
            account: ACCOUNT,
            budgets: [{ name: 'day', usd: '1000000/day' }],
            quotas: [SONNET, OPUS, HAIKU].map((model) => ({
              name: model,
              when: { model },
              per: 'user',
              outputTokens: '1000000/day',
            })),
          },
        });
        telemetry.spans.clear();
        const claude = governor.govern(new Anthropic({ apiKey: 'k', fetch }));
        await governor.run({ user: 'ada' }, () => claude.messages.create(ask('hi', { max_tokens: 20_000 })));
        const expected = reference(list);
        const all = [...expected.values()];
        const usd = all.reduce((sum, each) => sum + each.usd, 0);
        const rows = new Map((await governor.usage({ by: 'model' })).rows.map((row) => [row.key, row]));
        for (const [model, { input, read, output, usd: own }] of expected) {
          expect(rows.get(model)).toMatchObject({
            inputTokens: input,
            cacheReadTokens: read,
            outputTokens: output,
          });
          expect(rows.get(model)?.usd).toBeCloseTo(own, 9);
          const limits = governor.snapshot().buckets.find(({ name }) => model.includes(name))?.limits;
          expect(limits?.outputTokens?.level).toBe(LIMIT.outputTokensPerMinute - output);
          // A full bucket is taken to have lost the refill of the time that the request is on its way.
          const behind = model === SONNET ? 10_000 : 0;
          expect(limits?.inputTokens?.level).toBe(LIMIT.inputTokensPerMinute - input - behind);
        }
        expect(governor.budgets()[0]?.usedUsd).toBeCloseTo(usd, 9);
        const span = telemetry.spans.spans.find(({ name }) => name === 'headgate.attempt');
        expect(span?.attributes['headgate.cost']).toBeCloseTo(usd, 9);
        expect(span?.attributes['headgate.usage.output_tokens']).toBe(
          all.reduce((sum, each) => sum + each.output, 0),
        );
        expect(span?.attributes['headgate.usage.input_tokens']).toBe(
          all.reduce((sum, each) => sum + each.input + each.read, 0),
        );
        // Each model's own quota, and the budget.
        await governor.close({ drainMs: 0 });
        const used = [...counters.values()].map((counter) => counter.used).sort((x, y) => x - y);
        const outputs = new Map([
          [SONNET, 0],
          ...[...expected].map(([model, each]) => [model, each.output] as const),
        ]);
        const wanted = [...outputs.values(), usd].sort((x, y) => x - y);
        expect(used).toEqual(wanted.map((value) => expect.closeTo(value, 9)));
      }),
      { numRuns: 40 },
    );
  });
});
