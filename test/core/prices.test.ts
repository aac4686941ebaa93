import { type ConfigInput, understandConfig } from '@headgate/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import type { PriceList } from '../../packages/core/src/config/price-file.ts';
import { compilePolicy } from '../../packages/core/src/policy/policy.ts';
import { compilePrices, type Unpriced } from '../../packages/core/src/policy/price-book.ts';
import { MODEL_TABLE_DATE, PRICES } from '../../packages/core/src/policy/prices.ts';
import type { Call } from '../../packages/core/src/request/read.ts';
import { billOfMessage, totalsOf } from '../../packages/core/src/settlement/charges.ts';
import { cost } from '../../packages/core/src/settlement/cost.ts';
import { foldUsage, NO_USAGE, type Usage } from '../../packages/core/src/settlement/usage.ts';
import { charge, termsFor } from '../support/charge.ts';

const priceOf = (model: string, config: ConfigInput = {}) => {
  const call: Call = {
    kind: 'messages',
    model,
    maxTokens: 1,
    isStreaming: false,
    body: {},
    bytes: 0,
    isReplayable: true,
  };
  return compilePolicy(parseConfig(config)).plan(call, undefined).price;
};

/** 100,000 tokens of prompt, each kind of it, and 8,000 of answer. */
const USAGE: Usage = {
  ...NO_USAGE,
  inputTokens: 40_000,
  cacheReadTokens: 30_000,
  cacheWrite5mTokens: 20_000,
  cacheWrite1hTokens: 10_000,
  outputTokens: 8_000,
};
/** 40,000 more of it, which is over the step of the one model that has one. */
const LONG: Usage = { ...USAGE, inputTokens: 80_000 };

/** Worked out by hand from the price list: USD for USAGE, for LONG, in a batch, and in fast mode where that is known. */
const TABLE: [model: string, usage: number, long: number, batch: number, fast?: number][] = [
  // 0.04·8 + 0.03·0.2 + 0.02·10 + 0.01·16 + 0.008·40; fast: 0.04·16 + 0.03·0.4 + 0.02·20 + 0.01·32 + 0.008·80
  ['claude-fable-5-2', 1.006, 1.326, 0.503, 2.012],
  ['claude-mythos-5-2', 1.006, 1.326, 0.503, 2.012],
  // 0.04·10 + 0.03·0.25 + 0.02·12.5 + 0.01·20 + 0.008·50
  ['claude-fable-5-1', 1.2575, 1.6575, 0.628_75],
  ['claude-mythos-5-1', 1.2575, 1.6575, 0.628_75],
  // 0.04·10 + 0.03·1 + 0.02·12.5 + 0.01·20 + 0.008·50
  ['claude-fable-5', 1.28, 1.68, 0.64],
  ['claude-mythos-5', 1.28, 1.68, 0.64],
  // 0.04·4 + 0.03·0.2 + 0.02·5 + 0.01·8 + 0.008·20; fast: 0.04·8 + 0.03·0.4 + 0.02·10 + 0.01·16 + 0.008·40
  ['claude-opus-5-5', 0.506, 0.666, 0.253, 1.012],
  // 0.04·5 + 0.03·0.5 + 0.02·6.25 + 0.01·10 + 0.008·25; fast: 0.04·10 + 0.03·1 + 0.02·12.5 + 0.01·20 + 0.008·50
  ['claude-opus-5', 0.64, 0.84, 0.32, 1.28],
  ['claude-opus-4-8', 0.64, 0.84, 0.32, 1.28],
  ['claude-opus-4-7', 0.64, 0.84, 0.32],
  ['claude-opus-4-6', 0.64, 0.84, 0.32],
  ['claude-opus-4-5', 0.64, 0.84, 0.32],
  // 0.04·15 + 0.03·1.5 + 0.02·18.75 + 0.01·30 + 0.008·75
  ['claude-opus-4-1', 1.92, 2.52, 0.96],
  ['claude-opus-4-0', 1.92, 2.52, 0.96],
  ['claude-opus-4', 1.92, 2.52, 0.96],
  // 0.04·2 + 0.03·0.1 + 0.02·2.5 + 0.01·4 + 0.008·10
  ['claude-sonnet-5-5', 0.253, 0.333, 0.1265],
  // 0.04·2 + 0.03·0.2 + 0.02·2.5 + 0.01·4 + 0.008·10
  ['claude-sonnet-5', 0.256, 0.336, 0.128],
  // 0.04·3 + 0.03·0.3 + 0.02·3.75 + 0.01·6 + 0.008·15
  ['claude-sonnet-4-6', 0.384, 0.504, 0.192],
  ['claude-sonnet-4-5', 0.384, 0.504, 0.192],
  ['claude-sonnet-4-0', 0.384, 0.504, 0.192],
  ['claude-sonnet-4', 0.384, 0.504, 0.192],
  // 0.04·0.1 + 0.03·0.01 + 0.02·0.125 + 0.01·0.2 + 0.008·0.5; above 100,000: 0.08·0.5 + 0.03·0.05 + 0.02·0.625 + 0.01·1 + 0.008·2.5
  ['claude-haiku-5-5', 0.0128, 0.084, 0.0064],
  // 0.04·1 + 0.03·0.1 + 0.02·1.25 + 0.01·2 + 0.008·5
  ['claude-haiku-4-5', 0.128, 0.168, 0.064],
];

