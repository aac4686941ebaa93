import type { Granted } from '../admission/admission.ts';
import { fullRefusal, tooLongRefusal } from '../admission/refusals.ts';
import { AbortedError, isHeadgateError } from '../errors.ts';
import type { Plan } from '../policy/plan.ts';
import type { Call } from '../request/read.ts';
import type { CallStory } from '../telemetry/types.ts';
import type { Parts } from './parts.ts';

/** A call at the gate. */
interface Arriving {
  readonly plan: Plan;
  readonly call: Call;
  readonly account: string;
  readonly deadlineAt: number;
  readonly signals: readonly AbortSignal[];
  readonly attempt: number;
  readonly isCounted: boolean;
  readonly cachedTokens: number;
  readonly story: CallStory;
}

/** The call's turn at the gate. What generates nothing has no gate to pass. @throws HeadgateError when it is refused. */
export async function passGate(parts: Parts, arriving: Arriving): Promise<Granted | undefined> {
  const { call, plan, story, attempt } = arriving;
  const arrivedAt = parts.clock.now();
  if (call.kind === 'other') {
    story.passed();
    return undefined;
  }
  try {
    const granted = await parts.admission.admit({ ...arriving, isRetry: attempt > 1 });
    const { upstream } = granted.scheduler;
    if (!granted.isKnownModel) {
      story.unknownModel();
      parts.once.warn(
        'HG_UNKNOWN_MODEL',
        `model ${plan.modelId}`,
        `no bucket is configured for model "${plan.modelId}"; it is governed under "${upstream.name}", whose limits are learned`,
      );
    }
    plan.caller.onStanding?.(granted.standing);
    story.admitted({
      bucket: upstream.name,
      account: upstream.account,
      waitedMs: granted.waitedMs,
      waitedFor: granted.waitedFor,
      shadowRules: granted.shadowRules,
      mode: granted.mode,
      inputTokens: granted.demand.estimate.inputTokens,
      outputTokens: granted.demand.estimate.outputTokens,
    });
    return granted;
  } catch (error) {
    refuse(parts, story, error, arrivedAt);
    throw error;
  }
}

/** Why a call is not worth sending any more: its caller has gone, or its deadline has passed. */
export function endedBefore(
  signals: readonly AbortSignal[],
  deadlineAt: number,
  now: number,
): AbortedError | undefined {
  if (signals.some(({ aborted }) => aborted)) {
    return new AbortedError('the caller was gone before the call was sent', { reason: 'aborted' });
  }
  if (now < deadlineAt) return undefined;
  return new AbortedError('the deadline had passed before the call was sent', { reason: 'deadline' });
}

interface Waiting {
  readonly place: string;
  readonly who: string;
  readonly plan: Plan;
  readonly deadlineAt: number;
  readonly signals: readonly AbortSignal[];
  readonly isRetry: boolean;
  readonly story: CallStory;
}

/** The caller's own pause, outside every queue. @throws QueueFullError when it is longer than the call may wait. */
export async function waitOwn(parts: Parts, waiting: Waiting): Promise<void> {
  const { place, who, plan, deadlineAt, signals, isRetry, story } = waiting;
  const now = parts.clock.now();
  const waitMs = parts.ownPauses.waitMs(place, who, now);
  if (plan.isShadow) return;
  const { maxWait = 0, maxQueuedPerUser = 0 } = parts.rules.config.lanes[plan.lane] ?? {};
  const left = deadlineAt - now;
  const isTooLong = waitMs > Math.min(isRetry ? left : maxWait, left);
  if (isTooLong || parts.ownPauses.waiting(who) >= maxQueuedPerUser) {
    const error = isTooLong
      ? tooLongRefusal(waitMs, left < maxWait, plan.modelId, plan.lane, waitMs)
      : fullRefusal('this user has', plan.modelId, plan.lane, waitMs);
    refuse(parts, story, error, now);
    throw error;
  }
  const done = parts.ownPauses.wait(who);
  try {
    await parts.rests.rest(waitMs, signals);
  } finally {
    done();
  }
}

/** Ends the story of a call that makes no attempt. */
export function refuse(parts: Parts, story: CallStory, error: unknown, arrivedAt: number): void {
  const now = parts.clock.now();
  story.refused(error, now - arrivedAt);
  const isAborted = isHeadgateError(error) && error.code === 'aborted';
  story.end(isAborted ? 'aborted' : 'refused', now, isAborted ? 'aborted' : 'headgate.refused');
}
