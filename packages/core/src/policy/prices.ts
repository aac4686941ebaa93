/**
 * The day on which the table below was read. Prices are those of the provider's own API in USD; a cloud may add to
 * them, and a contract may take off: both are said under `prices` of the configuration.
 */
export const MODEL_TABLE_DATE = '2026-11-28';

/** USD per million tokens. */
export interface Price {
  readonly input: number;
  readonly output: number;
  readonly cacheWrite5m: number;
  readonly cacheWrite1h: number;
  readonly cacheRead: number;
}

/** A step of a price that depends on the size of the prompt. */
export interface PriceStep {
  /** The step holds for prompts above this many input tokens, cached ones included. */
  readonly above: number;
  readonly price: Price;
}

/** What a model's tokens cost at one speed. */
export interface Tariff {
  readonly price: Price;
  readonly steps: readonly PriceStep[];
}

/** What one model costs, since when, and who says so. */
export interface PriceRow {
  /** A model id. The price holds for this id, alone or with a date behind it. */
  readonly model: string;
  /** The first day of the price, as `2026-11-09`, UTC. */
  readonly since: string;
  /** Pages and releases that the numbers were read from, without `https://`. */
  readonly sources: readonly string[];
  readonly price: Price;
  readonly steps?: readonly PriceStep[];
  /** In fast mode. Absent where nobody has published that price. */
  readonly fast?: Tariff;
  /** The provider's own API no longer serves the model; a cloud may. It says nothing of what a new model costs. */
  readonly isRetired?: boolean;
}

/** Share of the price that a batch pays for every kind of token. Source: the pricing page, "Batch processing". */
export const BATCH_SHARE = 0.5;
/** USD for one web search, whatever the model: 10 for a thousand. Source: the pricing page, "Web search tool". */
export const WEB_SEARCH_USD = 0.01;

const PRICING = 'platform.claude.com/docs/en/about-claude/pricing';
const FAST_MODE = 'platform.claude.com/docs/en/build-with-claude/fast-mode';
/** Dates and fast-mode prices, each from a commit of models.dev. */
const MODELS_DEV = 'pypi.org/project/model-prices/0.0.5';
/** Its `model_prices_and_context_window_backup.json`. */
const LITELLM = 'pypi.org/project/litellm/1.110.2';

const price = (
  input: number,
  output: number,
  cacheWrite5m: number,
  cacheWrite1h: number,
  cacheRead: number,
): Price => ({ input, output, cacheWrite5m, cacheWrite1h, cacheRead });
const fast = (...of: Parameters<typeof price>): Tariff => ({ price: price(...of), steps: [] });

const MYTHOS_5_2 = {
  since: '2026-11-09',
  price: price(8, 40, 10, 16, 0.2),
  fast: fast(16, 80, 20, 32, 0.4),
  sources: [
    'platform.claude.com/docs/ko/release-notes/overview.md',
    'github.com/archid21/rightsize/releases/tag/v0.10.2',
    'qiita.com/kai_kou/items/83d306e07f59beddc48d',
    'documentation.s3ns.fr/gemini-enterprise-agent-platform/models/partner-models/claude/fable-5-2',
  ],
} as const;
const MYTHOS_5_1 = {
  since: '2026-09-01',
  price: price(10, 50, 12.5, 20, 0.25),
  sources: [PRICING, LITELLM],
} as const;
const MYTHOS_5 = {
  since: '2026-06-09',
  price: price(10, 50, 12.5, 20, 1),
  sources: [PRICING, LITELLM],
} as const;
const OPUS_4_5 = { price: price(5, 25, 6.25, 10, 0.5), sources: [PRICING, MODELS_DEV] } as const;
const OPUS_4 = {
  price: price(15, 75, 18.75, 30, 1.5),
  sources: [PRICING, MODELS_DEV],
  isRetired: true,
} as const;
const SONNET_4 = { price: price(3, 15, 3.75, 6, 0.3), sources: [PRICING, MODELS_DEV] } as const;

