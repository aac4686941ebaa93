import type { Middleware } from '@anthropic-ai/sdk';
import { context } from '@opentelemetry/api';
import type { Granted } from '../admission/admission.ts';
import { economize } from '../admission/thrift.ts';
import { compositeKey } from '../composite-key.ts';
import type { PrefixLook } from '../estimate/prefixes.ts';
import { callerKey, type Plan } from '../policy/plan.ts';
import { type ApiRequest, type Call, readCall } from '../request/read.ts';
import { rewriteRequest } from '../request/rewrite.ts';
import type { CallStory } from '../telemetry/types.ts';
import type { Verdict } from './classify.ts';
import { countInput, isWorthCounting } from './count-input.ts';
import { decide } from './decide.ts';
import { doorFor } from './door.ts';
import { fallbacksOf } from './fallbacks.ts';
import { FinalErrors, sdkRetryCount } from './final-errors.ts';
import { endedBefore, passGate, refuse, waitOwn } from './gate.ts';
import type { Parts } from './parts.ts';
import { nextAttempt, UNTOLD_PAUSE_MS } from './retry.ts';
import { type Failure, send } from './send.ts';
import { goesByBatch, throughBatch } from './through-batch.ts';

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
    if (known?.isClients) {
      parts.once.warn(
        'HG_SDK_RETRIES',
        '',
        'a client with retries of its own waits in vain before it reports an error; use governor.govern(client), or maxRetries: 0',
      );
    }
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
  const { clock, rules } = parts;
  const startedAt = clock.now();
  const room = parts.slices.room();
  if (room !== undefined) await room;
  let call = readCall(request);
  const { url, method = 'GET' } = request;
  const userAgent = request.headers.get('user-agent');
  const story = parts.telemetry.callStarted({
    call,
    url,
    method,
    userAgent,
    startedAt,
    context: context.active(),
  });

  story.admissionStarted(1);
  let plan: Plan;
  try {
    const decided = await decide(parts, rules, call, request, startedAt);
    const thrifty = economize(parts.admission, rules.policy, account, call, decided);
    story.budgetsSoft(thrifty.soft);
    for (const name of thrifty.soft)
      parts.once.warn('HG_BUDGET_SOFT', `budget ${name}`, `budget "${name}" is past its soft share`);
    plan = parts.pressure.relieve(rules, account, call, thrifty.plan);
    const isSpared = thrifty.plan !== decided;
    story.planned(plan, plan !== thrifty.plan ? 'pressure' : isSpared ? 'budget' : 'route');
  } catch (error) {
    refuse(parts, story, error, startedAt);
    throw error;
  }
  const { caller } = plan;
  const deadlineAt = Math.min(
    caller.deadlineAt ?? Number.POSITIVE_INFINITY,
    startedAt + rules.config.timeouts.total,
  );
  const early = endedBefore(signalsOf(request, options, plan), deadlineAt, startedAt);
  if (early !== undefined) {
    refuse(parts, story, early, startedAt);
    throw early;
  }
  if (goesByBatch(parts, rules, request, call, plan)) {
    return throughBatch(parts, account, call, plan, signalsOf(request, options, plan), story);
  }
  const who = callerKey(caller);
  if (call.kind === 'messages') parts.budget.firstAttempt(startedAt, who);
  // Nothing is awaited in vain between the look at the queue and the place in it: calls that come at once would all see the same.
  if (isWorthCounting(parts, account, call, plan))
    call = await countInput(parts, {
      account,
      call,
      plan,
      request,
      signals: signalsOf(request, options, plan),
      deadlineAt,
      govern: (counting) => governCall(parts, account, counting, next, options),
    });

  const nextModel = fallbacksOf(rules, call, plan, story);
  let prefix: PrefixLook | undefined;
  let prefixOf: Plan | undefined;
  let attemptsOfModel = 0;
  let last: Failure | undefined;
  let isCounted = false;
  let attempt = 1;
  for (;;) {
    if (parts.models.isGone(account, plan.modelId, who)) {
      const other = nextModel('not_found_error', parts.models.evidenceOf(account, plan.modelId));
      // With nowhere else to go the API is asked all the same: its own error is the best answer.
      if (other !== undefined) {
        plan = other;
        attemptsOfModel = 0;
        continue;
      }
    }
    if (prefix === undefined || prefixOf !== plan) {
      prefix = parts.prefixes.look(call, plan.modelId, plan.model, plan.marksPrefix, clock.now());
      prefixOf = plan;
    }
    const signals = signalsOf(request, options, plan);
    const door = doorFor(parts, account, call, plan);
    let closed = door.look();
    let granted: Granted | undefined;
    const place = compositeKey(account, plan.modelId, call.body?.speed === 'fast' ? 'fast' : undefined);
    if (closed === undefined) {
      if (parts.ownPauses.waitMs(place, who, clock.now()) > 0)
        await waitOwn(parts, { place, who, plan, deadlineAt, signals, isRetry: attempt > 1, story });
      granted = await passGate(parts, {
        plan,
        call,
        account,
        deadlineAt,
        signals,
        attempt,
        isCounted,
        cachedTokens: prefix.cachedTokens,
        story,
      });
      closed = door.enter();
    }
    if (closed !== undefined) {
      granted?.lease.drop('unsent');
      // Of the account's money no other model has more.
      const other = closed.reason === 'spend_limit' ? undefined : nextModel(closed.reason);
      if (other !== undefined) {
        plan = other;
        attemptsOfModel = 0;
        if (granted !== undefined) story.admissionStarted(attempt);
        continue;
      }
      // Who has seen the API fail is told that; who comes after, what we know of it.
      if (last !== undefined) return giveUp(last, story, clock.now());
      refuse(parts, story, closed, startedAt);
      throw closed;
    }

    // What is not sent is not paid: its turn may have come with its end, or its caller have gone meanwhile.
    const late = endedBefore(signals, deadlineAt, clock.now());
    if (late !== undefined) {
      granted?.lease.drop('unsent');
      story.end('aborted', clock.now(), 'aborted');
      throw late;
    }

    attemptsOfModel++;
    const { modelId: model, maxTokens } = plan;
    const sent = rewriteRequest(request, call, { model, maxTokens, marksPrefix: prefix.marks });
    const sending = {
      account,
      request: sent,
      next,
      options,
      call,
      rules,
      plan,
      granted,
      prefix,
      attempt,
      isProbe: door.isProbe,
      deadlineAt,
      signals,
      story,
    };
    const sentAt = clock.now();
    const result = await send(parts, sending);
    if ('response' in result) {
      door.told('ok');
      parts.ownPauses.answered(place, who, sentAt);
      return result.response;
    }
    if ('left' in result) {
      void result.outcome.then((outcome) =>
        door.told(outcome, outcome !== 'ok' && outcome.kind !== 'aborted'),
      );
      throw result.left;
    }

    const { failure, decided } = result;
    const { verdict } = failure;
    last = failure;
    isCounted ||= failure.isCounted;
    door.told(verdict, failure.isEvidence);
    const isPaced = verdict.kind === 'rate_limited' || verdict.kind === 'ramp';
    const isAll = isPaced && pause(parts, { verdict, failure, granted, place, who, sentAt });
    if (failure.congestion === 'bucket') granted?.lease.pause(clock.now() + UNTOLD_PAUSE_MS);
    const isCrowded = failure.congestion === 'all' || failure.congestion === 'own';
    if (isCrowded) attemptsOfModel--;
    const following = nextAttempt({
      verdict,
      attempts: mayRepeat(call, failure) ? attemptsOfModel : Number.POSITIVE_INFINITY,
      isCrowded,
      retries: rules.config.retries,
      budget: parts.budget,
      caller: who,
      now: clock.now(),
      deadlineAt,
      random: parts.random,
    });
    decided({ retryDenied: following.retry ? undefined : following.why, breaker: door.breaker });
    if (following.retry) {
      const { delayMs, source } = following;
      const budgetLeft = parts.budget.remaining(clock.now());
      const pause = story.backoff({ delayMs, source, cause: verdict.errorType, budgetLeft });
      // A paused bucket keeps the call in its queue, in its turn; only what has no bucket, or a bucket that works, sleeps here.
      const keepsTurn = granted !== undefined && (isAll || isCrowded || failure.congestion === 'bucket');
      if (!keepsTurn) await parts.rests.rest(delayMs, signals);
      pause.end();
    } else {
      story.retryDenied(following.why);
      const mayMove = isModelsFault(verdict) && clock.now() < deadlineAt;
      const other = mayMove ? nextModel(verdict.errorType) : undefined;
      if (other === undefined) return giveUp(failure, story, clock.now());
      plan = other;
      attemptsOfModel = 0;
    }
    attempt++;
    story.admissionStarted(attempt);
  }
}

