import type { Middleware } from '@anthropic-ai/sdk';
import { context } from '@opentelemetry/api';
import type { Granted } from '../admission/admission.ts';
import type { ResolvedCaller } from '../caller/scope.ts';
import { AbortedError, isHeadgateError, UnknownCallerError } from '../errors.ts';
import type { Plan } from '../policy/plan.ts';
import { type ApiRequest, type Call, readCall } from '../request/read.ts';
import { rewriteRequest } from '../request/rewrite.ts';
import type { CallStory } from '../telemetry/types.ts';
import { FinalErrors, sdkRetryCount } from './final-errors.ts';
import type { Parts } from './parts.ts';
import { nextAttempt } from './retry.ts';
import { type Failure, send } from './send.ts';
import { sleep } from './signals.ts';

type Next = Parameters<Middleware>[1];
type SdkOptions = NonNullable<Parameters<Middleware>[2]['options']>;

/**
 * The whole story of a governed call: who asks, what the policy makes of it, its turn at the gate, its attempts, and
 * its end. The SDK runs this for each of *its* attempts; governed clients make one, so here is the one place that
 * retries. Whoever asks the SDK to retry all the same meets the same final answer again, without an attempt.
 */
export function createMiddleware(parts: Parts, account: string): Middleware {
  const finalErrors = new FinalErrors();
  return async (request, next, { options }) => {
    // The SDK fetches its own credentials through the same seam: not a call of anybody's.
    if (options === undefined) return next(request);
    const known = finalErrors.of(options, request);
    if (known !== undefined) throw known.error;
    const retryCount = sdkRetryCount(request);
    try {
      return await governCall(parts, account, request, next, options);
    } catch (error) {
      finalErrors.remember(options, retryCount, error);
      throw error;
    }
  };
}

async function governCall(
  parts: Parts,
  account: string,
  request: ApiRequest,
  next: Next,
  options: SdkOptions,
): Promise<Response> {
  const { clock, config, telemetry } = parts;
  const call = readCall(request);
  const startedAt = clock.now();
  const story = telemetry.callStarted({
    call,
    url: request.url,
    startedAt,
    context: context.active(),
  });

  story.admissionStarted(1);
  const plan = await decide(parts, call, request, startedAt, story);
  const deadlineAt = Math.min(
    plan.caller.deadlineAt ?? Number.POSITIVE_INFINITY,
    startedAt + config.timeouts.total,
  );
  const sent = rewriteRequest(request, call, { maxTokens: plan.maxTokens });
  if (call.kind === 'messages') parts.budget.firstAttempt(startedAt);

  for (let attempt = 1; ; attempt++) {
    const signals = signalsOf(request, options, plan);
    const granted = await admit(parts, {
      plan,
      call,
      account,
      deadlineAt,
      signals,
      attempt,
      story,
    });
    const result = await send(parts, {
      request: sent,
      next,
      options,
      call,
      plan,
      granted,
      attempt,
      deadlineAt,
      signals,
      story,
    });
    if ('response' in result) return result.response;

    const { failure } = result;
    const { verdict } = failure;
    // One cooldown for everybody: what is in the queue waits with this call, and nobody learns it the hard way.
    if (verdict.kind === 'rate_limited' || verdict.kind === 'ramp') {
      granted?.lease.pause(clock.now() + (verdict.retryAfterMs ?? 1_000));
    }
    const following = nextAttempt({
      verdict,
      attempts: call.isReplayable ? attempt : Number.POSITIVE_INFINITY,
      retries: config.retries,
      budget: parts.budget,
      now: clock.now(),
      deadlineAt,
      random: parts.random,
    });
    if (!following.retry) return giveUp(failure, story, clock.now());

    const pause = story.backoff(following.delayMs, following.source, verdict.errorType);
    // A paused bucket keeps the call in its queue, in its turn; only what has no bucket, or a bucket that works, sleeps here.
    const isPaced = granted !== undefined && verdict.kind === 'rate_limited';
    if (!isPaced) await sleep((wake) => parts.alarms.set(clock.now() + following.delayMs, wake), signals);
    pause.end();
    story.admissionStarted(attempt + 1);
  }
}

