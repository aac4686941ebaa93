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
import type { Context, Middleware } from 'koa';
import { followedBy } from './steps.ts';

export type HeadgateOptions = DoorOptions<[ctx: Context]> & ErrorOptions<Context>;

/**
 * Puts every Claude call of a request under the governor, in the name of the request's caller, and answers for the calls
 * that were refused, with the status, `Retry-After` and an error body like the API's own. Every other error goes on.
 */
function middleware(governor: Governor, options: HeadgateOptions = {}): Middleware {
  const { upstreamErrors, refusals, ...ofDoor } = options;
  const errors = checkErrorOptions('headgate()', { upstreamErrors, refusals });
  const door = createDoor(governor, ofDoor, {
    raw: ({ req, res }) => ({ request: req, response: res }),
    route: routeOf,
  });
  const own: Middleware = (ctx, next) =>
    door(ctx.req, [ctx], followedBy(door.step, own, ctx, next)).catch((error: unknown) =>
      refuse(ctx, error, errors),
    );
  return own;
}

function refuse(ctx: Context, error: unknown, options: ErrorOptions<Context>): void {
  const answer = answerTo(error, ctx.res, ctx, options);
  if (answer === undefined) throw error;
  ctx.respond = answer !== 'answered';
  if (answer === 'answered') return;
  ctx.status = answer.status;
  ctx.set(answer.headers);
  ctx.body = answer.text;
}

/** The pattern that `@koa/router` has matched, as `/users/:id`: of bounded number, and without anybody's data. */
function routeOf(ctx: Context): string | undefined {
  const path: unknown = ctx._matchedRoute;
  return typeof path === 'string' || path instanceof RegExp ? String(path) : undefined;
}

/** What a route says about its calls: `router.post('/summary', headgate.route({ lane: 'background' }), …)`. */
function route(options: RouteOptions): Middleware {
  const checked = checkRoute(options);
  return (ctx, next) => withRoute(ctx, checked, next);
}

/** Makes a Claude stream the body of the response, as server-sent events. */
async function events(
  ctx: Context,
  stream: ClaudeStream | PromiseLike<ClaudeStream>,
  options?: EventStreamOptions,
): Promise<void> {
  const { headers, body } = await openEventStream(stream, ctx.res, options);
  ctx.set(headers);
  ctx.body = body;
}

export const headgate = Object.assign(middleware, { route, events });
