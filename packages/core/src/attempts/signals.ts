import { onAbort } from '../abort-hub.ts';
import type { Timer } from '../clock.ts';
import { AbortedError, type HeadgateError, isHeadgateError } from '../errors.ts';
import type { Slices } from '../slices.ts';

/** One attempt's own abort signal, following those it was given until it is released. */
export interface LinkedSignal {
  readonly signal: AbortSignal;
  /**
   * The error that the call rejects with, where Headgate or the caller ended the attempt. It is never the reason of
   * `signal`: `fetch` rejects with that very object, and the SDK reports whatever `fetch` threw as a failed connection.
   */
  readonly error: HeadgateError | undefined;
  abort(reason: unknown): void;
  /** Asked when one of the sources is aborted: true keeps the attempt going all the same. */
  onHangUp: (() => boolean) | undefined;
  /** Takes every listener off again. The signals of a caller may live far longer than one attempt. */
  release(): void;
}

/** @param callers Those of `sources` that belong to the caller's scope: an abort of one means that the caller hung up. */
export function linkSignals(
  slices: Slices,
  sources: readonly AbortSignal[],
  callers: readonly AbortSignal[] = [],
): LinkedSignal {
  const controller = new AbortController();
  let error: HeadgateError | undefined;
  let isReleased = false;
  const linked: LinkedSignal = {
    signal: controller.signal,
    get error() {
      return error;
    },
    onHangUp: undefined,
    abort: (reason) => {
      if (controller.signal.aborted) return;
      if (!isHeadgateError(reason)) return controller.abort(reason);
      error = reason;
      controller.abort();
    },
    release: () => {
      isReleased = true;
      for (const release of releases) release();
    },
  };
  const releases = sources.map((source) => {
    const listener = () => {
      if (isReleased || linked.onHangUp?.() === true) return;
      const { reason } = source;
      const isCallers = callers.includes(source) && !isHeadgateError(reason);
      linked.abort(isCallers ? new AbortedError('the caller hung up', { reason: 'aborted' }) : reason);
    };
    if (source.aborted) listener();
    return onAbort(source, () => slices.run(listener));
  });
  return linked;
}

/** Resolves after a time, or as soon as one of the signals is aborted. Never rejects, leaves nothing behind. */
export function sleep(
  slices: Slices,
  set: (wake: () => void) => Timer,
  signals: readonly AbortSignal[],
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      timer.cancel();
      for (const release of releases) release();
      slices.run(resolve);
    };
    const timer = set(done);
    const releases = signals.map((signal) => onAbort(signal, done));
    if (signals.some((signal) => signal.aborted)) done();
  });
}
