import type { Middleware } from '@anthropic-ai/sdk';
import type { Granted } from '../admission/admission.ts';
import type { Lease } from '../admission/lease.ts';
import { readRateHeaders } from '../admission/rate-headers.ts';
import { AbortedError, isHeadgateError, type Reason } from '../errors.ts';
import type { PrefixLook } from '../estimate/prefixes.ts';
import type { Plan } from '../policy/plan.ts';
import { type Payer, payerOf } from '../request/billing.ts';
import type { ApiRequest, Call } from '../request/read.ts';
import type { Charge } from '../settlement/charges.ts';
import type { AttemptEnd, CallStory } from '../telemetry/types.ts';
import { classifyResponse, classifyThrown, type Verdict } from './classify.ts';
import { followBody } from './follow.ts';
import { drainsWhenLeft, LEFT, leftError, unlessLeft } from './left.ts';
import { isCatalogue } from './models.ts';
import { withOrigin } from './origin.ts';
import type { Parts, Rules } from './parts.ts';
import { type LinkedSignal, linkSignals } from './signals.ts';
import { Watch } from './watch.ts';

/** One HTTP request, and all that it needs. */
export interface Sending {
  readonly account: string;
  readonly request: ApiRequest;
  readonly next: Parameters<Middleware>[1];
  readonly options: NonNullable<Parameters<Middleware>[2]['options']>;
  readonly call: Call;
  /** Those that the call began with. */
  readonly rules: Rules;
  readonly plan: Plan;
  readonly granted: Granted | undefined;
  readonly prefix: PrefixLook;
  readonly attempt: number;
  /** It is to see whether a model that failed works again. */
  readonly isProbe: boolean;
  readonly deadlineAt: number;
  readonly signals: readonly AbortSignal[];
  readonly story: CallStory;
}

/** An attempt that gave no answer: the response to hand back, or the error to throw. */
export interface Failure {
  readonly verdict: Verdict;
  /** The caller's quotas have counted it: it may have been answered. */
  readonly isCounted: boolean;
  /** What is counted of it, where it was sent and nobody knows what became of it. */
  readonly estimated?: readonly Charge[] | undefined;
  readonly response?: Response;
  readonly error?: unknown;
  /** False for one that says nothing of the API: its caller has waited no longer than the API usually needs. */
  readonly isEvidence?: boolean;
  /** The response showed a limit that is used up. */
  readonly isOfLimit?: boolean | undefined;
  /** Where the API has refused the call and named no time: whom that concerns. */
  readonly congestion?: ReturnType<Lease['congested']> | undefined;
}

/** What is made of a failure, told to end its attempt's story: whoever gets a failure must tell it. */
type Decided = Pick<AttemptEnd, 'retryDenied' | 'breaker'>;

/** Milliseconds that an error's body may take. */
const ERROR_BODY_MS = 10_000;

const UNREADABLE: Verdict = {
  kind: 'final',
  isRetryable: false,
  retryAfterMs: undefined,
  errorType: '_OTHER',
  errorCode: undefined,
};

/** Nothing was sent when the connection itself could not be made. */
const UNSENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/** What came of an attempt. */
export type Sent =
  | { readonly response: Response }
  | { readonly failure: Failure; readonly decided: (decided: Decided) => void }
  /** The caller has left, and is told `left`; the request goes on, and what becomes of it is told later. */
  | { readonly left: unknown; readonly outcome: Promise<'ok' | Verdict> };

/**
 * One attempt. A response is handed on as soon as its headers are there, with a body that reads along: the lease and
 * the spans are closed when the body ends. Every other way out closes them here.
 */
