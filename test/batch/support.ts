import Anthropic from '@anthropic-ai/sdk';
import {
  type BatchJournal,
  type ConfigInput,
  createGovernor,
  type GovernorOptions,
  memoryJournal,
} from '@headgate/core';
import { type ClaudeApiOptions, type ManualClock, manualClock, startClaudeApi } from '@headgate/testing';
import { onTestFinished } from 'vitest';

export const MODEL = 'claude-haiku-4-5';

export interface BatchBenchOptions {
  readonly api?: ClaudeApiOptions;
  readonly config?: ConfigInput;
  readonly governor?: Omit<GovernorOptions, 'config'>;
  readonly journal?: BatchJournal;
  /** Default: the SDK's newest. */
  readonly client?: (baseURL: string) => Anthropic;
}

/** A governor's batch lane before a Claude API, both on one manual clock. */
export async function batchBench(options: BatchBenchOptions = {}) {
  const clock = manualClock(undefined, { turns: 20 });
  const api = await startClaudeApi({
    clock,
    latency: { timeToFirstTokenMs: 0, tokensPerSecond: Number.POSITIVE_INFINITY },
    output: () => 40,
    batches: { durationMs: 60_000, ...options.api?.batches },
    ...options.api,
  });
  const journal = options.journal ?? memoryJournal();
  const warnings: string[] = [];
  const client =
    options.client?.(api.url) ??
    new Anthropic({ apiKey: 'k', baseURL: api.url, maxRetries: 0, logLevel: 'off' });
  const governors: { close(options: { drainMs: number }): Promise<void> }[] = [];
  /** A governor on the same clock, journal and API: another process, as far as they can tell. */
  const open = () => {
    const governor = createGovernor({
      clock,
      random: () => 0.5,
      journal,
      logger: { info() {}, warn: (message) => void warnings.push(message), error() {} },
      ...options.governor,
      config: {
        ...options.config,
        batch: {
          requestsPerMinute: 1_000,
          maxAge: '10s',
          poll: { first: '5s', most: '30s' },
          ...options.config?.batch,
        },
      },
    });
    governors.push(governor);
    return { governor, batches: governor.batches(client) };
  };
  onTestFinished(async () => {
    await Promise.all(governors.map((governor) => governor.close({ drainMs: 0 })));
    await api.close();
  });
  return { clock, api, journal, client, open, warnings, ...open() };
}

export const params = (n: number | string, over: Partial<Anthropic.MessageCreateParamsNonStreaming> = {}) =>
  ({
    model: MODEL,
    max_tokens: 100,
    messages: [{ role: 'user', content: `question ${n}` }],
    ...over,
  }) satisfies Anthropic.MessageCreateParamsNonStreaming;

/** How a promise ended, or that it has not. */
export function watch<T>(promise: Promise<T>): {
  state: 'pending' | 'fulfilled' | 'rejected';
  value?: T;
  error?: unknown;
} {
  const watched: { state: 'pending' | 'fulfilled' | 'rejected'; value?: T; error?: unknown } = {
    state: 'pending',
  };
  promise.then(
    (value) => Object.assign(watched, { state: 'fulfilled', value }),
    (error: unknown) => Object.assign(watched, { state: 'rejected', error }),
  );
  return watched;
}

/** Lets time pass in steps, so that what one brings about is over before the next. */
export async function pass(clock: ManualClock, ms: number, step = 1_000): Promise<void> {
  for (let gone = 0; gone < ms; gone += step) {
    await clock.advance(Math.min(step, ms - gone));
    // A kernel that is busy with others delivers over loopback when it comes to it: turns of our loop do not wait for it.
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
