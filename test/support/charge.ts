import { boundsOf } from '../../packages/core/src/settlement/bounds.ts';
import type { Charge, Terms } from '../../packages/core/src/settlement/charges.ts';

/** A charge of nothing, with what matters to a test put in its place. */
export const charge = (fields: Partial<Charge> = {}): Charge => ({
  kind: 'message',
  model: 'claude-sonnet-4-6',
  inputTokens: 0,
  cacheReadTokens: 0,
  cacheWrite5mTokens: 0,
  cacheWrite1hTokens: 0,
  outputTokens: 0,
  thinkingTokens: 0,
  webSearches: 0,
  speed: 'standard',
  tier: 'standard',
  geography: undefined,
  usd: 0,
  pricing: 'usd' in fields && fields.usd === undefined ? 'unknown' : 'known',
  ...fields,
});

/** The terms of a call of which nothing is known but its model: nothing has a price, and bounds are the widest. */
export const termsFor = (model: string, fields: Partial<Terms> = {}): Terms => ({
  model,
  priceOf: () => undefined,
  payer: 'self',
  speed: 'standard',
  geography: undefined,
  isBatch: false,
  bounds: () => boundsOf({ body: undefined, bytes: 0 }, undefined),
  ...fields,
});
