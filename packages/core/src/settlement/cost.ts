import type { PriceTag } from '../policy/price-book.ts';
import { type Price, type Tariff, WEB_SEARCH_USD } from '../policy/prices.ts';
import { type Tokens, totalInput, type Usage } from './usage.ts';

/**
 * USD for a call, from each kind of token by itself. The size of the whole prompt decides the step, the speed the
 * tariff; a batch pays a share of every token, and full price for what is no token. Undefined where a price is not
 * known: that is no money, and not no cost. Pure.
 */
export function cost(tag: PriceTag | undefined, usage: Usage): number | undefined {
  const tariff = usage.speed === 'fast' ? tag?.fast : tag;
  if (tag === undefined || tariff === undefined) return undefined;
  const share = usage.isBatch ? tag.batch : 1;
  const compaction = usage.compaction === undefined ? 0 : tokensUsd(tariff, usage.compaction);
  return share * (tokensUsd(tariff, usage) + compaction) + usage.webSearches * WEB_SEARCH_USD;
}

/** What the cache has saved a call, and what writing to it has cost beyond the usual input price: USD. Pure. */
export function cacheEffect(
  tag: PriceTag | undefined,
  usage: Usage,
): { readonly savedUsd: number; readonly premiumUsd: number } {
  const tariff = usage.speed === 'fast' ? tag?.fast : tag;
  if (tariff === undefined) return { savedUsd: 0, premiumUsd: 0 };
  const price = priceFor(tariff, totalInput(usage));
  const { cacheReadTokens, cacheWrite5mTokens, cacheWrite1hTokens } = usage;
  return {
    savedUsd: (cacheReadTokens * (price.input - price.cacheRead)) / 1_000_000,
    premiumUsd:
      (cacheWrite5mTokens * (price.cacheWrite5m - price.input) +
        cacheWrite1hTokens * (price.cacheWrite1h - price.input)) /
      1_000_000,
  };
}

function tokensUsd(tariff: Tariff, usage: Tokens): number {
  const price = priceFor(tariff, totalInput(usage));
  return (
    (usage.inputTokens * price.input +
      usage.cacheReadTokens * price.cacheRead +
      usage.cacheWrite5mTokens * price.cacheWrite5m +
      usage.cacheWrite1hTokens * price.cacheWrite1h +
      usage.outputTokens * price.output) /
    1_000_000
  );
}

/** The price that holds for a prompt of this many tokens. */
export function priceFor({ price, steps }: Tariff, promptTokens: number): Price {
  let held = price;
  for (const step of steps) if (promptTokens > step.above) held = step.price;
  return held;
}
