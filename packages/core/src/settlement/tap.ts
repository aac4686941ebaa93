/** How a response body ended. */
export type BodyEnd =
  /** Read to its end. */
  | 'complete'
  /** The caller stopped reading, or aborted. */
  | 'aborted'
  /** The connection broke. */
  | 'error';

export interface TapOptions {
  /** A read was asked for, or answered. */
  onMove(): void;
  onBytes(bytes: Uint8Array): void;
  /** Once, however the body ends. */
  onEnd(end: BodyEnd): void;
  /** What the reader is told of a failure. */
  errorOf(error: unknown): unknown;
}

/**
 * A body that passes the bytes of another on untouched and reads along. It pulls only when it is pulled, and keeps
 * nothing: a reader that stalls stalls the server. It ends, and says so, when it is read to its end, when its reader
 * cancels, when the connection breaks, also while nobody reads.
 */
export function tap(body: ReadableStream<Uint8Array>, options: TapOptions): ReadableStream<Uint8Array> {
  const source = body.getReader();
  let hasEnded = false;
  const end = (how: BodyEnd) => {
    if (hasEnded) return;
    hasEnded = true;
    options.onEnd(how);
  };
  options.onMove();
  // With no read pending an abort reaches nobody but this promise.
  source.closed.catch(() => end('error'));

  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        options.onMove();
        try {
          const { done, value } = await source.read();
          options.onMove();
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
