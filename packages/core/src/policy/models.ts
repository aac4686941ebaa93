/**
 * The day on which the table below was read off the provider's model and price pages. Limits of an account
 * are not here on purpose: they differ by account and are learned from response headers.
 */
export const MODEL_TABLE_DATE = '2026-11-24';

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

/** What a model's tokens cost. */
export interface PriceTag extends Tariff {
  /** In fast mode. Absent where that price is not known: then it is money that nobody can tell. */
  readonly fast?: Tariff | undefined;
  /** Share of the price that a batch pays, of every kind of token. */
  readonly batch: number;
}

/** Every model's, by the price list of the day of the table. */
export const BATCH_SHARE = 0.5;
/** USD for one web search, whatever the model: 10 for a thousand. */
export const WEB_SEARCH_USD = 0.01;

export interface Model {
  /** Glob over model ids. */
  readonly match: string;
  /** Models of one class draw on one upstream bucket. */
  readonly class: string;
  /** Ceiling of `max_tokens`. */
  readonly maxOutputTokens: number;
  /** What a prompt and its answer may come to together. */
  readonly contextTokens: number;
  /** Kinds of `thinking` that it takes, apart from none. */
  readonly thinking: readonly ThinkingKind[];
  /** A shorter prefix is silently not cached. Not published for the 5 line: there the largest known is assumed. */
  readonly cacheMinTokens: number;
  /** Which of the provider's two tokenizers counts: the newer finds about 1.3 times the tokens in the same text. */
  readonly tokenizer: 'older' | 'newer';
  /** Absent where the price is not known: then tokens are reported and money is not. */
  readonly price?: Price;
  readonly steps?: readonly PriceStep[];
  readonly fast?: Tariff;
}

export type ThinkingKind = 'enabled' | 'adaptive' | 'between_tools';

const price = (
  input: number,
  output: number,
  cacheWrite5m: number,
  cacheWrite1h: number,
  cacheRead: number,
): Price => ({ input, output, cacheWrite5m, cacheWrite1h, cacheRead });

const OPUS_4 = price(5, 25, 6.25, 10, 0.5);
const SONNET_4 = price(3, 15, 3.75, 6, 0.3);

const M = 1_000_000;
const NEWER = {
  tokenizer: 'newer',
  maxOutputTokens: 128_000,
  contextTokens: M,
  cacheMinTokens: 4_096,
} as const;
const OLDER = { tokenizer: 'older', maxOutputTokens: 64_000, cacheMinTokens: 4_096 } as const;
const BUDGET: readonly ThinkingKind[] = ['enabled'];
const ADAPTIVE: readonly ThinkingKind[] = ['adaptive', 'between_tools'];
const BOTH: readonly ThinkingKind[] = [...BUDGET, ...ADAPTIVE];

/** First match wins, so the longer patterns stand first. */
export const MODELS: readonly Model[] = [
  {
    match: 'claude-opus-5-5*',
    class: 'opus-5-5',
    ...NEWER,
    thinking: ADAPTIVE,
    price: price(4, 20, 5, 8, 0.2),
  },
  {
    match: 'claude-opus-5*',
    class: 'opus-5',
    ...NEWER,
    thinking: ADAPTIVE,
    price: price(5, 25, 6.25, 10, 0.5),
  },
  {
    match: 'claude-opus-4-8*',
    class: 'opus-4',
    ...NEWER,
    thinking: BOTH,
    price: OPUS_4,
    // Published for input and output; the multiples of the cache stack on them.
    fast: { price: price(10, 50, 12.5, 20, 1), steps: [] },
  },
  { match: 'claude-opus-4-7*', class: 'opus-4', ...NEWER, thinking: BOTH, price: OPUS_4 },
  { match: 'claude-opus-4-6*', class: 'opus-4', ...OLDER, contextTokens: M, thinking: BOTH, price: OPUS_4 },
  {
    match: 'claude-opus-4-*',
    class: 'opus-4',
    ...OLDER,
    contextTokens: 200_000,
    thinking: BUDGET,
    price: OPUS_4,
  },
  {
    match: 'claude-sonnet-5-5*',
    class: 'sonnet-5-5',
    ...NEWER,
    thinking: ADAPTIVE,
    price: price(2, 10, 2.5, 4, 0.2),
  },
  {
    match: 'claude-sonnet-5*',
    class: 'sonnet-5',
    ...NEWER,
    thinking: ADAPTIVE,
    price: price(2, 10, 2.5, 4, 0.2),
  },
  {
    match: 'claude-sonnet-4-6*',
    class: 'sonnet-4',
    ...OLDER,
    contextTokens: M,
    cacheMinTokens: 2_048,
    thinking: BOTH,
    price: SONNET_4,
  },
  {
    match: 'claude-sonnet-4-*',
    class: 'sonnet-4',
    ...OLDER,
    contextTokens: 200_000,
    cacheMinTokens: 1_024,
    thinking: BUDGET,
    price: SONNET_4,
  },
  {
    match: 'claude-haiku-5-5*',
    class: 'haiku-5-5',
    ...NEWER,
    thinking: ADAPTIVE,
    // Cache prices that are not published are taken at the usual multiples of the input price (2 and 0.1).
    price: price(0.1, 0.5, 0.125, 0.2, 0.01),
    steps: [{ above: 100_000, price: price(0.5, 2.5, 0.625, 1, 0.05) }],
  },
  {
    match: 'claude-haiku-4-5*',
    class: 'haiku-4-5',
    ...OLDER,
    contextTokens: 200_000,
    thinking: BUDGET,
    price: price(1, 5, 1.25, 2, 0.1),
  },
  // Its cache prices are not published: the usual multiples.
  {
    match: 'claude-fable-5-1*',
    class: 'fable-5',
    ...NEWER,
    thinking: ADAPTIVE,
    price: price(10, 50, 12.5, 20, 1),
  },
  { match: 'claude-fable-5*', class: 'fable-5', ...NEWER, thinking: ADAPTIVE },
  { match: 'claude-mythos-5*', class: 'mythos-5', ...NEWER, thinking: ADAPTIVE },
];
