import type { Price, PriceStep } from '@headgate/core';

/** A tariff of another table, in USD per million tokens: as much of it as that table says. */
export interface ForeignTariff {
  readonly price: Partial<Price>;
  readonly steps: readonly { readonly above: PriceStep['above']; readonly price: Partial<Price> }[];
}

/** What another table says of one model. */
export interface ForeignPrice extends ForeignTariff {
  readonly model: string;
  readonly fast: ForeignTariff | undefined;
  /** Share of the price that a batch pays. */
  readonly batch: number | undefined;
  /** The table says that the model is retired, or soon will be. */
  readonly isRetired: boolean;
}

export interface ForeignTable {
  readonly format: 'LiteLLM' | 'models.dev';
  readonly prices: readonly ForeignPrice[];
}

type Json = Readonly<Record<string, unknown>>;
const isRecord = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const number = (value: unknown) =>
  typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;

/**
 * Reads the Claude models of a table in LiteLLM's format (`model_prices_and_context_window.json`: USD per token, by model)
 * or in that of models.dev (`api.json`: USD per million tokens, by provider). `today` is in milliseconds of the epoch.
 * @throws Error for anything else.
 */
export function readForeign(content: unknown, today: number): ForeignTable {
  if (isRecord(content)) {
    const provider = isRecord(content.anthropic) ? content.anthropic : content;
    if (isRecord(provider.models)) {
      const prices = Object.entries(provider.models).flatMap(([id, model]) => ofModelsDev(id, model));
      if (prices.length > 0) return { format: 'models.dev', prices };
    }
    const prices = Object.entries(content).flatMap(([id, model]) => ofLiteLlm(id, model, today));
    if (prices.length > 0) return { format: 'LiteLLM', prices };
  }
  throw new Error(
    'expected prices of Claude models in the format of LiteLLM (model_prices_and_context_window.json) or of models.dev (api.json), found none',
  );
}

const PER_MILLION = 1_000_000;

/** Prices are decimal numbers of few digits: what a product of two of them has beyond that is no difference. */
const tidy = (usd: number) => Number(usd.toPrecision(12));
const scaled = (value: unknown, factor: number) => {
  const usd = number(value);
  return usd === undefined ? undefined : tidy(usd * factor);
};

/** Only what is there. */
function compact(price: { readonly [Kind in keyof Price]: number | undefined }): Partial<Price> {
  return Object.fromEntries(Object.entries(price).filter(([, usd]) => usd !== undefined));
}

function ofLiteLlm(model: string, entry: unknown, today: number): ForeignPrice[] {
  if (!isRecord(entry) || entry.litellm_provider !== 'anthropic') return [];
  if (number(entry.input_cost_per_token) === undefined) return [];
  const priceAt = (suffix: string, factor = 1): Partial<Price> => {
    const usd = (key: string) => scaled(entry[`${key}${suffix}`], PER_MILLION * factor);
    return compact({
      input: usd('input_cost_per_token'),
      output: usd('output_cost_per_token'),
      cacheWrite5m: usd('cache_creation_input_token_cost'),
      cacheWrite1h: usd('cache_creation_input_token_cost_above_1hr'),
      cacheRead: usd('cache_read_input_token_cost'),
    });
  };
  const bounds = Object.keys(entry).flatMap(
    (key) => /^input_cost_per_token_above_(\d+)k_tokens$/.exec(key)?.[1] ?? [],
  );
  const steps = bounds.map((bound) => ({
    above: Number(bound) * 1_000,
    price: priceAt(`_above_${bound}k_tokens`),
  }));
  // Fast mode is told as a multiple of every price.
  const multiple = isRecord(entry.provider_specific_entry)
    ? number(entry.provider_specific_entry.fast)
    : undefined;
  const batchInput = number(entry.input_cost_per_token_batches);
  const input = number(entry.input_cost_per_token) ?? 0;
  const end = typeof entry.deprecation_date === 'string' ? Date.parse(entry.deprecation_date) : Number.NaN;
  return [
    {
      model,
      price: priceAt(''),
      steps,
      fast: multiple === undefined ? undefined : { price: priceAt('', multiple), steps: [] },
      batch: batchInput === undefined || input === 0 ? undefined : tidy(batchInput / input),
      isRetired: end <= today,
    },
  ];
}

function ofModelsDev(model: string, entry: unknown): ForeignPrice[] {
  if (!isRecord(entry) || !isRecord(entry.cost) || number(entry.cost.input) === undefined) return [];
  const { experimental, status, cost } = entry;
  const modes = isRecord(experimental) && isRecord(experimental.modes) ? experimental.modes : {};
  const fast = isRecord(modes.fast) ? modes.fast.cost : undefined;
  return [
    {
      model,
      price: costOf(cost),
      steps: stepsOf(cost),
      fast: isRecord(fast) ? { price: costOf(fast), steps: [] } : undefined,
      batch: undefined,
      isRetired: status === 'deprecated',
    },
  ];
}

const costOf = (cost: Json): Partial<Price> =>
  compact({
    input: number(cost.input),
    output: number(cost.output),
    cacheWrite5m: number(cost.cache_write),
    cacheWrite1h: undefined,
    cacheRead: number(cost.cache_read),
  });

/** `tiers` by context size; older files have one price above 200,000 tokens instead. */
function stepsOf(cost: Json): ForeignTariff['steps'] {
  if (Array.isArray(cost.tiers)) {
    return cost.tiers.filter(isRecord).flatMap((tier) => {
      const above = isRecord(tier.tier) && tier.tier.type === 'context' ? number(tier.tier.size) : undefined;
      return above === undefined ? [] : [{ above, price: costOf(tier) }];
    });
  }
  return isRecord(cost.context_over_200k) ? [{ above: 200_000, price: costOf(cost.context_over_200k) }] : [];
}
