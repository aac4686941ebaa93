import type { Timer } from '../clock.ts';

/** One attempt's own abort signal, following those it was given until it is released. */
export interface LinkedSignal {
  readonly signal: AbortSignal;
  abort(reason: unknown): void;
  /** Asked when one of the sources is aborted: true keeps the attempt going all the same. */
  onHangUp: (() => boolean) | undefined;
  /** Takes every listener off again. The signals of a caller may live far longer than one attempt. */
  release(): void;
}

export function linkSignals(sources: readonly AbortSignal[]): LinkedSignal {
  const controller = new AbortController();
  const linked: LinkedSignal = {
    signal: controller.signal,
    onHangUp: undefined,
    abort: (reason) => controller.abort(reason),
    release: () => {
      for (const { source, listener } of listeners) source.removeEventListener('abort', listener);
    },
  };
  const listeners = sources.map((source) => {
    const listener = () => {
      if (linked.onHangUp?.() !== true) controller.abort(source.reason);
    };
    if (source.aborted) listener();
    else source.addEventListener('abort', listener, { once: true });
    return { source, listener };
  });
  return linked;
}

/** Resolves after a time, or as soon as one of the signals is aborted. Never rejects, leaves nothing behind. */
export function sleep(set: (wake: () => void) => Timer, signals: readonly AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      timer.cancel();
      for (const signal of signals) signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = set(done);
    for (const signal of signals) signal.addEventListener('abort', done, { once: true });
    if (signals.some((signal) => signal.aborted)) done();
  });
}
