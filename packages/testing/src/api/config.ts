import type { Clock } from '@headgate/core';
import { DEFAULT_LIMITS, DEFAULT_MODELS } from './models.ts';
import type { BatchOptions, ClaudeApiOptions, MessageRequest } from './options.ts';
import { lognormal } from './random.ts';

const MAX_TIMER_MS = 2 ** 31 - 1;
const DAY_MS = 86_400_000;

const processClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, fn) {
    const handle = setTimeout(fn, Math.min(Math.max(1, ms), MAX_TIMER_MS));
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Median 150 and a spread of 0.75 make a mean of about 200 tokens. */
function defaultOutput(_request: MessageRequest, random: () => number): number {
  return Math.max(1, Math.round(lognormal(random, 150, 0.75)));
}

/** Every option with its value. */
export type Config = Omit<Required<ClaudeApiOptions>, 'keys' | 'latency' | 'batches'> & {
  readonly batches: Omit<Required<BatchOptions>, 'durationMs'> & {
    readonly durationMs: (random: () => number) => number;
  };
  readonly keys: readonly string[] | undefined;
  readonly timeToFirstTokenMs: (random: () => number) => number;
  readonly tokensPerSecond: (random: () => number) => number;
  readonly flushMs: number;
};

export function completeConfig(options: ClaudeApiOptions): Config {
  const { latency = {}, keys, batches = {}, ...rest } = options;
  return {
    port: 0,
    seed: 1,
    clock: processClock,
    limits: DEFAULT_LIMITS,
    countTokensPerMinute: 4_000,
    models: DEFAULT_MODELS,
    output: defaultOutput,
    chunking: 'events',
    newline: '\n',
    requireVersion: true,
    unknownEvents: false,
    estimateError: 0.1,
    refusedConsume: false,
    capacity: Number.POSITIVE_INFINITY,
    concurrent: Number.POSITIVE_INFINITY,
    ledgerSize: 100_000,
    receivedSize: 1_000,
    ...rest,
    batches: {
      requestsPerMinute: 1_000,
      maxQueued: 200_000,
      maxPerBatch: 100_000,
      maxBytes: 256 * 2 ** 20,
      expiresAfterMs: DAY_MS,
      cancelMs: 1_000,
      resultsKeptMs: 29 * DAY_MS,
      result: () => 'succeeded',
      ...batches,
      durationMs: draw(batches.durationMs ?? 60_000),
    },
    keys,
    timeToFirstTokenMs: draw(latency.timeToFirstTokenMs ?? 300),
    tokensPerSecond: draw(latency.tokensPerSecond ?? 80),
    flushMs: latency.flushMs ?? 100,
  };
}

function draw(value: number | ((random: () => number) => number)): (random: () => number) => number {
  return typeof value === 'number' ? () => value : value;
}
