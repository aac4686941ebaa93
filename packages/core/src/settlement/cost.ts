import type { PriceTag } from '../policy/price-book.ts';
import { type Price, type Tariff, WEB_SEARCH_USD } from '../policy/prices.ts';
import { type Speed, type Tier, type Tokens, totalInput } from './usage.ts';

/** What the price of an inference depends on. */
export interface Priced extends Tokens {
  readonly speed: Speed;
  readonly tier: Tier;
  readonly geography: string | undefined;
  readonly webSearches: number;
}

/** Inference that stays in one geography costs this much more, on every kind of token. Source: Claude docs, data residency. */
const RESIDENCY = 1.1;
/** Geographies at the plain price. `not_available`: the model has no such choice. */
const PLAIN_GEOGRAPHIES: ReadonlySet<string | undefined> = new Set([
  undefined,
  '',
  'global',
  'not_available',
]);

/**
 * USD for one inference, from each kind of token by itself. The size of its prompt decides the step, its speed the
 * tariff; a batch pays a share of every token, and full price for what is no token. Undefined where a price is not
 * known. Pure.
 */
export function cost(tag: PriceTag | undefined, priced: Priced): number | undefined {
  const tariff = tariffOf(tag, priced);
  if (tag === undefined || tariff === undefined) return undefined;
  const share = priced.tier === 'batch' ? tag.batch : 1;
  const premium = PLAIN_GEOGRAPHIES.has(priced.geography) ? 1 : RESIDENCY;
  return share * premium * tokensUsd(tariff, priced) + priced.webSearches * WEB_SEARCH_USD;
}

/** What the cache has saved an inference, and what writing to it has cost beyond the usual input price: USD. Pure. */
export function cacheEffect(
  tag: PriceTag | undefined,
  priced: Priced,
): { readonly savedUsd: number; readonly premiumUsd: number } {
  const tariff = tariffOf(tag, priced);
  if (tariff === undefined) return { savedUsd: 0, premiumUsd: 0 };
  const price = priceFor(tariff, totalInput(priced));
  const { cacheReadTokens, cacheWrite5mTokens, cacheWrite1hTokens } = priced;
  return {
    savedUsd: (cacheReadTokens * (price.input - price.cacheRead)) / 1_000_000,
    premiumUsd:
      (cacheWrite5mTokens * (price.cacheWrite5m - price.input) +
        cacheWrite1hTokens * (price.cacheWrite1h - price.input)) /
      1_000_000,
  };
}

const tariffOf = (tag: PriceTag | undefined, { speed }: Priced) => (speed === 'fast' ? tag?.fast : tag);

function tokensUsd(tariff: Tariff, tokens: Tokens): number {
  const price = priceFor(tariff, totalInput(tokens));
  return (
    (tokens.inputTokens * price.input +
      tokens.cacheReadTokens * price.cacheRead +
      tokens.cacheWrite5mTokens * price.cacheWrite5m +
      tokens.cacheWrite1hTokens * price.cacheWrite1h +
      tokens.outputTokens * price.output) /
    1_000_000
  );
}

/** The price that holds for a prompt of this many tokens. */
export function priceFor({ price, steps }: Tariff, promptTokens: number): Price {
  let held = price;
  for (const step of steps) if (promptTokens > step.above) held = step.price;
  return held;
}
