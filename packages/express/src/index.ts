import { pipeline } from 'node:stream/promises';
import type { Governor } from '@headgate/core';
import {
  answerTo,
  type ClaudeStream,
  checkErrorOptions,
  checkRoute,
  createDoor,
  type DoorOptions,
  type ErrorOptions,
  type EventStreamOptions,
  openEventStream,
  type RouteOptions,
  withRoute,
} from '@headgate/core/http';
import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';
import { routeOf } from './route.ts';
import { Steps } from './steps.ts';

export type HeadgateOptions = DoorOptions<[req: Request, res: Response]>;

/** Puts every Claude call of a request under the governor, in the name of the request's caller. */
function middleware(governor: Governor, options: HeadgateOptions = {}): RequestHandler {
  const door = createDoor(governor, options, {
    raw: (request, response) => ({ request, response }),
    route: routeOf,
  });
  const steps = new Steps(door.step);
  return (req, res, next) => {
    steps.ofApp(req);
    door(req, [req, res], next);
  };
}

/** What a route says about its calls: `app.post('/summary', headgate.route({ lane: 'background' }), …)`. */
function route(options: RouteOptions): RequestHandler {
  const checked = checkRoute(options);
  return (req, _res, next) => withRoute(req, checked, next);
}

/** Sends a Claude stream as server-sent events. Done when the response is, whether it was read to its end or not. */
async function events(
  res: Response,
  stream: ClaudeStream | PromiseLike<ClaudeStream>,
  options?: EventStreamOptions,
): Promise<void> {
  const { headers, body } = await openEventStream(stream, res, options);
  if (!res.headersSent) res.set(headers);
  // The stream itself tells what goes wrong; what fails here is the connection of a client that has left.
  await pipeline(body, res).catch(() => {});
}

/** For Express 4, which does not look at a handler's promise: its rejection goes to the error handlers. */
function handler(fn: (req: Request, res: Response, next: () => void) => unknown): RequestHandler {
  return (req, res, next) => {
    Promise.resolve()
      .then(() => fn(req, res, next))
      .catch(next);
  };
}

/**
 * Answers for the calls that Headgate refused, with the status, `Retry-After` and an error body like the API's own.
 * Every other error goes on to the next error handler. Add it after the routes.
 */
export function headgateErrors(options: ErrorOptions<Request> = {}): ErrorRequestHandler {
  checkErrorOptions('headgateErrors()', options);
  return (error, req, res, next) => {
    const answer = answerTo(error, res, req, options);
    if (answer === undefined) next(error);
    else if (answer !== 'answered') res.status(answer.status).set(answer.headers).end(answer.text);
  };
}

export const headgate = Object.assign(middleware, { route, events, handler });
