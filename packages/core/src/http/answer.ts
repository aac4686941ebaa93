import type { ServerResponse } from 'node:http';
import { systemClock } from '../clock.ts';
import { checkOptions, type KnownKeys } from '../known-keys.ts';
import { logFields } from '../log-fields.ts';
import { quietly } from '../telemetry/quietly.ts';
import { loggerOf } from './door.ts';
import { errorEvent, isEventStream } from './event-stream.ts';
import { type Refusal, refusalOf, withText } from './refusal.ts';
import { type UpstreamFields, upstreamAnswer } from './upstream.ts';

/** How an adapter answers errors. `R` is what the framework hands to a handler for the request. */
export interface ErrorOptions<R = unknown> {
  /**
   * What becomes of errors of the API. `answer`: they are answered in words of the app's own, with a status that is
   * the app's (500 for keys, rights and models, 503 for what passes), and logged with the API's request id. `pass`:
   * they are left to the framework, with the API's status and words. Default: `answer`.
   */
  readonly upstreamErrors?: 'answer' | 'pass' | undefined;
  readonly refusals?:
    | {
        /** The body of a refusal, or of the answer to an error of the API. Text is sent as such, all else as JSON. */
        readonly body?: ((refusal: Refusal, request: R) => unknown) | undefined;
      }
    | undefined;
}

const KEYS: KnownKeys<ErrorOptions> = { upstreamErrors: true, refusals: true };

/** @throws TypeError for an option that does not exist, or cannot be what it is. */
export function checkErrorOptions<R>(thing: string, options: ErrorOptions<R>): ErrorOptions<R> {
  checkOptions(thing, options as ErrorOptions, KEYS);
  const { upstreamErrors, refusals } = options;
  if (upstreamErrors !== undefined && upstreamErrors !== 'answer' && upstreamErrors !== 'pass') {
    throw new TypeError(
      `Headgate ${thing}: expected upstreamErrors to be answer or pass, received ${String(upstreamErrors)}`,
    );
  }
  if (refusals !== undefined) checkOptions(`${thing}: refusals`, refusals, { body: true });
  if (refusals?.body !== undefined && typeof refusals.body !== 'function') {
    throw new TypeError(
      `Headgate ${thing}: expected refusals.body to be a function, as (refusal, request) => ({ … }), received ${typeof refusals.body}`,
    );
  }
  return options;
}

/**
 * What an adapter is to do about an error of a request: send this refusal, send nothing any more (`answered`), or leave
 * it to the framework. Who hung up gets no answer; in a stream of events that has begun, a refusal is its last event.
 */
export function answerTo<R>(
  error: unknown,
  response: ServerResponse,
  request: R,
  { upstreamErrors = 'answer', refusals }: ErrorOptions<R> = {},
): Refusal | 'answered' | undefined {
  const own = refusalOf(error);
  const upstream =
    own === undefined && upstreamErrors === 'answer' ? upstreamAnswer(error, systemClock.wall()) : undefined;
  const refusal = own ?? upstream?.answer;
  if (refusal === undefined) return undefined;
  if (upstream !== undefined) logUpstream(response, refusal.status, upstream.fields);
  if (isClosed(response) || response.writableEnded) return 'answered';
  if (!response.headersSent) return inOwnWords(refusal, request, response, refusals?.body);
  if (!isEventStream(response)) return undefined;
  response.end(errorEvent(error));
  return 'answered';
}

/** The refusal with the body that the app makes of it. */
function inOwnWords<R>(
  refusal: Refusal,
  request: R,
  response: ServerResponse,
  body: ((refusal: Refusal, request: R) => unknown) | undefined,
): Refusal {
  if (body === undefined) return refusal;
  try {
    const made = body(refusal, request);
    return typeof made === 'string'
      ? withText(refusal, made, 'text/plain; charset=utf-8')
      : withText(refusal, JSON.stringify(made));
  } catch (error) {
    // The client gets an answer all the same.
    quietly(() =>
      loggerOf(response.req).error(`Headgate: refusals.body has thrown: ${String(error)}`, {
        ...logFields(),
      }),
    );
    return refusal;
  }
}

function logUpstream(response: ServerResponse, told: number, fields: UpstreamFields): void {
  const { status, type, request_id } = fields;
  const what = `${status === undefined ? '' : `${status} `}${type}${request_id === undefined ? '' : ` (${request_id})`}`;
  quietly(() =>
    loggerOf(response.req).error(`Headgate: the API answered ${what}; the client is told ${told}`, {
      ...fields,
      ...logFields(),
    }),
  );
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
