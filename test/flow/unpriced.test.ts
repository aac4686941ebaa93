import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { ConfigError, type ConfigInput, createGovernor, UnpricedError } from '@headgate/core';
import type { ModelSpec } from '@headgate/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { batchBench, params, pass, watch } from '../batch/support.ts';
import { ask, rejection, startGoverned, until } from '../support/governed.ts';
import { usageServer } from '../support/usage-server.ts';

/** A model from next year. */
const NEXT = 'claude-opus-6-1';
const spec = (id: string): ModelSpec => ({ id, maxTokens: 128_000, maxInputTokens: 1_000_000 });
const MODELS = [spec(NEXT), spec('claude-sonnet-4-6'), spec('claude-haiku-4-5')];
const WIDE = [{ name: 'all', models: ['*'], requestsPerMinute: 600_000 }];
const BUDGET: ConfigInput = { account: WIDE, budgets: [{ name: 'day', usd: '0.01/day' }] };

/** A governor before an API that knows the model; answers of 100 tokens, which are 0.005 USD at the highest price. */
const bench = (config: ConfigInput) =>
  startGoverned({
    api: {
      models: MODELS,
      limits: WIDE,
      latency: { timeToFirstTokenMs: 1, tokensPerSecond: Number.POSITIVE_INFINITY },
      output: () => 100,
    },
    config,
  });

const MODES = ['json', 'stream'] as const;
type Mode = (typeof MODES)[number];
async function call(claude: Anthropic, mode: Mode, more: Partial<Anthropic.MessageCreateParamsNonStreaming>) {
  const body = ask('hello', more);
  // The SDK refuses long JSON answers unless a time-out is given.
  if (mode === 'json') return claude.messages.create(body, { timeout: 60_000 });
  return claude.messages.stream(body).finalMessage();
}

/** Governed calls to a server that answers each with this usage: what one of them is booked at, in USD. */
async function booked(
  usage: Record<string, unknown>,
  mode: Mode,
  more: Partial<Anthropic.MessageCreateParamsNonStreaming>,
  config: ConfigInput = {},
): Promise<number | undefined> {
  const governor = createGovernor({
    logger: { info() {}, warn() {}, error() {} },
    config: { budgets: [{ name: 'day', usd: '1000/day' }], ...config },
  });
  onTestFinished(() => governor.close({ drainMs: 0 }));
  const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: await usageServer(usage) }));
  // Output beyond `max_tokens` is not believed.
  await call(claude, mode, { max_tokens: 1_000_000, ...more });
  return governor.budgets()[0]?.usedUsd;
}

const M = 1_000_000;
const input = { input_tokens: M, output_tokens: 0 };
const output = { input_tokens: 0, output_tokens: M };
const read = { input_tokens: 0, cache_read_input_tokens: M, output_tokens: 0 };
const write = { input_tokens: 0, cache_creation_input_tokens: M, output_tokens: 0 };
const fast = { input_tokens: M, output_tokens: M, speed: 'fast' };
const short = { input_tokens: 100_000, output_tokens: 0 };

/** What a million tokens of one kind are booked at; in brackets what it was where it was wrong. */
const BOOKED: [model: string, was: string, usage: Record<string, unknown>, usd: number][] = [
  ['claude-fable-5-2', 'nothing', input, 8],
  ['claude-fable-5-2', 'nothing', output, 40],
  ['claude-mythos-5-2', 'nothing', input, 8],
  ['claude-mythos-5-2', 'nothing', output, 40],
  ['claude-fable-5-1', '1', read, 0.25],
  ['claude-mythos-5-1', 'nothing', read, 0.25],
  ['claude-fable-5', 'nothing', input, 10],
  ['claude-mythos-5', 'nothing', output, 50],
  ['claude-sonnet-5-5', '0.2', read, 0.1],
  ['claude-opus-5-5', 'nothing', fast, 48],
  ['claude-opus-5', 'nothing', fast, 60],
  ['claude-fable-5-2', 'nothing', fast, 96],
  // An exact id, and one with a date.
  ['claude-opus-5-20260724', '', input, 5],
  ['claude-opus-5@20260724', '', input, 5],
  ['claude-opus-4-1-20250805', '5', input, 15],
  ['claude-opus-4-20250514', '5', output, 75],
  ['claude-haiku-5-5-20261101', '', short, 0.01],
  // What nobody has priced: the dearest of each kind of token.
  ['claude-opus-5-7', '5, as Opus 5', input, 10],
  ['claude-opus-5-7', '25, as Opus 5', output, 50],
  ['claude-opus-5-7', '0.5, as Opus 5', read, 1],
  ['claude-sonnet-5-6', '2.5, as Sonnet 5', write, 12.5],
  ['claude-haiku-5-5-pro', '0.1, as Haiku 5.5', short, 1],
  ['claude-haiku-4-5-2025', '1, as Haiku 4.5', input, 10],
  ['claude-fable-6', 'nothing', output, 50],
  ['claude-opus-5-20261399', '5, as Opus 5', input, 10],
  // Fast mode of a model whose fast price nobody knows, and ids that are fast themselves.
  ['claude-sonnet-5-5', 'nothing', fast, 96],
  ['claude-opus-5-5-fast', '4, as Opus 5.5', input, 16],
  // Names of clouds are another model's until they are priced; one that names a retired model is not under its price.
  ['us.anthropic.claude-sonnet-4-6', 'nothing', input, 10],
  ['us.anthropic.claude-opus-4-1-20250805-v1:0', 'nothing', input, 15],
];

