import type { Random } from '../clock.ts';
import type { HeadgateError } from '../errors.ts';
import type { Demand } from './flight.ts';
import type { Lane } from './lanes.ts';
import type { Prediction } from './predict.ts';
import * as refusals from './refusals.ts';
import type { Arrival, Waiter } from './waiter.ts';

/** Whether a call is let into the queue of a bucket at all. */

/** Bodies that may wait in one lane of one bucket, in bytes. */
const MAX_BYTES = 256 * 2 ** 20;
/** A refusal tells a time so much later at most: those told to come back are not to come back together. */
const SPREAD = 0.2;

/** What of a bucket decides it. */
interface Bucket {
  readonly name: string;
  tooLarge(demand: Demand): { readonly limit: number } | undefined;
}

/** What no waiting would help. */
export function impossible(
  { demand, signals }: Arrival,
  lane: Lane<Waiter>,
  upstream: Bucket,
): HeadgateError | undefined {
  if (signals.some((signal) => signal.aborted)) return refusals.goneRefusal(lane.name);
  const large = upstream.tooLarge(demand);
  if (large === undefined) return undefined;
  return refusals.tooLargeRefusal(demand.estimate.bound.chargedTokens, large.limit, upstream.name, lane.name);
}

/** A wait that is too long, or too many that wait. */
export function tooLong(
  arrival: Arrival,
  lane: Lane<Waiter>,
  upstream: Bucket,
  { waitMs, mostMs }: Prediction,
  now: number,
  random: Random,
): HeadgateError | undefined {
  const { queue, config } = lane;
  const { name } = upstream;
  const isFull = lane.held >= config.maxQueued || lane.bytes + (arrival.bytes ?? 0) > MAX_BYTES;
  if (isFull || queue.backlogOf(arrival.flowKey) >= config.maxQueuedPerUser) {
    const whose = isFull ? `lane "${lane.name}" has` : 'this user has';
    return refusals.fullRefusal(whose, name, lane.name, waitMs);
  }
  const left = arrival.deadlineAt - now;
  if (mostMs <= Math.min(config.maxWait, left)) return undefined;
  const retryAfterMs = Math.max(1_000, waitMs - config.maxWait / 2) * (1 + SPREAD * random());
  return refusals.tooLongRefusal(mostMs, left < config.maxWait, name, lane.name, retryAfterMs);
}
