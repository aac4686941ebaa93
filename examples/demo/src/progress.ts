import type { Snapshot } from '@headgate/core';
import type { Dimension, Levels } from '@headgate/testing';
import type { Api } from './api.ts';
import type { Counts, Drive } from './driver.ts';
import { LIMITS } from './scenario.ts';

export interface Progress {
  readonly title: string;
  readonly elapsedMs: number;
  /** The time over which calls are sent; those sent last end after it. */
  readonly totalMs: number;
  readonly counts: Readonly<Counts>;
  /** Calls at the gate; undefined without Headgate, which is what has one. */
  readonly queued: number | undefined;
  readonly attempts: number;
  readonly status429: number;
  /** What is left in each dimension of the bucket. */
  readonly levels: readonly { readonly name: string; readonly level: number; readonly capacity: number }[];
}

const TICK_MS = 250;

const DIMENSIONS: readonly (readonly [Dimension, string])[] = [
  ['requests', 'requests'],
  ['inputTokens', 'input tokens'],
  ['outputTokens', 'output tokens'],
];

export interface Watched {
  readonly title: string;
  readonly seconds: number;
  readonly api: Api;
  readonly drive: Drive;
  readonly snapshot?: () => Snapshot;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

/** Reports on a run until it has ended. */
export async function watch({ title, seconds, api, drive, snapshot, onProgress }: Watched): Promise<void> {
  const startedAt = performance.now();
  const ended = drive.results.then(() => true);
  do {
    // Asked even when nobody looks: both ways of running cost the same.
    const { totals, status429, levels } = await api.report(0, 0);
    const now = snapshot?.();
    onProgress?.({
      title,
      elapsedMs: performance.now() - startedAt,
      totalMs: seconds * 1_000,
      counts: { ...drive.counts },
      queued: now === undefined ? undefined : queuedIn(now),
      attempts: totals.attempts,
      status429,
      levels: now === undefined ? trueLevels(levels) : believedLevels(now),
    });
  } while (!(await Promise.race([ended, pause(TICK_MS)])));
}

function queuedIn({ buckets }: Snapshot): number {
  return buckets
    .flatMap(({ lanes, parked }) => [parked, ...Object.values(lanes).map(({ queued }) => queued)])
    .reduce((sum, each) => sum + each, 0);
}

/** As the governor reckons them: it sees the API from outside, and keeps a little behind. */
function believedLevels({ buckets }: Snapshot): Progress['levels'] {
  return DIMENSIONS.flatMap(([dimension, name]) => {
    const limit = buckets[0]?.limits[dimension];
    return limit === undefined ? [] : [{ name, level: limit.level, capacity: limit.capacity }];
  });
}

function trueLevels(levels: Levels): Progress['levels'] {
  const perMinute = {
    requests: LIMITS.requestsPerMinute,
    inputTokens: LIMITS.inputTokensPerMinute,
    outputTokens: LIMITS.outputTokensPerMinute,
  };
  return DIMENSIONS.flatMap(([dimension, name]) => {
    const level = levels[dimension];
    const capacity = (perMinute[dimension] * LIMITS.burstSeconds) / 60;
    return level === undefined ? [] : [{ name, level, capacity }];
  });
}

function pause(ms: number): Promise<false> {
  return new Promise((resolve) => setTimeout(() => resolve(false), ms));
}
