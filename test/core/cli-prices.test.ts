import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { check } from '../../packages/cli/src/check.ts';
import { load } from '../../packages/cli/src/plan/load.ts';
import { prices } from '../../packages/cli/src/prices/prices.ts';

/** Writes files into a folder of their own and gives the paths. */
function files<Name extends string>(texts: Record<Name, string | object>): Record<Name, string> {
  const folder = mkdtempSync(join(tmpdir(), 'headgate-prices-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const entries = Object.entries(texts).map(([name, text]) => {
    const path = join(folder, name);
    writeFileSync(path, typeof text === 'string' ? text : JSON.stringify(text));
    return [name, path];
  });
  return Object.fromEntries(entries) as Record<Name, string>;
}

const TODAY = Date.parse('2026-11-29');

async function run(config: string | undefined, options: Parameters<typeof prices>[1] = {}) {
  const lines: string[] = [];
  const code = await prices(config, options, (text) => void lines.push(text), TODAY);
  return { code, out: lines.join('\n') };
}

const checked = async (path: string) => {
  const lines: string[] = [];
  const options = { model: 'claude-sonnet-4-6', maxTokens: 1, json: true };
  const code = await check(path, options, (text) => void lines.push(text));
  return { code, ...(JSON.parse(lines.join('\n')) as { problems: object[]; warnings: object[] }) };
};

/** The shape of LiteLLM's table: USD per token. */
const liteLlm = (over: object = {}, more: object = {}) => ({
  sample_spec: { litellm_provider: 'one of …', input_cost_per_token: 0 },
  'gpt-9': { litellm_provider: 'openai', input_cost_per_token: 1e-6, output_cost_per_token: 2e-6 },
  'claude-haiku-5-5': {
    litellm_provider: 'anthropic',
    input_cost_per_token: 1e-7,
    output_cost_per_token: 5e-7,
    cache_creation_input_token_cost: 1.25e-7,
    cache_creation_input_token_cost_above_1hr: 2e-7,
    cache_read_input_token_cost: 1e-8,
    input_cost_per_token_batches: 5e-8,
    input_cost_per_token_above_100k_tokens: 5e-7,
    output_cost_per_token_above_100k_tokens: 2.5e-6,
    cache_creation_input_token_cost_above_1hr_above_100k_tokens: 1e-6,
    ...over,
  },
  'claude-opus-5-20260724': {
    litellm_provider: 'anthropic',
    input_cost_per_token: 5e-6,
    output_cost_per_token: 2.5e-5,
    provider_specific_entry: { us: 1.1, fast: 2 },
  },
  ...more,
});

/** The shape of models.dev's: USD per million tokens. */
const modelsDev = (over: object = {}, opus: object = {}) => ({
  openai: { id: 'openai', models: { 'gpt-9': { id: 'gpt-9', cost: { input: 1, output: 2 } } } },
  anthropic: {
    id: 'anthropic',
    models: {
      'claude-haiku-5-5': {
        id: 'claude-haiku-5-5',
        cost: {
          input: 0.1,
          output: 0.5,
          cache_read: 0.01,
          cache_write: 0.125,
          // The older field stands beside the tiers, with the price of a tier of another size.
          context_over_200k: { input: 0.5, output: 2.5 },
          tiers: [{ input: 0.5, output: 2.5, tier: { type: 'context', size: 100_000 } }],
          ...over,
        },
      },
      'claude-opus-5': {
        id: 'claude-opus-5',
        cost: { input: 5, output: 25 },
        experimental: { modes: { fast: { cost: { input: 10, output: 50, ...opus } } } },
      },
    },
  },
});

