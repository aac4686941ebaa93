import { describe, expect, it } from 'vitest';
import { batchBench, MODEL, params } from './support.ts';

const OPUS = 'claude-opus-4-8';
const SONNET = 'claude-sonnet-4-6';
const tokens = (input: number, output: number) => ({
  input_tokens: input,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: 0,
  output_tokens: output,
});
const entry = (type: string, model: string | undefined, input: number, output: number) => ({
  type,
  ...(model === undefined ? {} : { model }),
  ...tokens(input, output),
});

/** The usage of a result, what it costs at half of the price, and input and output by model. */
const RESULTS: [name: string, usage: object, usd: number, models: Record<string, [number, number]>][] = [
  [
    'an advisor (old: nothing of it)',
    { ...tokens(1_000, 100), iterations: [entry('advisor_message', OPUS, 300_000, 20_000)] },
    0.5 * (0.0015 + 2),
    { [MODEL]: [1_000, 100], [OPUS]: [300_000, 20_000] },
  ],
  [
    'two advisors, among all turns of a tool loop',
    {
      ...tokens(3_000, 90),
      iterations: [
        entry('message', undefined, 1_000, 40),
        entry('advisor_message', OPUS, 10_000, 1_000),
        entry('message', MODEL, 2_000, 50),
        entry('advisor_message', SONNET, 10_000, 1_000),
      ],
    },
    0.5 * (0.003 + 0.00045 + 0.075 + 0.045),
    { [MODEL]: [3_000, 90], [OPUS]: [10_000, 1_000], [SONNET]: [10_000, 1_000] },
  ],
  [
    'a summary',
    {
      ...tokens(1_000, 100),
      iterations: [entry('compaction', undefined, 50_000, 2_000), entry('message', undefined, 1_000, 100)],
    },
    0.5 * (0.051 + 0.0105),
    { [MODEL]: [51_000, 2_100] },
  ],
  [
    'a fallback',
    {
      ...tokens(1_000, 100),
      iterations: [entry('message', MODEL, 900, 20), entry('fallback_message', SONNET, 1_000, 100)],
    },
    0.5 * (0.0009 + 0.0001 + 0.003 + 0.0015),
    { [MODEL]: [900, 20], [SONNET]: [1_000, 100] },
  ],
  [
    '4294967295 output tokens of 100 that were asked for (old: 300000)',
    tokens(1_000, 4_294_967_295),
    0.5 * 0.0015,
    { [MODEL]: [1_000, 100] },
  ],
];

describe('the result of a batch', () => {
  it.each(RESULTS)(
    'with %s is counted once, by model, at half of the price',
    async (_, usage, usd, models) => {
      const { clock, api, governor, batches } = await batchBench({
        config: {
          budgets: [{ name: 'day', usd: '1000/day' }],
          quotas: [{ name: 'opus', when: { model: 'claude-opus-*' }, per: 'user', outputTokens: '10k/day' }],
        },
      });
      api.inject({
        kind: 'results',
        line: (line) => {
          const read = JSON.parse(line) as { result: { message: object } };
          return JSON.stringify({
            ...read,
            result: { ...read.result, message: { ...read.result.message, usage } },
          });
        },
      });
      const handle = await governor.run({ user: 'ada' }, () => batches.submit(params(1), { flush: true }));
      await clock.advance(200_000);
      await handle.result();
      expect(governor.budgets()[0]?.usedUsd).toBeCloseTo(usd, 9);
      const { rows, total } = await governor.usage({ by: 'model' });
      expect(Object.fromEntries(rows.map((row) => [row.key, [row.inputTokens, row.outputTokens]]))).toEqual(
        models,
      );
      expect(total.usd).toBeCloseTo(usd, 9);
      const refused = await governor
        .run({ user: 'ada' }, () => batches.submit(params(2, { model: OPUS, max_tokens: 10 })))
        .then(
          () => undefined,
          (error: { rule?: string }) => error.rule,
        );
      expect(refused).toBe((models[OPUS]?.[1] ?? 0) > 10_000 ? 'opus' : undefined);
    },
  );

  it('cannot have held more than the bytes of its request (old: a context window)', async () => {
    const { clock, api, governor, batches, warnings } = await batchBench();
    api.inject({
      kind: 'results',
      line: (line) => line.replace(/"input_tokens":\d+/, '"input_tokens":2000000'),
    });
    const handle = await batches.submit(params(1), { flush: true });
    await clock.advance(200_000);
    await handle.result();
    const { total } = await governor.usage({ by: 'model' });
    expect(total.inputTokens).toBeLessThan(5_000);
    expect(warnings.filter((line) => line.includes('HG_USAGE_BOUNDED'))).toHaveLength(1);
  });
});
