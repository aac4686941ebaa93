import type { Alarms } from '../alarms.ts';
import type { Clock } from '../clock.ts';

/** How a response body ended. */
export type BodyEnd =
  /** Read to its end. */
  | 'complete'
  /** The caller stopped reading, or aborted. */
  | 'aborted'
  /** The connection broke. */
  | 'error';

export interface TapOptions {
  readonly clock: Clock;
  readonly alarms: Alarms;
  /** Milliseconds without a read asked for or answered, after which the body is given up. */
  readonly idleMs: number;
  onBytes(bytes: Uint8Array): void;
  /** Once, however the body ends. */
  onEnd(end: BodyEnd): void;
  /** Nobody read, or nothing came, for `idleMs`: ends the request. */
  onIdle(): void;
  /** What the reader is told of a failure. */
  errorOf(error: unknown): unknown;
}

/**
 * A body that passes the bytes of another on untouched and reads along. It pulls only when it is pulled, and keeps
 * nothing: a reader that stalls stalls the server. It ends, and says so, when it is read to its end, when its reader
 * cancels, when the connection breaks, also while nobody reads.
 */
export function tap(body: ReadableStream<Uint8Array>, options: TapOptions): ReadableStream<Uint8Array> {
  const { clock, alarms, idleMs } = options;
  const source = body.getReader();
  let activeAt = clock.now();
  let hasEnded = false;
  // One alarm that looks at the time of the last read: setting one anew for every chunk would cost more than the chunk.
  const checkIdle = () => {
    const idleAt = activeAt + idleMs;
    if (clock.now() >= idleAt) options.onIdle();
    else idle = alarms.set(idleAt, checkIdle);
  };
  let idle = alarms.set(activeAt + idleMs, checkIdle);

  const end = (how: BodyEnd) => {
    if (hasEnded) return;
    hasEnded = true;
    idle.cancel();
    options.onEnd(how);
  };
  // With no read pending an abort reaches nobody but this promise.
  source.closed.catch(() => end('error'));

  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        activeAt = clock.now();
        try {
          const { done, value } = await source.read();
          activeAt = clock.now();
          if (done) {
            end('complete');
            controller.close();
          } else {
            options.onBytes(value);
            controller.enqueue(value);
          }
        } catch (error) {
          end('error');
          controller.error(options.errorOf(error));
        }
      },
      cancel(reason) {
        end('aborted');
        return source.cancel(reason);
      },
    },
    { highWaterMark: 0 },
  );
}
