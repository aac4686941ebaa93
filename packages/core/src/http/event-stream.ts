import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { refusalOf } from './refusal.ts';

/** A stream of the SDK's: what `create({ stream: true })` gives, or `messages.stream()`. */
export interface ClaudeStream extends AsyncIterable<{ readonly type: string }> {
  readonly controller?: AbortController;
  /** Of a `MessageStream`: over before its events were asked for. */
  readonly ended?: boolean;
  /** Of a `MessageStream`: rejects with the error that its iterator may have kept to itself. */
  done?(): Promise<unknown>;
}

export interface EventStream {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable;
}

export interface EventStreamOptions {
  /** Told what went wrong after the response had begun, where no error handler can answer any more. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

const HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  // Proxies and compression must neither keep nor gather what is to be seen at once.
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
} as const;

/** Bytes made ahead of a slow reader. */
const AHEAD_BYTES = 16_384;

/**
 * A Claude stream as server-sent events, in the form that the API itself gives them. It answers with the first event
 * in hand, so what is refused before that is thrown and gets a status of its own; what goes wrong later, or after the
 * app has sent headers itself, becomes an `error` event. Upstream is read as fast as the client reads (with
 * `create({ stream: true })`; `messages.stream()` reads ahead of its own accord), and closed when the client leaves.
 */
export async function openEventStream(
  source: ClaudeStream | PromiseLike<ClaudeStream>,
  response: ServerResponse,
  { onError }: EventStreamOptions = {},
): Promise<EventStream> {
  let end = () => {};
  async function* frames(): AsyncGenerator<string> {
    const stream = await source;
    end = () => stream.controller?.abort();
    if (stream.ended === true) {
      await stream.done?.();
      throw new Error('Headgate: the stream was over before its events were asked for');
    }
    for await (const event of stream) yield frame(event.type, event);
    await stream.done?.();
  }
  const iterator = frames();
  const next = async (): Promise<string | null> => {
    const { done, value } = await iterator.next();
    return done === true ? null : value;
  };
  const told = (error: unknown): string => {
    onError?.(error);
    return errorEvent(error);
  };

  let first: string | null;
  let isOver = false;
  try {
    first = await next();
  } catch (error) {
    if (!response.headersSent) throw error;
    first = told(error);
    isOver = true;
  }
  const ready = first === null ? [] : [first];
  const body = new Readable({
    highWaterMark: AHEAD_BYTES,
    read() {
      const chunk = ready.shift();
      if (chunk !== undefined) body.push(chunk);
      else if (isOver) body.push(null);
      else {
        next().then(
          (text) => body.push(text),
          (error) => {
            if (body.destroyed) return;
            body.push(told(error));
            body.push(null);
          },
        );
      }
    },
    destroy(error, done) {
      end();
      // Where a read is under way this waits for its end, which the abort has brought about.
      iterator.return(undefined).catch(() => {});
      done(error);
    },
  });
  return { headers: HEADERS, body };
}

/** An error as the event that ends a stream. Of errors that are neither Headgate's nor the API's it tells nothing. */
export function errorEvent(error: unknown): string {
  return frame('error', refusalOf(error)?.body ?? apiErrorOf(error) ?? UNKNOWN);
}

export function isEventStream(response: ServerResponse): boolean {
  return String(response.getHeader('content-type') ?? '').startsWith('text/event-stream');
}

const UNKNOWN = {
  type: 'error',
  error: { type: 'api_error', message: 'the stream broke off' },
  request_id: null,
} as const;

/** The body of the API's own error, as the SDK's error carries it. */
function apiErrorOf(error: unknown): object | undefined {
  const body = (error as { error?: { type?: unknown; error?: unknown } } | null | undefined)?.error;
  return body?.type === 'error' && typeof body.error === 'object' && body.error !== null ? body : undefined;
}

function frame(type: string, data: object): string {
  return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
}
