import type { Door } from '@headgate/core/http';
import type Application from 'koa';
import type { Context, Middleware, Next } from 'koa';

type Step = Door<never>['step'];

/** A layer of `@koa/router`: its handlers, which it composes anew for each request. */
interface Layer {
  readonly stack: Middleware[];
}

/** What `router.routes()` returns. */
type Routes = Middleware & { readonly router?: { readonly stack?: Layer[] } };

/** What Koa makes of all middleware together. */
type Composed = (ctx: Context) => Promise<unknown>;

/** Koa's own, which serves a request with the middleware that it is given. */
interface Serving {
  handleRequest?(ctx: Context, composed: Composed): unknown;
}

const apps = new WeakMap<Application, Steps>();

/**
 * What follows the middleware `own` for a request: `next`, with every further middleware of the app entering the scope
 * of its request again, by `step`.
 */
export function followedBy(step: Step, own: Middleware, ctx: Context, next: Next): Next {
  let steps = apps.get(ctx.app);
  if (steps === undefined) {
    steps = new Steps(ctx.app);
    apps.set(ctx.app, steps);
  }
  return steps.after(step, own, ctx, next);
}

/**
 * The middleware of one app. Koa starts one where the one before calls `next`, and a queue calls that in the context of
 * another request. Koa composes its middleware before the first request, so the app's are composed anew at the first
 * that comes by, and those of a router are wrapped where it keeps them.
 */
class Steps {
  /** One of each door: an app may have several governors. */
  readonly #steps = new Set<Step>();
  readonly #app: Application;
  /** Requests that go through the new composition. */
  readonly #renewed = new WeakSet<Context>();
  readonly #lengths = new WeakMap<Layer[], number>();
  readonly #wrapped = new WeakSet<Middleware>();

  constructor(app: Application) {
    this.#app = app;
    const serving = app as Serving;
    const { handleRequest } = serving;
    if (handleRequest === undefined) return;
    const renewed = compose(app.middleware.map((each) => this.#wrap(each)));
    serving.handleRequest = (ctx) => {
      this.#renewed.add(ctx);
      return handleRequest.call(app, ctx, renewed);
    };
  }

  after(step: Step, own: Middleware, ctx: Context, next: Next): Next {
    this.#steps.add(step);
    if (this.#renewed.has(ctx)) return next;
    // A request that was under way when the app was composed anew. Where this middleware stands inside one of somebody
    // else's, what follows is not to be seen.
    const { middleware } = this.#app;
    const index = middleware.indexOf(own);
    if (index === -1) return next;
    return () => compose(middleware.slice(index + 1).map((each) => this.#wrap(each)))(ctx);
  }

  #wrap(middleware: Routes): Middleware {
    if (this.#wrapped.has(middleware)) return middleware;
    const { router } = middleware;
    const wrapped: Middleware = (ctx, next) => {
      if (router?.stack !== undefined) this.#ofRouter(router.stack);
      let run = (): unknown => middleware(ctx, next);
      for (const step of this.#steps) {
        const inner = run;
        run = () => step(ctx, inner);
      }
      return run();
    };
    this.#wrapped.add(wrapped);
    // A router's parameters, and whatever else a middleware has for fields.
    return Object.setPrototypeOf(wrapped, middleware);
  }

  #ofRouter(layers: Layer[]): void {
    if (this.#lengths.get(layers) === layers.length) return;
    this.#lengths.set(layers, layers.length);
    for (const { stack } of layers) {
      for (const [index, handler] of stack.entries()) stack[index] = this.#wrap(handler);
    }
  }
}

/** As `koa-compose`, which an app does not hand on. */
function compose(middleware: readonly Middleware[]): Composed {
  return (ctx) => {
    let last = -1;
    const dispatch = (index: number): Promise<unknown> => {
      if (index <= last) return Promise.reject(new Error('next() called multiple times'));
      last = index;
      try {
        return Promise.resolve(middleware[index]?.(ctx, () => dispatch(index + 1) as Promise<never>));
      } catch (error) {
        return Promise.reject(error);
      }
    };
    return dispatch(0);
  };
}
