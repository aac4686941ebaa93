import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { type Caller, normalizeCaller } from '../caller/caller.ts';
import { lastScopeOf, type Scope, type Scopes } from '../caller/scope.ts';
import { AbortedError } from '../errors.ts';
import { internalsOf } from '../governor.ts';
import type { Governor } from '../types.ts';
import { isClosed, wasSentWhole } from './answer.ts';
import { rateLimitHeaders } from './rate-limit-headers.ts';

/** What every adapter is told when it is put into an app. `A` is what the framework hands to a handler. */
export interface DoorOptions<A extends unknown[]> {
  /**
   * Who makes this request. Asked once, at the first Claude call of the request, so it may rely on whatever ran
   * before that. What it throws goes to the error handler, like any error of the route. Left out: everybody is
   * `anonymous`, and shares what quotas give to that one user.
   */
  readonly caller?: ((...request: A) => Caller | Promise<Caller>) | undefined;
  /** Milliseconds that a request's calls may take, from its arrival. Default: `timeouts.total` for each call. */
  readonly deadlineMs?: number | undefined;
  /**
   * Lets a client say how many seconds it will wait, decimals allowed; `true` takes `x-request-timeout`. It can only
   * shorten what the deadlines of the app allow. Off by default, since anybody can send a header.
   */
  readonly timeoutHeader?: boolean | string | undefined;
}

/** What a route may say about its calls; it goes before what the `caller` function says. */
export type RouteOptions = Pick<Caller, 'lane' | 'maxTokens' | 'deadlineMs' | 'fallback' | 'hangUp'>;

/** One request, as its framework knows it. */
export interface Exchange {
  readonly request: { readonly headers: IncomingHttpHeaders };
  readonly response: ServerResponse;
  /** The framework's own object for the request, where it has one: `governor.bind` finds the scope by it too. */
  readonly context?: object;
  /** The pattern of the route, as `/chat/:id`: of bounded number. Asked when the caller is. */
  readonly route: () => string | undefined;
  /** What the route says about its calls, where the framework knows it in advance. Asked when the caller is. */
  readonly options?: () => RouteOptions | undefined;
}

/** Opens the scope of a request and runs the rest of the request in it. */
export type Door<A extends unknown[]> = <T>(exchange: Exchange, request: A, fn: () => T) => T;

const DEFAULT_TIMEOUT_HEADER = 'x-request-timeout';

/**
 * What every adapter is made of: it opens the scope of one HTTP request. A client that hangs up aborts the request's
 * calls, queued and running; what goes on after a response has been sent whole is left alone.
 */
export function createDoor<A extends unknown[]>(
  governor: Governor,
  { caller, deadlineMs, timeoutHeader = false }: DoorOptions<A> = {},
): Door<A> {
  const { scopes, once } = internalsOf(governor);
  // A wrong number is told when the app starts, and not with the first call.
  normalizeCaller({ deadlineMs });
  const header = (timeoutHeader === true ? DEFAULT_TIMEOUT_HEADER : timeoutHeader || '').toLowerCase();
  if (caller === undefined) {
    once.warn(
      'HG_NO_CALLER',
      '',
      'the adapter was given no `caller` function: everybody is `anonymous` and shares what quotas give to one user',
    );
  }
  return ({ request, response, context, route, options }, args, fn) => {
    const complete = (found: Caller | undefined): Caller => {
      const ofRoute = options?.();
      const patienceMs = millisecondsOf(request.headers[header]);
      return {
        route: route(),
        ...found,
        ...ofRoute,
        maxTokens: lowest([found?.maxTokens, ofRoute?.maxTokens]),
        deadlineMs: lowest([deadlineMs, patienceMs, found?.deadlineMs, ofRoute?.deadlineMs]),
      };
    };
    const keys = context === undefined ? [request] : [request, context];
    const scope = scopes.open(
      () => {
        const found = caller?.(...args);
        return found instanceof Promise ? found.then(complete) : complete(found);
      },
      {
        signal: () => hangUpOf(response),
        keys,
        onStanding: (standing) => {
          if (response.headersSent) return;
          for (const [name, value] of Object.entries(rateLimitHeaders(standing)))
            response.setHeader(name, value);
        },
      },
    );
    return scopes.run(scope, fn);
  };
}

/** Checks a route's options when the route is made. @throws TypeError naming the field. */
export function checkRoute(options: RouteOptions): RouteOptions {
  return normalizeCaller(options);
}

/** Runs the rest of a request under a route's options. `key` is the request, or the framework's object for it. */
export function withRoute<T>(key: object, options: RouteOptions, fn: () => T): T {
  const outer = new Map<Scopes, Scope>();
  for (let scope = lastScopeOf(key); scope !== undefined; scope = scope.before) {
    if (!outer.has(scope.owner)) outer.set(scope.owner, scope);
  }
  if (outer.size === 0) {
    throw new Error('Headgate: a route has options, but no headgate(governor) stands before it');
  }
  let run = fn;
  // With two governors in one app, the route's word holds for the calls of both.
  for (const [scopes, { keys }] of outer) {
    const inner = run;
    run = () => scopes.rejoin(key, () => scopes.run(scopes.open(options, { keys }), inner));
  }
  return run();
}

/** Aborts when the client is gone before the response was sent whole. Made with the first call: most requests make none. */
function hangUpOf(response: ServerResponse): AbortSignal {
  const hangUp = new AbortController();
  const look = () => {
    if (!wasSentWhole(response)) {
      hangUp.abort(new AbortedError('the client hung up', { reason: 'aborted' }));
    }
  };
  // `close` of the response, not of the request: that one fires in healthy requests too.
  if (isClosed(response)) look();
  else response.once('close', look);
  return hangUp.signal;
}

/** Milliseconds of a number of seconds; what is none says nothing. */
function millisecondsOf(value: string | string[] | undefined): number | undefined {
  if (typeof value !== 'string' || !/^\d{1,9}(\.\d{1,9})?$/.test(value)) return undefined;
  return Math.max(1, Number(value) * 1000);
}

function lowest(bounds: readonly (number | undefined)[]): number | undefined {
  const named = bounds.filter((bound) => bound !== undefined);
  return named.length === 0 ? undefined : Math.min(...named);
}
