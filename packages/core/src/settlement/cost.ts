import type { PriceTag } from '../policy/models.ts';
import { totalInput, type Usage } from './usage.ts';

/** USD for a call, from each kind of token by itself. The size of the whole prompt decides the step. Pure. */
export function cost(tag: PriceTag, usage: Usage): number {
  const size = totalInput(usage);
  let { price } = tag;
  for (const step of tag.steps) if (size > step.above) price = step.price;
  return (
    (usage.inputTokens * price.input +
      usage.cacheReadTokens * price.cacheRead +
      usage.cacheWrite5mTokens * price.cacheWrite5m +
      usage.cacheWrite1hTokens * price.cacheWrite1h +
      usage.outputTokens * price.output) /
    1_000_000
  );
}
