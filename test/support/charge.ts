import type { Charge } from '../../packages/core/src/settlement/charges.ts';

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
