import { placeOfCall } from '../caller/place.ts';
import type { ResolvedCaller } from '../caller/scope.ts';
import { AbortedError, UnknownCallerError } from '../errors.ts';
import type { Plan } from '../policy/plan.ts';
import type { ApiRequest, Call } from '../request/read.ts';
import { saidPlace } from './caller-notices.ts';
import type { Parts, Rules } from './parts.ts';

/** Who asks, and what the policy says. @throws whatever the app's `caller` function throws, or a refusal. */
export async function decide(
  parts: Parts,
  { config, policy }: Rules,
  call: Call,
  request: ApiRequest,
  startedAt: number,
): Promise<Plan> {
  const scope = parts.scopes.current();
  const found = scope?.resolve();
  const caller =
    found instanceof Promise
      ? await bounded(parts, found, request, startedAt + config.timeouts.total)
      : found;
  if (
    caller === undefined &&
    call.kind === 'messages' &&
    config.unknownCaller === 'refuse' &&
    !config.shadow
  ) {
    throw new UnknownCallerError(
      `the call was made outside every caller scope${saidPlace(placeOfCall())}; use governor.run, governor.with or an adapter`,
      { reason: 'unknown_caller' },
    );
  }
  parts.notices.look(call, scope, caller);
  const plan = policy.plan(call, caller);
  if (caller?.lane !== undefined && caller.lane !== plan.lane) {
    parts.once.warn(
      'HG_UNKNOWN_LANE',
      `lane ${caller.lane}`,
      `a caller names lane "${caller.lane}", which is not configured: its calls go to "${plan.lane}"`,
    );
  }
  return plan;
}

/** The app's function may never answer: it has as long as the call has. */
async function bounded(
  parts: Parts,
  caller: Promise<ResolvedCaller>,
  request: ApiRequest,
  deadlineAt: number,
): Promise<ResolvedCaller> {
  let release = () => {};
  const over = new Promise<never>((_, reject) => {
    const end = () =>
      reject(new AbortedError('the caller was not found before the deadline', { reason: 'deadline' }));
    const timer = parts.alarms.set(deadlineAt, end, true);
    request.signal?.addEventListener('abort', end, { once: true });
    release = () => {
      timer.cancel();
      request.signal?.removeEventListener('abort', end);
    };
  });
  try {
    return await Promise.race([caller, over]);
  } finally {
    // Whoever came first, the alarm and the listener of the other must not stay.
    release();
  }
}
