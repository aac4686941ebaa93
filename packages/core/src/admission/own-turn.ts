import { onAbort } from '../abort-hub.ts';
import type { Alarms } from '../alarms.ts';
import type { Clock } from '../clock.ts';
import type { LaneConfig } from '../config/schema.ts';
import type { HeadgateError } from '../errors.ts';
import type { Slices } from '../slices.ts';
import type { OwnCrowd } from './own-crowd.ts';
import * as refusals from './refusals.ts';

interface Asking {
  readonly crowd: OwnCrowd;
  readonly bucket: { readonly name: string; readonly meanSlotMs: number };
  readonly lane: string;
  /** Undefined where the lane is not configured any more: then the deadline alone bounds the wait. */
  readonly config: LaneConfig | undefined;
  readonly deadlineAt: number;
  /** A call that was in flight before goes first, and only its deadline bounds its wait. */
  readonly isRetry: boolean;
  readonly signals: readonly AbortSignal[];
  readonly slices: Slices;
}

/**
 * A place among the calls of the caller's own, for as long as the call is on its way to the gate. Gives the milliseconds that it took.
 * @throws HeadgateError when it would take too long, or the caller is gone; then no place is taken.
 */
export async function ownTurn(alarms: Alarms, clock: Clock, asking: Asking): Promise<number> {
  const { crowd, bucket, lane, config, deadlineAt, isRetry, signals, slices } = asking;
  const now = clock.now();
  if (crowd.tryEnter(now, isRetry)) return 0;
  const { maxWait = Number.POSITIVE_INFINITY, maxQueuedPerUser = 0 } = isRetry ? {} : (config ?? {});
  const foreseenMs = (crowd.size / crowd.limit) * bucket.meanSlotMs;
  const leftMs = Math.min(maxWait, deadlineAt - now);
  if (signals.some(({ aborted }) => aborted)) throw refusals.goneRefusal(lane);
  if (!isRetry && crowd.size >= maxQueuedPerUser)
    throw refusals.fullRefusal('this user has', bucket.name, lane, foreseenMs);
  if (!isRetry && foreseenMs > leftMs)
    throw refusals.tooLongRefusal(foreseenMs, leftMs < maxWait, bucket.name, lane, foreseenMs - leftMs / 2);
  await new Promise<void>((resolve, reject) => {
    const end = () => {
      expiry.cancel();
      for (const release of releases) release();
      crowd.leave(go);
    };
    const refuse = (error: HeadgateError) => {
      end();
      reject(error);
    };
    const go = () => {
      end();
      resolve();
    };
    const abort = () => refuse(refusals.hungUpRefusal(lane));
    const expire = () =>
      refuse(refusals.ownTurnExpired(maxWait, deadlineAt - now, bucket.name, lane, foreseenMs));
    const expiry = alarms.set(now + leftMs, () => slices.run(expire), true);
    const releases = signals.map((signal) => onAbort(signal, () => slices.run(abort)));
    crowd.wait(go, isRetry, now);
  });
  return clock.now() - now;
}