describe('the price list', () => {
  it.each(TABLE)('prices %s as its sources do', (model, usage, long, batch, fast) => {
    const tag = priceOf(model);
    expect(cost(tag, USAGE)).toBeCloseTo(usage, 12);
    expect(cost(tag, LONG)).toBeCloseTo(long, 12);
    expect(cost(tag, { ...USAGE, tier: 'batch' })).toBeCloseTo(batch, 12);
    if (fast === undefined) expect(cost(tag, { ...USAGE, speed: 'fast' })).toBeUndefined();
    else {
      expect(cost(tag, { ...USAGE, speed: 'fast' })).toBeCloseTo(fast, 12);
      expect(cost(tag, { ...USAGE, speed: 'fast', tier: 'batch' })).toBeCloseTo(fast / 2, 12);
    }
  });

  it('is all in the table above, each row with its first day and its sources', () => {
    expect(TABLE.map(([model]) => model).sort()).toEqual(PRICES.map(({ model }) => model).sort());
    for (const { model, since, sources } of PRICES) {
      expect(since, model).toMatch(/^20\d\d-\d\d-\d\d$/);
      expect(Date.parse(since), model).toBeLessThanOrEqual(Date.parse(MODEL_TABLE_DATE));
      expect(sources, model).not.toEqual([]);
    }
  });

  it('steps at the very token, by the whole prompt', () => {
    const haiku = priceOf('claude-haiku-5-5');
    expect(cost(haiku, { ...NO_USAGE, inputTokens: 100_000 })).toBeCloseTo(0.01, 12);
    expect(cost(haiku, { ...NO_USAGE, inputTokens: 100_001 })).toBeCloseTo(0.050_000_5, 12);
    const cached = { ...NO_USAGE, inputTokens: 50_000, cacheReadTokens: 50_001 };
    expect(cost(haiku, cached)).toBeCloseTo(0.025 + 0.002_500_05, 12);
  });

  it('charges web searches by the piece, in a batch too', () => {
    const searches = { ...NO_USAGE, webSearches: 3 };
    expect(cost(priceOf('claude-opus-5'), searches)).toBeCloseTo(0.03, 12);
    expect(cost(priceOf('claude-opus-5'), { ...searches, tier: 'batch' })).toBeCloseTo(0.03, 12);
  });

  it('charges what summaries of the context used', () => {
    const usage = {
      input_tokens: 10_000,
      output_tokens: 100,
      service_tier: 'standard',
      speed: null,
      iterations: [
        { type: 'compaction', input_tokens: 40_000, cache_read_input_tokens: 30_000, output_tokens: 2_000 },
        { type: 'message', input_tokens: 10_000, output_tokens: 100 },
      ],
    };
    const terms = termsFor('claude-opus-5', { priceOf });
    // 0.01·5 + 0.0001·25, and 0.04·5 + 0.03·0.5 + 0.002·25
    expect(totalsOf(billOfMessage({ usage }, terms)?.charges ?? []).usd).toBeCloseTo(0.0525 + 0.265, 12);
  });

  it('takes speed and tier from what the API says it did', () => {
    expect(foldUsage(NO_USAGE, { speed: 'fast', service_tier: 'batch' })).toMatchObject({
      speed: 'fast',
      tier: 'batch',
    });
    expect(foldUsage({ ...NO_USAGE, speed: 'fast' }, { output_tokens: 3 }).speed).toBe('fast');
  });
});

