/** How a response body ended. */
export type BodyEnd =
  /** Read to its end by its reader. */
  | 'complete'
  /** Left by its reader, and read to its end all the same. */
  | 'drained'
  /** The caller stopped reading, or aborted. */
  | 'aborted'
  /** The connection broke. */
  | 'error';

export interface TapOptions {
  /** A read is asked for. */
  onAsk(): void;
  /** It is answered. */
  onMove(): void;
  onBytes(bytes: Uint8Array): void;
  /** Once, however the body ends. */
  onEnd(end: BodyEnd): void;
  /** What the reader is told of a failure. */
  errorOf(error: unknown): unknown;
  /** Whether a body that its reader leaves is read to its end, to learn what it took. */
  readonly drains: boolean;
  /** Bytes that are read before anybody asks for them. Default: 0. */
  readonly ahead?: number;
}

/** A body in place of another, and the means to let go of its reader. */
export interface Tap {
  readonly body: ReadableStream<Uint8Array>;
  /** The reader is gone: reads on without it. */
  drain(): void;
  /** The request was aborted: ends the body also where the runtime no longer does (Deno 2.9, after a collection). */
  cut(reason: unknown): void;
}

/**
 * A body that passes the bytes of another on untouched and reads along. It pulls only when it is pulled, but for
 * what it may read ahead, and keeps nothing: a reader that stalls stalls the server. It ends, and says so, when it is read to its end, when its reader
 * cancels, when the connection breaks, also while nobody reads.
 */
export function tap(source: ReadableStream<Uint8Array>, options: TapOptions): Tap {
  const reader = source.getReader();
  let hasEnded = false;
  let isDraining = false;
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  const end = (how: BodyEnd) => {
    if (hasEnded) return;
    hasEnded = true;
    options.onEnd(how);
  };
  const drain = () => {
    if (hasEnded || isDraining) return;
    isDraining = true;
    void readOn();
  };
  const readOn = async () => {
    try {
      for (;;) {
        options.onAsk();
        const { done, value } = await reader.read();
        options.onMove();
        if (done) return end('drained');
        options.onBytes(value);
      }
    } catch {
      end('error');
    }
  };
  const cut = (reason: unknown) => {
    if (hasEnded) return;
    end('error');
    if (!isDraining) controller?.error(options.errorOf(reason));
    reader.cancel(reason).catch(() => {});
  };
  options.onMove();
  // With no read pending an abort reaches nobody but this promise.
  reader.closed.catch(() => end('error'));

  const body = new ReadableStream<Uint8Array>(
    {
      start(own) {
        controller = own;
      },
      async pull(own) {
        options.onAsk();
        try {
          const { done, value } = await reader.read();
          options.onMove();
          if (!done) options.onBytes(value);
          // Between the question and its answer the reader may have left.
          if (isDraining) return;
          if (done) {
            end('complete');
            own.close();
          } else own.enqueue(value);
        } catch (error) {
          end('error');
          own.error(options.errorOf(error));
        }
      },
      cancel(reason) {
        if (options.drains) return drain();
        end('aborted');
        return reader.cancel(reason);
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: options.ahead ?? 0 }),
  );
  return { body, drain, cut };
}