/** Who asks, and what the policy says. @throws whatever the app's `caller` function throws, or a refusal. */
async function decide(
  parts: Parts,
  call: Call,
  request: ApiRequest,
  startedAt: number,
  story: CallStory,
): Promise<Plan> {
  try {
    const caller = await findCaller(parts, request, startedAt);
    if (
      caller === undefined &&
      call.kind === 'messages' &&
      parts.config.unknownCaller === 'refuse' &&
      !parts.config.shadow
    ) {
      throw new UnknownCallerError(
        'the call was made outside every caller scope; use governor.run, governor.with or an adapter',
        { reason: 'unknown_caller' },
      );
    }
    const plan = parts.policy.plan(call, caller);
    story.planned(plan);
    return plan;
  } catch (error) {
    refuse(parts, story, error, startedAt);
    throw error;
  }
}

async function findCaller(
  parts: Parts,
  request: ApiRequest,
  startedAt: number,
): Promise<ResolvedCaller | undefined> {
  const caller = parts.scopes.current()?.resolve();
  if (!(caller instanceof Promise)) return caller;
  // The app's function may never answer: it has as long as the call has.
  let wake: (() => void) | undefined;
  const over = new Promise<never>((_, reject) => {
    const end = () =>
      reject(
        new AbortedError('the caller was not found before the deadline', {
          reason: 'deadline',
        }),
      );
    const timer = parts.alarms.set(startedAt + parts.config.timeouts.total, end);
    request.signal?.addEventListener('abort', end, { once: true });
    wake = () => {
      timer.cancel();
      request.signal?.removeEventListener('abort', end);
    };
  });
  try {
    return await Promise.race([caller, over]);
  } finally {
    wake?.();
  }
}

/** The call's turn at the gate. What generates nothing has no gate to pass. */
async function admit(
  parts: Parts,
  ask: {
    plan: Plan;
    call: Call;
    account: string;
    deadlineAt: number;
    signals: readonly AbortSignal[];
    attempt: number;
    story: CallStory;
  },
): Promise<Granted | undefined> {
  const { call, story, attempt } = ask;
  const arrivedAt = parts.clock.now();
  if (call.kind === 'other') {
    story.passed();
    return undefined;
  }
  try {
    const granted = await parts.admission.admit({
      ...ask,
      isRetry: attempt > 1,
    });
    const { upstream } = granted.scheduler;
    if (!granted.isKnownModel) {
      story.unknownModel();
      parts.once.warn(
        `model ${call.model}`,
        `Headgate: no bucket is configured for model "${call.model}"; it is governed under "${upstream.name}", whose limits are learned`,
      );
    }
    story.admitted({
      bucket: upstream.name,
      account: upstream.account,
      waitedMs: granted.waitedMs,
      waitedFor: granted.waitedFor,
      shadowRules: granted.shadowRules,
      inputTokens: granted.demand.estimate.inputTokens,
      outputTokens: granted.demand.estimate.outputTokens,
    });
    return granted;
  } catch (error) {
    refuse(parts, story, error, arrivedAt);
    throw error;
  }
}

function refuse(parts: Parts, story: CallStory, error: unknown, arrivedAt: number): void {
  const now = parts.clock.now();
  story.refused(error, now - arrivedAt);
  const isAborted = isHeadgateError(error) && error.code === 'aborted';
  story.end(isAborted ? 'aborted' : 'refused', now, isAborted ? 'aborted' : 'headgate.refused');
}

/** The failure as the SDK would have met it itself. */
function giveUp({ verdict, response, error }: Failure, story: CallStory, now: number): Response {
  story.end(verdict.kind === 'aborted' ? 'aborted' : 'error', now, verdict.errorType);
  if (response !== undefined) return response;
  throw error;
}

/** The signals that end a call. The SDK's own is spent once its timer has fired: later attempts follow the caller's. */
function signalsOf(request: ApiRequest, options: SdkOptions, plan: Plan): readonly AbortSignal[] {
  const isTimedOut = request.signal?.aborted === true && options.signal?.aborted !== true;
  const own = isTimedOut ? options.signal : request.signal;
  return own === undefined || own === null ? plan.caller.signals : [own, ...plan.caller.signals];
}