export async function send(parts: Parts, sending: Sending): Promise<Sent> {
  const { request, next, call, rules, granted, attempt, deadlineAt, signals, story } = sending;
  const startedAt = parts.clock.now();
  const telemetry = story.attemptStarted(attempt, startedAt);
  if (sending.isProbe) telemetry.probes();
  const failing = (failure: Failure, reason?: Reason) => {
    const { kind, errorType, errorCode } = failure.verdict;
    const outcome = kind === 'aborted' ? 'aborted' : 'error';
    const { estimated } = failure;
    const model = sending.plan.modelId;
    return {
      failure,
      decided: (decided: Decided) =>
        telemetry.end({ outcome, errorType, errorCode, reason, estimated, model, ...decided }),
    };
  };
  const link = linkSignals(parts.slices, signals, sending.plan.caller.signals);
  const watch = new Watch(parts, link, deadlineAt, rules.config.timeouts.streamIdle);
  const timeout = ownTimeout(parts, sending, link);
  parts.running.add(link);
  const release = () => {
    watch.stop();
    timeout?.cancel();
    link.release();
    parts.running.delete(link);
  };

  if (attempt > 1) request.headers.set('x-stainless-retry-count', String(attempt - 1));
  const failed = (error: unknown) => {
    release();
    const failure = failThrown(parts, sending, link, startedAt, error);
    return failing(failure, endedBy(sending, link));
  };
  const received = async (response: Response) => {
    timeout?.cancel();
    if (call.kind === 'messages' && response.ok)
      parts.patience.learn(sending.plan.modelId, call, parts.clock.now() - startedAt);
    try {
      const headroom = readRateHeaders(response.headers, call.body?.speed === 'fast');
      telemetry.responded(response, headroom);
      granted?.lease.responded(headroom, response.ok, startedAt);
      if (response.ok) {
        const catalogueOf = isCatalogue(request.method, request.url) ? sending.account : undefined;
        const { plan, prefix } = sending;
        const following = { catalogueOf, call, rules, plan, granted, prefix, story, telemetry };
        return {
          response: followBody(parts, response, { ...following, link, watch, startedAt, release }),
        };
      }
      const refused = await refusedBy(parts, sending, response, link);
      release();
      return failing(refused);
    } catch (error) {
      // A response that cannot be read at all, as one whose body another middleware has taken.
      release();
      const estimated = granted?.lease.drop('lost');
      return failing({ verdict: UNREADABLE, isCounted: true, error, estimated });
    }
  };

  const pending = telemetry.run(() => next({ ...request, signal: link.signal }));
  const mayLeave = drainsWhenLeft(call, sending.plan, rules);
  let response: Response | typeof LEFT;
  try {
    response = await (mayLeave ? unlessLeft(pending, link, sending) : pending);
  } catch (error) {
    return failed(error);
  }
  if (response !== LEFT) return received(response);
  watch.drain();
  const goOn = async (): Promise<'ok' | Verdict> => {
    const result = await pending.then(received, failed);
    if ('response' in result) {
      // Its body has no reader: it is read on without one.
      link.onHangUp?.();
      return 'ok';
    }
    result.decided({});
    story.end('aborted', parts.clock.now(), 'aborted');
    return result.failure.verdict;
  };
  return { left: leftError(sending), outcome: goOn() };
}

/** A response that is no answer: what it means, for the call, its bucket and its lease. */
async function refusedBy(
  parts: Parts,
  { account, call, granted }: Sending,
  response: Response,
  link: LinkedSignal,
): Promise<Failure> {
  const isOfLimit = granted?.lease.isOfLimit;
  const failed = await failResponse(parts, response, link, payerOf(call.body));
  const { kind, ignoredRetryAfter } = failed.verdict;
  if (isOverload(failed.verdict)) granted?.lease.overloaded();
  const congestion = kind === 'congested' ? granted?.lease.congested() : undefined;
  granted?.lease.drop('refused');
  if (ignoredRetryAfter !== undefined) {
    parts.once.warn(
      'HG_RETRY_AFTER',
      `account ${account}`,
      `a response asks to come back after "${ignoredRetryAfter.slice(0, 64)}", which is no delay of up to a day: it is taken as a response that names no time`,
    );
  }
  return { ...failed, congestion, isOfLimit };
}

/**
 * The SDK's timer is spent once it has fired: later attempts of the same call get one of ours, as long as the SDK's
 * was, whose error the SDK takes for its own.
 */