interface Refused {
  readonly verdict: Verdict;
  readonly failure: Failure;
  readonly granted: Granted | undefined;
  readonly place: string;
  readonly who: string;
  readonly sentAt: number;
}

/**
 * A 429 with a time. One cooldown for everybody where the response shows an empty limit or says that use grows too fast:
 * what is in the queue waits with this call, and nobody learns it the hard way. Else it may be about this caller alone,
 * until a second one is refused too. True where it is for everybody.
 */
function pause(parts: Parts, { verdict, failure, granted, place, who, sentAt }: Refused): boolean {
  const now = parts.clock.now();
  const ms = verdict.retryAfterMs ?? UNTOLD_PAUSE_MS;
  const isRamp = verdict.kind === 'ramp';
  const isProven = isRamp || failure.isOfLimit === true;
  if (!isProven && !parts.ownPauses.refused(place, who, now + ms, sentAt, now)) {
    granted?.lease.refusedAlone(ms);
    return false;
  }
  if (!isProven) parts.ownPauses.end(place);
  granted?.lease.pause(now + ms, isRamp);
  return true;
}

/** Whether sending it once more does it once: a creation that may have been carried out is for its owner to look into. */
function mayRepeat(call: Call, { verdict, isCounted }: Failure): boolean {
  if (!call.isReplayable) return false;
  if (call.isCreation !== true) return true;
  const { kind } = verdict;
  const isUnsent = kind === 'connection' && !isCounted;
  return (
    isUnsent || kind === 'rate_limited' || kind === 'congested' || kind === 'ramp' || kind === 'overloaded'
  );
}

/**
 * What another model may well answer: this one is overloaded, failing, too slow, or not there. A connection that cannot
 * be made is no model's: another would only be asked in vain.
 */
function isModelsFault({ kind }: Verdict): boolean {
  return kind === 'overloaded' || kind === 'server' || kind === 'timeout' || kind === 'not_found';
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
