import type { Amounts, Claim } from '../../packages/core/src/admission/quota-state.ts';
import type { Estimate, EstimateKey } from '../../packages/core/src/estimate/estimator.ts';
import { PromptBound } from '../../packages/core/src/estimate/prompt-bound.ts';

const KEY: EstimateKey = { modelClass: 'm', purpose: 'p', maxTokens: 1_000 };

/** The estimate of a call whose prompt is text, of so many tokens. */
export const estimateOf = (
  inputTokens: number,
  outputTokens: number,
  { leastInputTokens = inputTokens, key = KEY }: { leastInputTokens?: number; key?: EstimateKey } = {},
): Estimate => ({
  rawInputTokens: inputTokens,
  rawTokens: { text: inputTokens, wide: 0, json: 0, media: 0, remote: 0 },
  inputTokens,
  leastInputTokens,
  bound: new PromptBound(undefined),
  outputTokens,
  maxOutputTokens: key.maxTokens,
  key,
});

/** A call that takes just these amounts of its quotas. */
export const taking = (amounts: Partial<Amounts>): (() => Claim) => {
  const all: Amounts = { requests: 1, inputTokens: 0, outputTokens: 0, usd: 0, ...amounts };
  return () => ({ amounts: all, least: all, isGuess: false });
};