describe('headgate prices', () => {
  it('prints every row with its first day, its origin and its sources', async () => {
    const { code, out } = await run(undefined);
    expect(code).toBe(0);
    expect(out).toMatch(/claude-sonnet-5-5 +2 +10 +2\.5 +4 +0\.1 +2026-10-07 +built-in/);
    expect(out).toMatch(/claude-haiku-5-5[^\n]*\n {2}above 100,000 +0\.5 +2\.5/);
    expect(out).toMatch(/claude-opus-5-5[^\n]*\n {2}in fast mode +8 +40[^\n]*\n {2}source: \S+/);
  });

  it('puts the configuration before the price file and both before the table; what is announced waits', async () => {
    const { config, file } = files({
      config: 'prices:\n  file: file\n  claude-opus-5: { input: 3, output: 9 }\n',
      file: {
        'claude-opus-5': { input: 4, output: 8 },
        'claude-opus-5-5': { input: 2, output: 6, source: 'contract 7' },
        'claude-sonnet-5-5': { input: 1, output: 1, since: '2026-12-01' },
        'claude-next-1': { input: 7, output: 7 },
      },
    });
    const { code, out } = await run(config);
    expect(code).toBe(0);
    const rows = out.split('\n').filter((line) => /^claude-(opus-5|opus-5-5|sonnet-5-5|next-1) /.test(line));
    expect(rows.map((row) => row.split(/ +/).slice(0, 2).join(' '))).toEqual([
      'claude-opus-5 3',
      'claude-opus-5-5 2',
      'claude-sonnet-5-5 1',
      'claude-next-1 7',
      'claude-sonnet-5-5 2',
    ]);
    expect(rows[0]).toContain('configuration');
    expect(rows[1]).toContain(file);
    expect(out).toContain('source: contract 7');
  });

  it('prints a price file as JSON, which the product reads again', async () => {
    const { out } = await run(undefined, { json: true });
    const { config } = files({ config: 'prices: { file: prices.json }\n', 'prices.json': out });
    expect((await run(config)).code).toBe(0);
    expect((await run(config, { json: true })).out).toBe(out);
  });

  it.each([
    ['LiteLLM', liteLlm(), 0, 'nothing differs'],
    [
      'LiteLLM',
      liteLlm({ cache_read_input_token_cost: 2e-8 }),
      1,
      'claude-haiku-5-5 cacheRead: ours 0.01, theirs 0.02',
    ],
    [
      'LiteLLM',
      liteLlm({ output_cost_per_token_above_100k_tokens: 3e-6 }),
      1,
      'above 100000: output: ours 2.5, theirs 3',
    ],
    [
      'LiteLLM',
      liteLlm({ input_cost_per_token_batches: 1e-7 }),
      1,
      'claude-haiku-5-5 batch: ours 0.5, theirs 1',
    ],
    ['LiteLLM', liteLlm({ provider_specific_entry: { fast: 3 } }), 1, 'fast.input: ours nothing, theirs 0.3'],
    [
      'LiteLLM',
      liteLlm({}, { 'claude-opus-5-7': { litellm_provider: 'anthropic', input_cost_per_token: 1e-6 } }),
      1,
      'without a price here: claude-opus-5-7',
    ],
    [
      'LiteLLM',
      liteLlm(
        {},
        {
          'claude-1': {
            litellm_provider: 'anthropic',
            input_cost_per_token: 1e-6,
            deprecation_date: '2024-11-06',
          },
        },
      ),
      0,
      'retired, and without a price here: claude-1',
    ],
    ['models.dev', modelsDev(), 0, 'nothing differs'],
    ['models.dev', modelsDev({ output: 0.6 }), 1, 'claude-haiku-5-5 output: ours 0.5, theirs 0.6'],
    ['models.dev', modelsDev({ tiers: undefined }), 1, 'above 100000: input: ours 0.5, theirs nothing'],
    ['models.dev', modelsDev({}, { output: 60 }), 1, 'claude-opus-5 fast.output: ours 50, theirs 60'],
    ['models.dev', modelsDev().anthropic, 0, 'nothing differs'],
  ])('--diff, format of %s, case %#: exit code %2$d', async (format, content, code, text) => {
    const { diff } = files({ diff: content });
    const result = await run(undefined, { diff });
    expect(result.out).toContain(text);
    expect(result.out).toContain(`format of ${format}`);
    expect(result.code).toBe(code);
  });

  it.each([
    ['no JSON', '{', /JSON/],
    ['neither format', '{"a":{"input":1}}', /LiteLLM.*models\.dev/],
    ['a list', '[]', /LiteLLM.*models\.dev/],
    ['no Claude model', '{"gpt-9":{"litellm_provider":"openai","input_cost_per_token":1}}', /found none/],
  ])('--diff exits with 2 for %s', async (_what, text, message) => {
    const { diff } = files({ diff: text });
    const { code, out } = await run(undefined, { diff });
    expect([code, out]).toEqual([2, expect.stringMatching(message)]);
    expect(out).toContain(diff);
  });

  it('exits with 2 for files that are not there', async () => {
    expect(await run('/no/such.yaml')).toEqual({ code: 2, out: expect.stringContaining('/no/such.yaml') });
    expect(await run(undefined, { diff: '/no/such.json' })).toEqual({
      code: 2,
      out: expect.stringContaining('/no/such.json'),
    });
    const { config } = files({ config: 'prices: { file: gone.json }\n' });
    expect(await run(config)).toEqual({ code: 2, out: expect.stringContaining('gone.json') });
  });
});

