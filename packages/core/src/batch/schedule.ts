import type { Random } from '../clock.ts';
import type { BatchConfig } from '../config/schema.ts';
import type { Waiting } from '../stores/batch-journal.ts';

/** Where what fails is tried again: 1, 2, 4, … seconds. */
const FIRST_BACKOFF_MS = 1_000;
const LONGEST_BACKOFF_MS = 300_000;

/**
 * When to look at a batch again. A batch takes minutes or hours, and what has taken long takes longer: each look comes
 * a quarter of the batch's age after the last, so that a result is late by a quarter of its time at most. Pure.
 */
export function pollDelay(ageMs: number, poll: BatchConfig['poll'], random: Random): number {
  const delay = Math.min(poll.most, Math.max(poll.first, ageMs / 4));
  // Spread, so that many processes do not look at the same moment.
  return delay * (0.9 + 0.2 * random());
}

/** How long to wait after `failures` in a row, never earlier than the API asks. Pure. */
export function backoffDelay(failures: number, retryAfterMs: number | undefined, random: Random): number {
  const backoff = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(20, failures - 1));
  return Math.max(retryAfterMs ?? 0, backoff * (0.5 + 0.5 * random()));
}

/**
 * Milliseconds until what waits should be sent: 0 at once, undefined when there is nothing. What was submitted up to
 * `flushedAt` does not wait for more. Pure.
 */
export function dueIn(
  waiting: Waiting,
  flushedAt: number,
  config: Pick<BatchConfig, 'maxAge' | 'maxRequests' | 'maxBytes'>,
  wall: number,
): number | undefined {
  const { count, bytes, oldestAt } = waiting;
  if (count === 0 || oldestAt === undefined) return undefined;
  if (oldestAt <= flushedAt || count >= config.maxRequests || bytes >= config.maxBytes) return 0;
  return Math.max(0, oldestAt + config.maxAge - wall);
}
