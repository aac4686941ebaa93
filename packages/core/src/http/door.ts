import type { Channel } from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Caller, normalizeCaller } from '../caller/caller.ts';
import { lastScopeOf, Scope, type ScopeSource } from '../caller/scope.ts';
import type { Scopes } from '../caller/scopes.ts';
import { AbortedError } from '../errors.ts';
import { internalsOf } from '../internals.ts';
import { checkOptions, type KnownKeys } from '../known-keys.ts';
import type { Logger } from '../logger.ts';
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

const ROUTE_KEYS: KnownKeys<RouteOptions> = {
  lane: true,
  maxTokens: true,
  deadlineMs: true,
  fallback: true,
  hangUp: true,
};

const DOOR_KEYS: KnownKeys<DoorOptions<never>> = { caller: true, deadlineMs: true, timeoutHeader: true };

/** What a framework knows of a request. Asked with its first call, since most requests make none. */
export interface Framework<A extends unknown[]> {
  /** Node's own request and response. */
  raw(...request: A): { readonly request: IncomingMessage; readonly response: ServerResponse };
  /** The pattern of the route, as `/chat/:id`: of bounded number. */
  route(...request: A): string | undefined;
  /** What the route says about its calls, where the framework knows it in advance. */
  options?(...request: A): RouteOptions | undefined;
  /** Calls `end` when the framework answers in the handler's place since it took too long; a client that leaves is seen without. */
  gaveUp?(end: () => void, ...request: A): void;
}

/** Opens the scope of a request, which is Node's own, and runs the rest of the request in it. */
export interface Door<A extends unknown[]> {
  <T>(request: IncomingMessage, asked: A, fn: () => T): T;
  /**
   * Runs one of the framework's further steps for a request in the request's scope and trace: the one before may have
   * left it for those of another, as a queue does that calls `next`. `key` is the request, or the framework's object
   * for it; what has no scope yet, or is no object, runs as it is.
   */
  step<T>(key: unknown, fn: () => T): T;
  /**
   * As `step`, for what a framework tells of on a channel of `node:diagnostics_channel` that runs it: in the request's
   * scope, not in its trace. `keyOf` finds the request in a message.
   */
  listen(channel: Channel, keyOf: (message: unknown) => object | undefined): void;
}

/** Where the governors of scopes log. */
const loggers = new WeakMap<Scopes, Logger>();

/** The logger of the governor whose scope a request is in; the console's where it is in none. */
export function loggerOf(request: object): Logger {
  const scope = lastScopeOf(request);
  return (scope === undefined ? undefined : loggers.get(scope.owner)) ?? console;
}

const DEFAULT_TIMEOUT_HEADER = 'x-request-timeout';

/**
 * What every adapter is made of: it opens the scope of one HTTP request. A client that hangs up aborts the request's
 * calls, queued and running; what goes on after a response has been sent whole is left alone.
 */
export function createDoor<A extends unknown[]>(
  governor: Governor,
  options: DoorOptions<A>,
  framework: Framework<A>,
): Door<A> {
  const { scopes, once, logger, onClose } = internalsOf(governor);
  loggers.set(scopes, logger);
  // What is wrong is told when the app starts, and not with the first call.
  checkOptions('headgate()', options, DOOR_KEYS);
  if (options.caller !== undefined && typeof options.caller !== 'function') {
    throw new TypeError(
      `Headgate headgate(): expected caller to be a function, as (req) => ({ user: req.user.id }), received ${typeof options.caller}`,
    );
  }
  normalizeCaller({ deadlineMs: options.deadlineMs });
  if (options.caller === undefined) {
    once.warn(
      'HG_NO_CALLER',
      '',
      'the adapter was given no `caller` function: everybody is `anonymous` and shares what quotas give to one user',
    );
  }
  const source = sourceOf(options, framework);
  const open = <T>(request: IncomingMessage, asked: A, fn: () => T): T => {
    const scope = new Scope(scopes, source, asked, request);
    return isOnItsConnection(request) ? scopes.enter(scope, fn) : scopes.run(scope, fn);
  };
  const step = <T>(key: unknown, fn: () => T): T =>
    typeof key === 'object' && key !== null ? scopes.rejoin(key, fn) : fn();
  const listen: Door<A>['listen'] = (channel, keyOf) => onClose(scopes.listen(channel, keyOf));
  return Object.assign(open, { step, listen });
}

/**
 * Whether Node's own server has just read this request off a connection of its own: then nothing but this request
 * follows in the callback that has brought it. One that was made up inside the process, as by `inject`, is called
 * from somebody else's code, which goes on in a scope of its own.
 */
function isOnItsConnection(request: IncomingMessage): boolean {
  if (request.httpVersionMajor !== 1) return false;
  // Node's parser is no documented part of a socket. Where there is none, the longer way is taken.
  const { parser } = (request.socket ?? {}) as { parser?: { incoming?: unknown } | null };
  return parser?.incoming === request;
}

/** What the scopes of all requests have in common. */
function sourceOf<A extends unknown[]>(
  { caller, deadlineMs, timeoutHeader = false }: DoorOptions<A>,
  framework: Framework<A>,
): ScopeSource<A> {
  const header = (timeoutHeader === true ? DEFAULT_TIMEOUT_HEADER : timeoutHeader || '').toLowerCase();
  const complete = (found: Caller | undefined, asked: A): Caller => {
    const ofRoute = framework.options?.(...asked);
    const patienceMs = millisecondsOf(framework.raw(...asked).request.headers[header]);
    return {
      route: framework.route(...asked),
      ...found,
      ...ofRoute,
      maxTokens: lowest([found?.maxTokens, ofRoute?.maxTokens]),
      deadlineMs: lowest([deadlineMs, patienceMs, found?.deadlineMs, ofRoute?.deadlineMs]),
    };
  };
  return {
    find(asked) {
      const found = caller?.(...asked);
      return found instanceof Promise ? found.then((late) => complete(late, asked)) : complete(found, asked);
    },

    /** Aborts when the client is gone before the response was sent whole, and when the framework has given the handler up. */
    hangUp(asked) {
      const { response } = framework.raw(...asked);
      const controller = new AbortController();
      const look = () => {
        if (!wasSentWhole(response)) {
          controller.abort(new AbortedError('the client hung up', { reason: 'aborted' }));
        }
      };
      // `close` of the response, not of the request: that one fires in healthy requests too.
      if (isClosed(response)) look();
      else response.once('close', look);
      framework.gaveUp?.(
        () => {
          controller.abort(new AbortedError('the handler took longer than it may', { reason: 'deadline' }));
        },
        ...asked,
      );
      return controller.signal;
    },

    route: (asked) => framework.route(...asked),

    isOver: (asked) => wasSentWhole(framework.raw(...asked).response),

    listener(asked) {
      const { response } = framework.raw(...asked);
      return (standing) => {
        if (response.headersSent) return;
        for (const [name, value] of Object.entries(rateLimitHeaders(standing))) {
          response.setHeader(name, value);
        }
      };
    },
  };
}

/** Checks a route's options when the route is made. @throws TypeError naming the field. */
export function checkRoute(options: RouteOptions): RouteOptions {
  checkOptions('headgate.route()', options, ROUTE_KEYS);
  normalizeCaller(options);
  return options;
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
  for (const [scopes, { key: request }] of outer) {
    const inner = run;
    run = () => scopes.rejoin(key, () => scopes.run(scopes.open(options, request), inner));
  }
  return run();
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