describe('headgate check', () => {
  it('names configured models without a price, and says what counts for them', async () => {
    const { config, file } = files({
      config: `
        prices: { file: file }
        unpriced: free
        budgets: [{ name: b, usd: 1/day, downgradeTo: claude-haiku-5-9 }]
        account: [{ name: x, models: [claude-opus-5-5*, claude-fable-9*, claude-next-1] }]
        fallbacks: { claude-opus-5: [claude-opus-5-7] }
      `,
      file: { 'claude-next-1': { input: 1, output: 1 } },
    });
    expect(file).toBeDefined();
    const { code, warnings } = await checked(config);
    expect(code).toBe(0);
    expect(warnings).toMatchObject([
      { code: 'HG_UNKNOWN_MODEL', path: 'account[0].models', received: '"claude-fable-9*"' },
      {
        code: 'HG_UNKNOWN_MODEL',
        path: 'budgets[0].downgradeTo',
        hint: expect.stringContaining('counts as free'),
      },
      { code: 'HG_UNPRICED_MODEL', path: 'fallbacks.claude-opus-5', received: '"claude-opus-5-7"' },
    ]);
  });

  it('tells what is wrong with the configuration and with the price file at once', async () => {
    const { config } = files({ config: 'unpriced: never\nprices: { file: gone.json }\n' });
    const { code, problems } = await checked(config);
    expect(code).toBe(1);
    expect(problems).toMatchObject([
      { path: 'unpriced', line: 1, expected: 'one of dearest, refuse, free' },
      { path: 'prices.file', code: 'HG_PRICE_FILE', line: 2 },
    ]);
    const wrong = files({ config: 'prices: { file: 5 }\n' });
    expect((await checked(wrong.config)).problems).toMatchObject([
      { path: 'prices.file', code: 'HG_WRONG_VALUE' },
    ]);
  });

  it('checks the price file too, and points at its name', async () => {
    const { config } = files({
      config: 'quotas: []\nprices:\n  file: file\n',
      file: { 'claude-next-1': { input: -1 } },
    });
    const { code, problems } = await checked(config);
    expect(code).toBe(1);
    expect(problems).toMatchObject([
      { path: 'prices.file', line: 3, message: expect.stringContaining('claude-next-1.input') },
      { path: 'prices.file', line: 3, message: expect.stringContaining('claude-next-1.output') },
    ]);
  });
});

describe('headgate plan', () => {
  it('rehearses with the prices of the price file', async () => {
    const { config, traffic } = files({
      config:
        'account: [{ name: a, models: ["*"], requestsPerMinute: 60, inputTokensPerMinute: 1k, outputTokensPerMinute: 1k, burst: 1 }]\nprices: { file: prices.json, claude-b-1: { input: 2, output: 2 } }\n',
      'prices.json': { 'claude-a-1': { input: 1, output: 1 }, 'claude-b-1': { input: 1, output: 1 } },
      traffic:
        'duration: 1m\ncalls: [{ name: c, model: claude-a-1, arrivals: { shape: poisson, rate: 1/second }, input: 1, output: 1 }]\n',
    });
    const loaded = await load(config, traffic);
    expect(loaded).toMatchObject({
      config: { prices: { 'claude-a-1': { input: 1 }, 'claude-b-1': { input: 2 } } },
    });
  });
});