describe('overrides', () => {
  const prices = {
    'claude-fable-5-2': {
      input: 8,
      output: 40,
      steps: [
        { above: 500_000, input: 32, output: 160 },
        { above: 90_000, input: 16, output: 80, cacheRead: 3 },
      ],
      batch: 0.4,
      fast: { input: 20, output: 100 },
    },
  };

  it('take the place of the table, with steps, batch share and fast mode', () => {
    const tag = priceOf('claude-fable-5-2', { prices });
    const input = (inputTokens: number) => ({ ...NO_USAGE, inputTokens });
    expect(cost(tag, input(90_000))).toBeCloseTo(0.72, 12);
    expect(cost(tag, input(100_000))).toBeCloseTo(1.6, 12);
    expect(cost(tag, input(600_000))).toBeCloseTo(19.2, 12);
    expect(cost(tag, { ...input(100_000), tier: 'batch' })).toBeCloseTo(0.64, 12);
    expect(cost(tag, { ...input(100_000), speed: 'fast' })).toBeCloseTo(2, 12);
    // 0.04·16 + 0.03·3 + 0.02·20 + 0.01·32 + 0.008·80: what a step leaves out follows its own input price
    expect(cost(tag, USAGE)).toBeCloseTo(0.64 + 0.09 + 0.4 + 0.32 + 0.64, 12);
  });
});

