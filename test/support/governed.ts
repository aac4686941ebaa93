import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor, type Governor, type GovernorOptions } from '@headgate/core';
import { type ClaudeApi, type ClaudeApiOptions, startClaudeApi } from '@headgate/testing';
import { onTestFinished } from 'vitest';

export { ask, MODEL } from './ask.ts';

/** One bucket, as the API keeps it and as the governor is told. */
export const LIMITS = {
  name: 'sonnet-4',
  models: ['claude-sonnet-4-*'],
  requestsPerMinute: 6_000,
  inputTokensPerMinute: 2_000_000,
  outputTokensPerMinute: 400_000,
} as const;

export const ACCOUNT: ConfigInput['account'] = [{ ...LIMITS, models: [...LIMITS.models], burst: 0.1 }];

export interface Governed {
  readonly api: ClaudeApi;
  readonly governor: Governor;
  /** Governed. */
  readonly claude: Anthropic;
  /** The same client, ungoverned, without retries. */
  readonly bare: Anthropic;
  readonly warnings: string[];
}

/** A Claude API on loopback with a governed client, both taken down when the test is over. */
export async function startGoverned(
  options: {
    api?: ClaudeApiOptions;
    config?: ConfigInput;
    governor?: Omit<GovernorOptions, 'config'>;
    client?: ConstructorParameters<typeof Anthropic>[0];
  } = {},
): Promise<Governed> {
  const api = await startClaudeApi({
    limits: [{ ...LIMITS, burstSeconds: 6 }],
    latency: { timeToFirstTokenMs: 20, tokensPerSecond: 2_000, flushMs: 10 },
    output: () => 40,
    ...options.api,
  });
  const warnings: string[] = [];
  const logger = { info() {}, warn: (message: string) => void warnings.push(message), error() {} };
  const governor = createGovernor({
    logger,
    ...options.governor,
    config: { account: ACCOUNT, ...options.config },
  });
  const bare = new Anthropic({ apiKey: 'test-key', baseURL: api.url, maxRetries: 0, ...options.client });
  onTestFinished(async () => {
    await governor.close({ drainMs: 100 });
    await api.close();
  });
  return { api, governor, claude: governor.govern(bare), bare, warnings };
}

/** Waits until `probe` is true, looking often; gives up, and says so, after `ms`. */
export async function until(probe: () => boolean, ms = 5_000): Promise<void> {
  const end = performance.now() + ms;
  while (!probe()) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${probe}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Nothing is held any more: no call in flight, none queued, none parked. */
export function isSettled(governor: Governor): boolean {
  const { inFlight, buckets } = governor.snapshot();
  return (
    inFlight === 0 &&
    buckets.every(
      (bucket) =>
        bucket.active === 0 &&
        bucket.parked === 0 &&
        Object.values(bucket.lanes).every((lane) => lane.queued === 0),
    )
  );
}

/** What a promise was rejected with. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it was fulfilled');
}
