import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Caller } from '../caller/caller.ts';
import { AbortedError } from '../errors.ts';
import { type Governor, internalsOf } from '../governor.ts';
import { rateLimitHeaders } from './rate-limit-headers.ts';

export interface HttpScopeOptions {
  /** Asked once, at the first governed call of the request. Left out: every call is `anonymous`. */
  readonly caller?: (() => Caller | Promise<Caller>) | undefined;
  /** The route as the framework knows it, as `/chat/:id`; asked when the caller is. */
  readonly route?: (() => string | undefined) | undefined;
}

export interface HttpScope {
  /** Runs the rest of the request in the scope. */
  run<T>(fn: () => T): T;
}

/**
 * The scope of one HTTP request: what every adapter is made of. A client that hangs up aborts the request's calls, queued and
 * running; what goes on after a response has been sent whole is left alone.
 */
export function openHttpScope(
  governor: Governor,
  request: IncomingMessage | object,
  response: ServerResponse,
  { caller, route }: HttpScopeOptions,
): HttpScope {
  const { scopes, once } = internalsOf(governor);
  if (caller === undefined) {
    once.warn(
      'HG_NO_CALLER',
      '',
      'the adapter was given no `caller` function: everybody is `anonymous` and shares what quotas give to one user',
    );
  }
  const hangUp = new AbortController();
  // `close` of the response, not of the request: that one fires in healthy requests too.
  response.once('close', () => {
    if (!response.writableFinished) {
      hangUp.abort(new AbortedError('the client hung up', { reason: 'aborted' }));
    }
  });
  const withRoute = (found: Caller | undefined): Caller => ({
    route: route?.(),
    ...found,
  });
  const source = () => {
    const found = caller?.();
    return found instanceof Promise ? found.then(withRoute) : withRoute(found);
  };
  const scope = scopes.open(source, {
    signal: hangUp.signal,
    key: request,
    onStanding: (standing) => {
      if (response.headersSent) return;
      for (const [name, value] of Object.entries(rateLimitHeaders(standing))) response.setHeader(name, value);
    },
  });
  return { run: (fn) => scopes.run(scope, fn) };
}
