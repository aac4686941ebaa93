import type { Middleware } from '@anthropic-ai/sdk';
import type { Granted } from '../admission/admission.ts';
import { readRateHeaders } from '../admission/rate-headers.ts';
import { AbortedError, isHeadgateError } from '../errors.ts';
import type { PrefixLook } from '../estimate/prefixes.ts';
import type { Plan } from '../policy/plan.ts';
import type { ApiRequest, Call } from '../request/read.ts';
import type { AttemptStory, CallStory } from '../telemetry/types.ts';
import { classifyResponse, classifyThrown, type Verdict } from './classify.ts';
import { followBody } from './follow.ts';
import type { Parts } from './parts.ts';
import { type LinkedSignal, linkSignals } from './signals.ts';
import { Watch } from './watch.ts';

/** One HTTP request, and all that it needs. */
export interface Sending {
  readonly request: ApiRequest;
  readonly next: Parameters<Middleware>[1];
  readonly options: NonNullable<Parameters<Middleware>[2]['options']>;
  readonly call: Call;
  readonly plan: Plan;
  readonly granted: Granted | undefined;
  readonly prefix: PrefixLook;
  readonly attempt: number;
  readonly deadlineAt: number;
  readonly signals: readonly AbortSignal[];
  readonly story: CallStory;
}

/** An attempt that gave no answer: the response to hand back, or the error to throw. */
export interface Failure {
  readonly verdict: Verdict;
  /** The caller's quotas have counted it: it may have been answered. */
  readonly isCounted: boolean;
  readonly response?: Response;
  readonly error?: unknown;
}

/** Milliseconds that an error's body may take. */
const ERROR_BODY_MS = 10_000;

/** Nothing was sent when the connection itself could not be made. */
const UNSENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

/**
 * One attempt. A response is handed on as soon as its headers are there, with a body that reads along: the lease and
 * the spans are closed when the body ends. Every other way out closes them here.
 */
export async function send(
  parts: Parts,
  sending: Sending,
): Promise<{ response: Response } | { failure: Failure }> {
  const { request, next, call, granted, attempt, deadlineAt, signals, story } = sending;
  const startedAt = parts.clock.now();
  const telemetry = story.attemptStarted(attempt, startedAt);
  const link = linkSignals(signals);
  const watch = new Watch(parts, link, deadlineAt);
  const timeout = ownTimeout(parts, sending, link);
  parts.running.add(link);
  const release = () => {
    watch.stop();
    timeout?.cancel();
    link.release();
    parts.running.delete(link);
  };

  if (attempt > 1) request.headers.set('x-stainless-retry-count', String(attempt - 1));
  let response: Response;
  try {
    response = await telemetry.run(() => next({ ...request, signal: link.signal }));
  } catch (error) {
    release();
    return { failure: failThrown(sending, link, telemetry, error) };
  }
  timeout?.cancel();
  const headroom = readRateHeaders(response.headers);
  telemetry.responded(response, headroom);
  granted?.lease.responded(headroom, response.ok, startedAt);

  if (!response.ok) {
    const failed = await failResponse(parts, response, link);
    release();
    if (isCongestion(failed.verdict)) granted?.lease.overloaded();
    granted?.lease.drop('refused');
    const { errorType, errorCode } = failed.verdict;
    telemetry.end({ outcome: 'error', errorType, errorCode });
    return { failure: failed };
  }
  return {
    response: followBody(parts, response, {
      call,
      plan: sending.plan,
      granted,
      prefix: sending.prefix,
      story,
      telemetry,
      link,
      watch,
      startedAt,
      release,
    }),
  };
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

function failThrown(sending: Sending, link: LinkedSignal, telemetry: AttemptStory, error: unknown): Failure {
  const { granted, options, plan } = sending;
  const { reason } = link.signal;
  const isOurs = link.signal.aborted && isHeadgateError(reason);
  const isCallers =
    isOurs || options.signal?.aborted === true || plan.caller.signals.some((signal) => signal.aborted);
  const verdict = classifyThrown(isCallers ? 'caller' : link.signal.aborted ? 'timeout' : undefined);
  if (isCongestion(verdict)) granted?.lease.overloaded();
  const isCounted = !isUnsent(error);
  granted?.lease.drop(isCounted ? 'lost' : 'unsent');
  telemetry.end({
    outcome: verdict.kind === 'aborted' ? 'aborted' : 'error',
    errorType: verdict.errorType,
  });
  if (isOurs) return { verdict, isCounted, error: reason };
  const isHangUp = isCallers && options.signal?.aborted !== true;
  return {
    verdict,
    isCounted,
    error: isHangUp ? new AbortedError('the caller hung up', { reason: 'aborted' }) : error,
  };
}

/** The API can bear fewer calls at once, or a slower rise. */
const isCongestion = ({ kind }: Verdict) => kind === 'overloaded' || kind === 'timeout' || kind === 'ramp';

function isUnsent(error: unknown): boolean {
  const seen = new Set<unknown>();
  for (
    let at = error;
    typeof at === 'object' && at !== null && !seen.has(at);
    at = (at as { cause?: unknown }).cause
  ) {
    const { code } = at as { code?: unknown };
    if (typeof code === 'string' && UNSENT.has(code)) return true;
    seen.add(at);
  }
  return false;
}

/** A failed response, read whole, and made anew for the SDK: which must not retry what was decided here. */
async function failResponse(
  { alarms, clock }: Parts,
  response: Response,
  link: LinkedSignal,
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
  const verdict = classifyResponse(response.status, response.headers, body, clock.wall());
  const { status, statusText } = response;
  return {
    verdict,
    isCounted: false,
    response: new Response(body === '' ? null : body, {
      status,
      statusText,
      headers,
    }),
  };
}
