import { channel } from 'node:diagnostics_channel';
import type { Door } from '@headgate/core/http';
import type { FastifyInstance, FastifyRequest } from 'fastify';

type Step = Door<never>['step'];
type Hook = (this: unknown, ...args: unknown[]) => unknown;

/** The hooks of a request. Those of the app's own life are no steps of one. */
const HOOKS = [
  'onRequest',
  'preParsing',
  'preValidation',
  'preHandler',
  'preSerialization',
  'onSend',
  'onResponse',
  'onTimeout',
  'onError',
  'onRequestAbort',
] as const;
const ofRequest = new Set<string>(HOOKS);

/**
 * Has every step of an app enter the scope of its request again: Fastify starts one where the one before calls `done`,
 * and a queue calls that in the context of another request. Hooks, handlers and error handlers that are added from now
 * on are wrapped, in this instance and in those inside it.
 */
export function stepAgain(app: FastifyInstance, step: Step): void {
  const wrapped = new WeakSet<Hook>();
  /** The function stays asynchronous where it was: Fastify checks its arguments by that, and by their number. */
  const wrap = <F>(fn: F): F => {
    if (typeof fn !== 'function' || wrapped.has(fn as unknown as Hook)) return fn;
    const hook = fn as unknown as Hook;
    const again = function (this: unknown, args: unknown[]): unknown {
      // An error handler has the error first, and a handler of a socket that.
      const request = args.find(isRequest);
      return step(request, () => hook.apply(this, args));
    };
    const made: Hook =
      hook.constructor.name === 'AsyncFunction'
        ? async function (...args) {
            return again.call(this, args);
          }
        : function (...args) {
            return again.call(this, args);
          };
    Object.defineProperties(made, { name: { value: hook.name }, length: { value: hook.length } });
    wrapped.add(made);
    return made as unknown as F;
  };
  const wrapAll = <F>(fns: F | F[]): F | F[] => (Array.isArray(fns) ? fns.map(wrap) : wrap(fns));

  const wrapFields = (options: unknown): void => {
    if (typeof options !== 'object' || options === null) return;
    const fields = options as Record<string, unknown>;
    for (const name of [...HOOKS, 'handler', 'errorHandler']) {
      if (fields[name] !== undefined) fields[name] = wrapAll(fields[name]);
    }
  };

  const { addHook, setErrorHandler, setNotFoundHandler } = app;
  Object.assign(app, {
    addHook(this: FastifyInstance, name: string, fn: unknown) {
      return Reflect.apply(addHook, this, [name, ofRequest.has(name) ? wrap(fn) : fn]);
    },
    setErrorHandler(this: FastifyInstance, fn: unknown, ...more: unknown[]) {
      return Reflect.apply(setErrorHandler, this, [wrap(fn), ...more]);
    },
    setNotFoundHandler(this: FastifyInstance, ...args: unknown[]) {
      for (const each of args) wrapFields(each);
      return Reflect.apply(setNotFoundHandler, this, args.map(wrap));
    },
  });
  addHook.call(app, 'onRoute', wrapFields);
}

/**
 * The same for the handlers of routes that the app has already, of which nothing can be wrapped any more: Fastify tells
 * on a channel of each handler before it runs. Without any such route the channel stays silent, and costs nothing.
 */
export function stepAgainOnChannel(app: FastifyInstance, door: Pick<Door<never>, 'listen'>): void {
  if (app.printRoutes() === '(empty tree)') return;
  door.listen(channel('tracing:fastify.request.handler:start'), (message) => {
    const { request } = message as { request?: FastifyRequest };
    return request?.raw;
  });
}

function isRequest(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'routeOptions' in value && 'raw' in value;
}