describe('which price holds', () => {
  const list = (prices: Record<string, object>) => parseConfig({ prices } as ConfigInput).prices as PriceList;
  const book = (
    lists: { config?: Record<string, object>; file?: Record<string, object>; unpriced?: Unpriced } = {},
    today = '2026-11-29',
  ) =>
    compilePrices({
      config: list(lists.config ?? {}),
      file: list(lists.file ?? {}),
      unpriced: lists.unpriced ?? 'dearest',
      wall: () => Date.parse(today),
    });
  const price = (input: number, more: object = {}) => ({ input, output: input, ...more });

  it.each([
    ['claude-x-1', 1],
    ['claude-x-1-20260101', 2],
    ['claude-x-1-20261101', 1],
    ['claude-x-1@20261101', 1],
    ['claude-x-1-20261301', undefined],
    ['claude-x-1-20260132', undefined],
    ['claude-x-1-2026110', undefined],
    ['claude-x-1-202611011', undefined],
    ['claude-x-1-latest', undefined],
    ['claude-x-1-2', undefined],
    ['claude-x-12', undefined],
    ['claude-x', undefined],
    ['eu.claude-x-1', undefined],
    ['claude-x-1[1m]', undefined],
    ['team-7', 3],
    ['claude-x-1.', undefined],
  ])('%s costs %s', (model, input) => {
    const config = { 'team-*': price(3), 'claude-x-1': price(1), 'claude-x-1-20260101': price(2) };
    expect(book({ config }).known(model)?.price.input).toBe(input);
  });

  it('is the configuration’s before the file’s before the table’s; an exact id before a pattern of the same list', () => {
    const known = (lists: Parameters<typeof book>[0]) => book(lists).known('claude-opus-5')?.price.input;
    expect(known({})).toBe(5);
    expect(known({ file: { 'claude-opus-5': price(4) } })).toBe(4);
    expect(known({ file: { 'claude-*': price(6), 'claude-opus-5': price(4) } })).toBe(4);
    expect(known({ file: { 'claude-opus-5': price(4) }, config: { 'claude-*': price(6) } })).toBe(6);
  });

  it('waits for its first day where another price is known till then', () => {
    const file = {
      'claude-opus-5': price(4, { since: '2027-01-15' }),
      'claude-next-1': price(7, { since: '2027-01-15' }),
    };
    const at = (today: string, model: string) => book({ file }, today).known(model)?.price.input;
    expect(at('2027-01-14T23:59:59Z', 'claude-opus-5')).toBe(5);
    expect(at('2027-01-15T00:00:00Z', 'claude-opus-5')).toBe(4);
    expect(at('2026-11-29', 'claude-next-1')).toBe(7);
  });

  it('is the dearest of the same provider, of fast mode and of retired models where the id says so', () => {
    const config = { 'other-1': price(90), 'claude-far-1': price(11, { fast: price(70) }) };
    const counted = (model: string) => book({ config }).counted(model);
    expect(counted('claude-next-1')).toMatchObject({ origin: 'dearest', price: { input: 11, output: 50 } });
    expect(counted('next-1').price.input).toBe(90);
    expect(counted('claude-opus-4-9').price.input).toBe(15);
    expect(counted('claude-next-1-fast').price.input).toBe(70);
    expect(counted('claude-haiku-4-5')).toMatchObject({
      origin: 'table',
      guessedFast: 'dearest',
      fast: { price: { input: 70 } },
    });
  });

  it('where money is counted is never lower than any known price of the provider, step or fast mode', () => {
    const usd = fc.double({ min: 0, max: 1_000, noNaN: true });
    const one = fc.record({
      input: usd,
      output: usd,
      cacheRead: usd,
      batch: fc.double({ min: 0, max: 1, noNaN: true }),
      steps: fc.array(fc.record({ above: fc.integer({ min: 1, max: 1e6 }), input: usd, output: usd }), {
        maxLength: 2,
      }),
      fast: fc.record({ input: usd, output: usd }),
    });
    const lists = fc.dictionary(fc.stringMatching(/^claude-[a-z]{1,3}$/), one, { maxKeys: 5 });
    const tokens = fc.integer({ min: 0, max: 2_000_000 });
    fc.assert(
      fc.property(
        lists,
        lists,
        tokens,
        tokens,
        tokens,
        fc.boolean(),
        (config, file, input, read, output, isFast) => {
          const prices = book({ config, file });
          const of = charge({
            inputTokens: input,
            cacheReadTokens: read,
            outputTokens: output,
            speed: isFast ? 'fast' : 'standard',
          });
          const guess = cost(prices.counted('claude-nobody-has-priced-this'), of) ?? Number.NaN;
          for (const { model, isRetired } of prices.entries) {
            if (isRetired) continue;
            expect(guess).toBeGreaterThanOrEqual((cost(prices.known(model), of) ?? 0) - 1e-9);
          }
          const free = book({ config, file, unpriced: 'free' }).counted('claude-nobody-has-priced-this');
          expect(cost(free, of)).toBe(0);
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe('the age of the price list', () => {
  const codesAt = (today: string) =>
    understandConfig({}, { today: Date.parse(today) }).warnings.map(({ code }) => code);

  it('is warned of after 90 days', () => {
    const day = Date.parse(MODEL_TABLE_DATE);
    expect(codesAt(new Date(day + 90 * 86_400_000).toISOString())).toEqual([]);
    expect(codesAt(new Date(day + 91 * 86_400_000).toISOString())).toEqual(['HG_PRICES_OLD']);
  });
});
