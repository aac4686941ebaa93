import type { Interruption } from './run.ts';

/** Ctrl-C ends a real run in two steps; a third one ends the process, as ever. */
export function interruption(progress: (text: string) => void): Interruption {
  const stop = new AbortController();
  const abandon = new AbortController();
  const onSignal = () => {
    if (stop.signal.aborted) {
      process.off('SIGINT', onSignal);
      abandon.abort();
      return;
    }
    progress('no more calls are made; those under way are waited for (Ctrl-C again: they are left out)');
    stop.abort();
  };
  process.on('SIGINT', onSignal);
  return { stop: stop.signal, abandon: abandon.signal };
}
