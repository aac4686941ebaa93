import type { Caller, Governor } from '@headgate/core';
import { openHttpScope, refusalOf } from '@headgate/core/http';
import type { ErrorRequestHandler, Request, RequestHandler, Response } from 'express';

export interface HeadgateOptions {
  /**
   * Who makes this request. Asked once, at the first Claude call of the request, so it may rely on whatever ran
   * before that. What it throws goes to the error handler, like any error of the route. Left out: everybody is
   * `anonymous`, and shares what quotas give to that one user.
   */
  readonly caller?: (req: Request) => Caller | Promise<Caller>;
}

/** Puts every Claude call of a request under the governor, in the name of the request's caller. */
function middleware(governor: Governor, { caller }: HeadgateOptions = {}): RequestHandler {
  return (req, res, next) => {
    const scope = openHttpScope(governor, req, res, {
      caller: caller === undefined ? undefined : () => caller(req),
      route: () => routeOf(req),
    });
    scope.run(next);
  };
}

/** The pattern of the matched route, as `/users/:id`: of bounded number, and without anybody's data. */
function routeOf(req: Request): string | undefined {
  const path: unknown = req.route?.path;
  return typeof path === 'string' ? `${req.baseUrl}${path}` : undefined;
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
export function headgateErrors(): ErrorRequestHandler {
  return (error, _req, res, next) => {
    const refusal = refusalOf(error);
    // After the headers there is no status to set any more; and who hung up gets no answer.
    if (refusal === undefined || res.headersSent) return next(error);
    if (res.closed) return;
    res.status(refusal.status).set(refusal.headers).json(refusal.body);
  };
}

export const headgate = Object.assign(middleware, { handler });
