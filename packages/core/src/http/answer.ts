import type { ServerResponse } from 'node:http';
import { errorEvent, isEventStream } from './event-stream.ts';
import { type Refusal, refusalOf } from './refusal.ts';

/**
 * What an adapter is to do about an error of a request: send this refusal, send nothing any more (`answered`), or leave
 * it to the framework. Who hung up gets no answer; in a stream of events that has begun, a refusal is its last event.
 */
export function answerTo(error: unknown, response: ServerResponse): Refusal | 'answered' | undefined {
  const refusal = refusalOf(error);
  if (refusal === undefined) return undefined;
  if (isClosed(response) || response.writableEnded) return 'answered';
  if (!response.headersSent) return refusal;
  if (!isEventStream(response)) return undefined;
  response.end(errorEvent(error));
  return 'answered';
}

/** A response of HTTP/2 has its own stream, and says nothing, or nothing true, itself. */
interface OverHttp2 {
  readonly stream?: { readonly destroyed?: boolean; readonly rstCode?: number };
}

/** Closed, whether it was sent whole or not. */
export function isClosed(response: ServerResponse): boolean {
  return response.destroyed === true || (response as OverHttp2).stream?.destroyed === true;
}

/** Of a response that is closed: whether its client had it whole, and did not leave before. */
export function wasSentWhole(response: ServerResponse): boolean {
  const { stream } = response as OverHttp2;
  // Over HTTP/2 `writableFinished` is true for what a client has called off, too.
  if (stream?.rstCode !== undefined) return response.writableEnded && stream.rstCode === 0;
  return response.writableFinished;
}