describe('prices over HTTP', () => {
  it.each(BOOKED.flatMap((row) => MODES.map((mode) => [...row, mode] as const)))(
    'book %s (was %s) %o at %d USD, %5$s',
    async (model, _was, usage, usd, mode) => {
      expect(await booked(usage, mode, { model })).toBeCloseTo(usd, 9);
    },
  );
});

describe('a model from next year under a hard budget of 0.01 USD', () => {
  it.each(MODES)(
    'is counted at the dearest price: the budget ends with what is in flight, %s',
    async (mode) => {
      const { governor, claude, api, warnings } = await bench(BUDGET);
      const tries = await Promise.allSettled(
        Array.from({ length: 3 }, async () => {
          for (let n = 0; n < 10; n++) await call(claude, mode, { model: NEXT });
        }),
      );
      expect(tries.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
      for (const each of tries)
        expect((each as PromiseRejectedResult).reason).toMatchObject({ code: 'quota_exceeded', rule: 'day' });
      // Three at once, of 0.005 USD and a little each.
      expect(governor.budgets()[0]?.usedUsd).toBeLessThan(0.01 + 3 * 0.006);
      expect(api.ledger.count({ outcome: 'admitted' })).toBeLessThanOrEqual(5);
      const said = warnings.filter((text) => text.includes('HG_UNPRICED_MODEL'));
      expect(said).toHaveLength(1);
      expect(said[0]).toContain(NEXT);
      expect(said[0]).toContain('highest price');
      expect((await governor.usage({ by: 'model' })).rows[0]).toMatchObject({
        key: NEXT,
        unpriced: api.ledger.count({ outcome: 'admitted' }),
      });
    },
  );

  it.each(MODES)('is refused with `unpriced: refuse`, by name and with a remedy, %s', async (mode) => {
    const { claude, api } = await bench({ ...BUDGET, unpriced: 'refuse' });
    const error = await rejection(call(claude, mode, { model: NEXT }));
    expect(error).toBeInstanceOf(UnpricedError);
    expect(error).toMatchObject({ code: 'unpriced', reason: 'unpriced', rule: 'day', status: 400 });
    expect(String(error)).toContain(NEXT);
    expect(String(error)).toContain('prices');
    expect(api.ledger.count({ outcome: 'admitted' })).toBe(0);
    await call(claude, mode, { model: 'claude-haiku-4-5' });
  });

  it.each(MODES)('is free with `unpriced: free`, and that is said, %s', async (mode) => {
    const { governor, claude, warnings } = await bench({ ...BUDGET, unpriced: 'free' });
    for (let n = 0; n < 5; n++) await call(claude, mode, { model: NEXT });
    expect(governor.budgets()[0]?.usedUsd).toBe(0);
    expect(
      warnings.filter((text) => text.includes('HG_UNPRICED_MODEL') && text.includes('free')),
    ).toHaveLength(1);
  });

  it.each([
    ['dearest', 0.01 + 0.006, /day/],
    ['free', 0, undefined],
    ['refuse', 0, /has no price/],
  ] as const)('in the batch lane: %s', async (unpriced, most, refusal) => {
    const { clock, governor, batches } = await batchBench({
      api: { models: MODELS, output: () => 100 },
      config: { ...BUDGET, unpriced },
    });
    let refused: unknown;
    const results = [];
    for (let n = 0; n < 12 && refused === undefined; n++) {
      const submitted = watch(batches.submit(params(n, { model: NEXT, max_tokens: 200 })));
      await pass(clock, 30, 10);
      if (submitted.state === 'rejected') refused = submitted.error;
      else results.push(watch(submitted.value!.result()));
    }
    await pass(clock, 120_000);
    expect(results.every(({ state }) => state === 'fulfilled')).toBe(true);
    if (refusal === undefined) expect(refused).toBeUndefined();
    else expect(String(refused)).toMatch(refusal);
    const used = governor.budgets()[0]?.usedUsd ?? Number.NaN;
    expect(used).toBeLessThanOrEqual(most);
    // Half the dearest price: 0.0025 USD for each answer, and a little for its question.
    if (unpriced === 'dearest') expect(used).toBeGreaterThan(results.length * 0.0025);
  });
});

describe('`unpriced: refuse`', () => {
  const refuse: ConfigInput = { account: WIDE, unpriced: 'refuse' };

  it.each<[string, ConfigInput]>([
    ['no rule counts money', { quotas: [{ name: 'q', requests: '100/minute' }] }],
    ['the money rule is for others', { budgets: [{ name: 'b', when: { tenant: 'acme' }, usd: '1/day' }] }],
    [
      'the money rule is for another model',
      { quotas: [{ name: 'q', when: { model: 'claude-haiku-*' }, usd: '1/day' }] },
    ],
    ['the budget never refuses', { budgets: [{ name: 'b', usd: '1/day', hard: false }] }],
    ['the rule is in shadow', { quotas: [{ name: 'q', usd: '1/day', shadow: true }] }],
    ['everything is in shadow', { shadow: true, budgets: [{ name: 'b', usd: '1/day' }] }],
    [
      'the configuration prices it',
      { prices: { [NEXT]: { input: 1, output: 2 } }, budgets: [{ name: 'b', usd: '1/day' }] },
    ],
  ])('lets a call through where %s', async (_when, config) => {
    const { claude } = await bench({ ...refuse, ...config });
    await call(claude, 'json', { model: NEXT });
  });

  const budgets = [{ name: 'b', usd: '1/day' }];
  it.each<[string, ConfigInput, object]>([
    ['an advisor', {}, { tools: [{ type: 'advisor_20260301', name: 'advisor', model: NEXT }] }],
    ['a fallback that the API is left to', {}, { fallbacks: [{ model: NEXT }] }],
    ['fast mode', {}, { speed: 'fast' }],
  ])('refuses a call that can be billed for %s without a price', async (_what, config, more) => {
    const { claude } = await bench({ ...refuse, budgets, ...config });
    expect(await rejection(call(claude, 'json', more))).toMatchObject({ code: 'unpriced' });
  });

  it.each<[string, ConfigInput]>([
    ['a route', { routes: [{ model: NEXT }] }],
    ['a budget’s downgrade', { budgets: [{ name: 'b', usd: '1/day', soft: 0.0001, downgradeTo: NEXT }] }],
  ])('keeps the model that was asked for where %s names one without a price', async (_what, config) => {
    const { claude, api } = await bench({ ...refuse, budgets, ...config });
    for (let n = 0; n < 2; n++) await call(claude, 'json', {});
    expect(api.ledger.entries.map(({ model }) => model)).toEqual(['claude-sonnet-4-6', 'claude-sonnet-4-6']);
  });
});

describe('a price file', () => {
  const folder = () => {
    const path = mkdtempSync(join(tmpdir(), 'headgate-prices-'));
    onTestFinished(() => rmSync(path, { recursive: true }));
    return join(path, 'prices.json');
  };
  const priced = (usd: number) =>
    JSON.stringify({ [NEXT]: { input: usd, output: usd, source: 'the invoice' } });

  it('prices a model, is read again when it changes, and stays as it was where it is broken', async () => {
    const file = folder();
    writeFileSync(file, priced(10_000));
    const { governor, claude } = await bench({
      account: WIDE,
      budgets: [{ name: 'day', usd: '100/day' }],
      prices: { file },
    });
    const costOfOne = async () => {
      const before = governor.budgets()[0]!.usedUsd;
      const { usage } = await claude.messages.create(ask('hello', { model: NEXT }));
      return (1e6 * (governor.budgets()[0]!.usedUsd - before)) / (usage.input_tokens + usage.output_tokens);
    };
    expect(await costOfOne()).toBeCloseTo(10_000, 3);
    writeFileSync(file, priced(20_000));
    await until(() => governor.snapshot().config.generation === 2);
    expect(await costOfOne()).toBeCloseTo(20_000, 3);
    writeFileSync(file, '{ "claude-opus-6-1": { "input": -1 } }');
    await until(() => governor.snapshot().config.problem !== undefined);
    expect(governor.snapshot().config.problem).toMatch(
      /claude-opus-6-1\.input.*at least 0[\s\S]*claude-opus-6-1\.output/,
    );
    expect(await costOfOne()).toBeCloseTo(20_000, 3);
    writeFileSync(file, priced(20_000));
    await until(() => governor.snapshot().config.problem === undefined);
    expect(await costOfOne()).toBeCloseTo(20_000, 3);
  });

  it.each([
    ['not there', undefined, /prices\.file: cannot be read/],
    ['empty', '', /holds no prices/],
    ['a list', '[]', /holds no prices/],
    ['without a model', '{}', /holds no prices/],
    ['cut off', '{ "a": { "input": 1', /does not parse/],
    ['without an output price', '{ "a": { "input": 1 } }', /a\.output: is missing/],
    [
      'with a key that does not exist',
      '{ "a": { "input": 1, "output": 1, "inptu": 1 } }',
      /a\.inptu: unknown key/,
    ],
    [
      'with a day that does not exist',
      '{ "a": { "input": 1, "output": 1, "since": "2026-02-30" } }',
      /a\.since.*a day/,
    ],
    ['in another format', '{ "a": { "input_cost_per_token": 1 } }', /a\.input_cost_per_token: unknown key/],
  ])('that is %s is refused at the start, by name', (_what, text, message) => {
    const file = folder();
    if (text !== undefined) writeFileSync(file, text);
    const make = () => createGovernor({ config: { prices: { file } } });
    expect(make).toThrow(ConfigError);
    expect(make).toThrow(message);
    expect(make).toThrow(file);
  });
});