/** One row for each model; names of Claude Mythos have the prices of Claude Fable. */
export const PRICES: readonly PriceRow[] = [
  { model: 'claude-fable-5-2', ...MYTHOS_5_2 },
  { model: 'claude-mythos-5-2', ...MYTHOS_5_2 },
  { model: 'claude-fable-5-1', ...MYTHOS_5_1 },
  { model: 'claude-mythos-5-1', ...MYTHOS_5_1 },
  { model: 'claude-fable-5', ...MYTHOS_5 },
  { model: 'claude-mythos-5', ...MYTHOS_5 },
  {
    model: 'claude-opus-5-5',
    since: '2026-09-22',
    price: price(4, 20, 5, 8, 0.2),
    fast: fast(8, 40, 10, 16, 0.4),
    sources: [
      'github.com/kurofune/claudit/releases/tag/v1.9.0',
      'vercel.com/ai-gateway/models/claude-opus-5.5-fast.md',
      LITELLM,
      MODELS_DEV,
    ],
  },
  {
    model: 'claude-opus-5',
    since: '2026-07-24',
    price: price(5, 25, 6.25, 10, 0.5),
    fast: fast(10, 50, 12.5, 20, 1),
    sources: [PRICING, 'vercel.com/ai-gateway/models/claude-opus-5-fast.md', MODELS_DEV],
  },
  {
    model: 'claude-opus-4-8',
    since: '2026-05-28',
    ...OPUS_4_5,
    fast: fast(10, 50, 12.5, 20, 1),
    sources: [PRICING, FAST_MODE, MODELS_DEV],
  },
  { model: 'claude-opus-4-7', since: '2026-04-16', ...OPUS_4_5 },
  { model: 'claude-opus-4-6', since: '2026-02-05', ...OPUS_4_5 },
  { model: 'claude-opus-4-5', since: '2025-11-24', ...OPUS_4_5 },
  { model: 'claude-opus-4-1', since: '2025-08-05', ...OPUS_4 },
  { model: 'claude-opus-4-0', since: '2025-06-05', ...OPUS_4 },
  { model: 'claude-opus-4', since: '2025-06-05', ...OPUS_4 },
  {
    model: 'claude-sonnet-5-5',
    // Its cache reads cost 0.20 before.
    since: '2026-10-07',
    price: price(2, 10, 2.5, 4, 0.1),
    sources: [
      'platform.claude.com/docs/en/release-notes/overview',
      'github.com/TheKrush/PromptFuel/releases/tag/v1.0.23',
      LITELLM,
    ],
  },
  {
    model: 'claude-sonnet-5',
    since: '2026-06-30',
    price: price(2, 10, 2.5, 4, 0.2),
    sources: [LITELLM, MODELS_DEV],
  },
  { model: 'claude-sonnet-4-6', since: '2026-02-17', ...SONNET_4 },
  { model: 'claude-sonnet-4-5', since: '2025-09-29', ...SONNET_4 },
  { model: 'claude-sonnet-4-0', since: '2025-06-04', ...SONNET_4, isRetired: true },
  { model: 'claude-sonnet-4', since: '2025-06-04', ...SONNET_4, isRetired: true },
  {
    model: 'claude-haiku-5-5',
    since: '2026-10-07',
    price: price(0.1, 0.5, 0.125, 0.2, 0.01),
    steps: [{ above: 100_000, price: price(0.5, 2.5, 0.625, 1, 0.05) }],
    sources: [
      'platform.claude.com/docs/en/models/haiku-5-5/overview',
      'github.com/kurofune/claudit/releases/tag/v1.9.2',
      LITELLM,
    ],
  },
  {
    model: 'claude-haiku-4-5',
    since: '2025-10-15',
    price: price(1, 5, 1.25, 2, 0.1),
    sources: [LITELLM, MODELS_DEV],
  },
];
