import type { Door } from '@headgate/core/http';
import type { Request } from 'express';

type Handle = (...args: unknown[]) => unknown;

/** One step of a router, as Express keeps it: a handler, a route with steps of its own, or another router. */
interface Layer {
  handle: Handle & { readonly stack?: Layer[] };
  readonly route?: { readonly stack: Layer[] } | undefined;
}

/** A router of Express 5, or of Express 4, where the app has it under another name, and `router` throws. */
interface App {
  readonly _router?: { readonly stack?: Layer[] };
  readonly router?: { readonly stack?: Layer[] };
}

/** An error handler is known by its four arguments. */
const ERROR_ARGUMENTS = 4;

/**
 * Has every step of an app enter the scope of its request again. Express starts one where the one before calls `next`,
 * and a queue calls that in the context of another request. The steps are looked for where a router is entered, so that
 * those count that are added later; what has been seen costs a comparison of two numbers.
 */
export class Steps {
  readonly #step: Door<never>['step'];
  readonly #lengths = new WeakMap<Layer[], number>();
  readonly #wrapped = new WeakSet<Layer>();

  constructor(step: Door<never>['step']) {
    this.#step = step;
  }

  /** The steps of the app that serves a request. A router without an app has none that can be found. */
  ofApp({ app }: Request): void {
    const serving = app as unknown as App | undefined;
    this.#of((serving?._router ?? serving?.router)?.stack);
  }

  #of(stack: Layer[] | undefined): void {
    if (stack === undefined || this.#lengths.get(stack) === stack.length) return;
    this.#lengths.set(stack, stack.length);
    for (const layer of stack) this.#wrap(layer);
  }

  #wrap(layer: Layer): void {
    const isOwnField = Object.getOwnPropertyDescriptor(layer, 'handle')?.writable === true;
    if (!isOwnField || this.#wrapped.has(layer)) return;
    this.#wrapped.add(layer);
    const { handle, route } = layer;
    const inner = () => this.#of(route?.stack ?? handle.stack);
    const wrapped: Handle =
      handle.length === ERROR_ARGUMENTS
        ? (error, req, res, next) => this.#step(req, () => handle(error, req, res, next))
        : (req, res, next) => {
            inner();
            return this.#step(req, () => handle(req, res, next));
          };
    // A router has its own fields on its function, and so has whatever else looks like one.
    Object.defineProperties(wrapped, { name: { value: handle.name }, length: { value: handle.length } });
    layer.handle = Object.setPrototypeOf(wrapped, handle);
  }
}
