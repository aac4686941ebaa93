import { AbortedError, isHeadgateError } from '../errors.ts';
import type { Call } from '../request/read.ts';
import type { Rules } from './parts.ts';
import type { Sending } from './send.ts';
import type { LinkedSignal } from './signals.ts';

/** The caller has left, and the request goes on without it. */
export const LEFT = Symbol('left');

/** Whether the answer to a call is read to its end when its caller leaves. */
export const drainsWhenLeft = (
  call: Pick<Call, 'kind'>,
  plan: Pick<Sending['plan'], 'caller'>,
  { config }: Rules,
) => call.kind === 'messages' && (plan.caller.hangUp ?? config.hangUp) === 'drain';

/**
 * The response, or `LEFT` as soon as the caller leaves: the request is not aborted then. A time-out of the SDK's is no
 * hang-up, and aborts it.
 */
export function unlessLeft(
  pending: Promise<Response>,
  link: LinkedSignal,
  sending: Sending,
): Promise<Response | typeof LEFT> {
  return new Promise((resolve, reject) => {
    link.onHangUp = () => {
      if (!hasLeft(sending)) return false;
      resolve(LEFT);
      return true;
    };
    const done = () => {
      link.onHangUp = undefined;
    };
    pending.then(
      (response) => {
        done();
        resolve(response);
      },
      (error) => {
        done();
        reject(error);
      },
    );
  });
}

const hasLeft = ({ options, plan }: Sending) =>
  options.signal?.aborted === true || plan.caller.signals.some(({ aborted }) => aborted);

/** What a caller that has left is told, if it listens still: the same as where the request is aborted. */
export function leftError({ options, plan }: Sending): unknown {
  const reason: unknown = plan.caller.signals.find(({ aborted }) => aborted)?.reason;
  if (isHeadgateError(reason)) return reason;
  if (options.signal?.aborted === true) return new DOMException('This operation was aborted', 'AbortError');
  return new AbortedError('the caller hung up', { reason: 'aborted' });
}
