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

/** What a model's tokens cost. */
export interface PriceTag {
  readonly price: Price;
  readonly steps: readonly PriceStep[];
}

export interface Model {
  /** Glob over model ids. */
  readonly match: string;
  /** Models of one class draw on one upstream bucket. */
  readonly class: string;
  /** Ceiling of `max_tokens`. */
  readonly maxOutputTokens: number;
  /** Which of the provider's two tokenizers counts: the newer finds about 1.3 times the tokens in the same text. */
  readonly tokenizer: 'older' | 'newer';
  /** Absent where the price is not known: then tokens are reported and money is not. */
  readonly price?: Price;
  readonly steps?: readonly PriceStep[];
}

const price = (
  input: number,
  output: number,
  cacheWrite5m: number,
  cacheWrite1h: number,
  cacheRead: number,
): Price => ({ input, output, cacheWrite5m, cacheWrite1h, cacheRead });

const OPUS_4 = price(5, 25, 6.25, 10, 0.5);
const SONNET_4 = price(3, 15, 3.75, 6, 0.3);

/** First match wins, so the longer patterns stand first. */
export const MODELS: readonly Model[] = [
  {
    match: 'claude-opus-5-5*',
    class: 'opus-5-5',
    maxOutputTokens: 128_000,
    tokenizer: 'newer',
    price: price(4, 20, 5, 8, 0.2),
  },
  {
    match: 'claude-opus-5*',
    class: 'opus-5',
    maxOutputTokens: 128_000,
    tokenizer: 'newer',
    price: price(5, 25, 6.25, 10, 0.5),
  },
  {
    match: 'claude-opus-4-8*',
    class: 'opus-4',
    maxOutputTokens: 128_000,
    tokenizer: 'newer',
    price: OPUS_4,
  },
  {
    match: 'claude-opus-4-7*',
    class: 'opus-4',
    maxOutputTokens: 128_000,
    tokenizer: 'newer',
    price: OPUS_4,
  },
  {
    match: 'claude-opus-4-*',
    class: 'opus-4',
    maxOutputTokens: 64_000,
    tokenizer: 'older',
    price: OPUS_4,
  },
  {
    match: 'claude-sonnet-5-5*',
    class: 'sonnet-5-5',
    maxOutputTokens: 128_000,
    tokenizer: 'newer',
    price: price(2, 10, 2.5, 4, 0.2),
  },
  {
    match: 'claude-sonnet-5*',
    class: 'sonnet-5',
    maxOutputTokens: 128_000,
    tokenizer: 'newer',
    price: price(2, 10, 2.5, 4, 0.2),
  },
  {
    match: 'claude-sonnet-4-*',
    class: 'sonnet-4',
    maxOutputTokens: 64_000,
    tokenizer: 'older',
    price: SONNET_4,
  },
  {
    match: 'claude-haiku-5-5*',
    class: 'haiku-5-5',
    maxOutputTokens: 128_000,
    tokenizer: 'newer',
    // Cache prices that are not published are taken at the usual multiples of the input price (2 and 0.1).
    price: price(0.1, 0.5, 0.125, 0.2, 0.01),
    steps: [{ above: 100_000, price: price(0.5, 2.5, 0.625, 1, 0.05) }],
  },
  {
    match: 'claude-haiku-4-5*',
    class: 'haiku-4-5',
    maxOutputTokens: 64_000,
    tokenizer: 'older',
    price: price(1, 5, 1.25, 2, 0.1),
  },
  {
    match: 'claude-fable-5-1*',
    class: 'fable-5',
    maxOutputTokens: 128_000,
    tokenizer: 'newer',
    price: price(10, 50, 12.5, 20, 1),
  },
  {
    match: 'claude-fable-5*',
    class: 'fable-5',
    maxOutputTokens: 128_000,
    tokenizer: 'newer',
  },
  {
    match: 'claude-mythos-5*',
    class: 'mythos-5',
    maxOutputTokens: 128_000,
    tokenizer: 'newer',
  },
];
