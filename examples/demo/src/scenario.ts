import type { ConfigInput } from '@headgate/core';
import type { BucketLimits } from '@headgate/testing';

/** The account that both runs have, and what Headgate is told about it. */

export const MODEL = 'claude-sonnet-4-6';
export const BUCKET = 'sonnet-4';

/** Ceiling of every answer. It also bounds how long one takes: 400 tokens at 80 a second, after the first. */
export const MAX_TOKENS = 400;

/** Answers of a fake model: a median and a spread as chat has them. */
export const ANSWER = { medianTokens: 150, sigma: 0.75 };

/** Small enough for one laptop to overload: eleven answers of the mean length a second. */
export const LIMITS = {
  name: BUCKET,
  models: ['claude-sonnet-4-*'],
  // A quarter above what the output tokens allow, so that output binds first and requests come second.
  requestsPerMinute: 840,
  // Wide: input is counted and governed, but binds nobody here.
  inputTokensPerMinute: 600_000,
  outputTokensPerMinute: 120_000,
  burstSeconds: 6,
} satisfies BucketLimits;

export const LATENCY = { timeToFirstTokenMs: 300, tokensPerSecond: 80 };

/** What an operator would write into headgate.yaml. */
export const CONFIG: ConfigInput = {
  account: [
    {
      name: BUCKET,
      models: [...LIMITS.models],
      requestsPerMinute: LIMITS.requestsPerMinute,
      inputTokensPerMinute: LIMITS.inputTokensPerMinute,
      outputTokensPerMinute: LIMITS.outputTokensPerMinute,
      burst: LIMITS.burstSeconds / 60,
    },
  ],
  lanes: {
    // Somebody looks at the screen: rather a quick refusal than a long wait.
    interactive: { weight: 8, guarantee: 0.5, maxWait: '8s' },
    // Nobody does; it may not draw on the last part of the bucket, which is kept for those who look.
    background: { weight: 1, guarantee: 0.05, reserve: 0.15, maxWait: '60s' },
  },
  // Only for `--serve`, to show a refusal: the traffic of the demo has no such tier.
  quotas: [{ name: 'trial-per-user', when: { tier: 'trial' }, per: 'user', requests: '1/minute' }],
};