function ownTimeout({ alarms, clock }: Parts, { request, options, signals }: Sending, link: LinkedSignal) {
  if (request.signal === undefined || request.signal === null || signals.includes(request.signal))
    return undefined;
  // The header tells whole seconds, cut: a client's own fraction of one counts as one.
  const seconds = Number(request.headers.get('x-stainless-timeout') ?? 600);
  const ms = options.timeout ?? Math.max(1, seconds) * 1000;
  return alarms.set(clock.now() + ms, () => link.abort(new DOMException('Request timed out.', 'AbortError')));
}

/** Why an attempt was ended from this side, if it was. */
function endedBy({ options, plan }: Sending, { error }: LinkedSignal): Reason | undefined {
  if (error !== undefined) return error.reason;
  const isCallers = options.signal?.aborted === true || plan.caller.signals.some(({ aborted }) => aborted);
  return isCallers ? 'aborted' : undefined;
}

function failThrown(
  parts: Parts,
  sending: Sending,
  link: LinkedSignal,
  startedAt: number,
  error: unknown,
): Failure {
  const { granted, options, plan, call } = sending;
  const isCallers =
    link.error !== undefined ||
    options.signal?.aborted === true ||
    plan.caller.signals.some((signal) => signal.aborted);
  const endedBy = isCallers ? 'caller' : link.signal.aborted ? 'timeout' : undefined;
  const verdict = classifyThrown(endedBy, error);
  const waitedMs = parts.clock.now() - startedAt;
  const isEvidence = endedBy === undefined || parts.patience.isLong(plan.modelId, call, waitedMs);
  if (isEvidence && isOverload(verdict)) granted?.lease.overloaded();
  const isCounted = !isUnsent(error);
  const estimated = granted?.lease.drop(isCounted ? 'lost' : 'unsent');
  if (link.error !== undefined) return { verdict, isCounted, estimated, isEvidence, error: link.error };
  const isHangUp = isCallers && options.signal?.aborted !== true;
  return {
    verdict,
    isCounted,
    estimated,
    isEvidence,
    error: isHangUp ? new AbortedError('the caller hung up', { reason: 'aborted' }) : error,
  };
}

/** The API can bear fewer calls at once. */
const isOverload = ({ kind }: Verdict) => kind === 'overloaded' || kind === 'timeout';

function isUnsent(error: unknown): boolean {
  const seen = new Set<unknown>();
  for (
    let at = error;
    typeof at === 'object' && at !== null && !seen.has(at);
    at = (at as { cause?: unknown }).cause
  ) {
    const { code } = at as { code?: unknown };
    if (typeof code === 'string' && UNSENT.has(code)) return true;
    // Another governor's refusal; what it has ended may have been sent.
    if (isHeadgateError(at) && at.code !== 'aborted') return true;
    seen.add(at);
  }
  return false;
}

/** A failed response, read whole, and made anew for the SDK: which must not retry what was decided here. */
async function failResponse(
  { alarms, clock }: Parts,
  response: Response,
  link: LinkedSignal,
  payer: Payer,
): Promise<Failure> {
  const bound = alarms.set(clock.now() + ERROR_BODY_MS, () =>
    link.abort(new DOMException('Too slow.', 'AbortError')),
  );
  let body = '';
  try {
    body = await response.text();
  } catch {
    // A body that broke off: status and headers say enough.
  } finally {
    bound.cancel();
  }
  const headers = new Headers(response.headers);
  headers.set('x-should-retry', 'false');
  // The body is decoded by now, and may be shorter than was announced.
  headers.delete('content-encoding');
  headers.delete('content-length');
  const verdict = classifyResponse(response.status, response.headers, body, clock.wall(), payer);
  return { verdict, isCounted: false, response: remake(response, body, headers) };
}

/** The same response with another body, headers included, also with a status that no response can be made with. */
function remake(response: Response, body: string, headers: Headers): Response {
  const { status, statusText } = response;
  const isMakeable = status >= 200 && status <= 599;
  const made = new Response(body === '' ? null : body, {
    status: isMakeable ? status : 500,
    statusText,
    headers,
  });
  return withOrigin(isMakeable ? made : Object.defineProperty(made, 'status', { value: status }), response);
}
