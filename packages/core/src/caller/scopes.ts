import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import type { Channel } from 'node:diagnostics_channel';
import { type Context, context } from '@opentelemetry/api';
import type { Clock } from '../clock.ts';
import { checkCallerKeys } from './caller.ts';
import { bindLazy, bindValue, type Enter, isPlainPromise } from './lazy.ts';
import { type CallerSource, lastScopeOf, NAMED, Scope, WHOLE } from './scope.ts';
import { traceOf } from './traces.ts';

/**
 * Whether Node keeps contexts in frames, which it puts back by itself after every callback (24 and later, unless told
 * otherwise), and not with the resource that made the callback, as of a connection, where they would stay.
 */
const HAS_FRAMES = ((): boolean => {
  const storage = new AsyncLocalStorage<boolean>();
  const resource = new AsyncResource('HEADGATE_PROBE');
  resource.runInAsyncScope(() => storage.enterWith(true));
  const isKept = resource.runInAsyncScope(() => storage.getStore()) === true;
  storage.disable();
  return !isKept;
})();

/** Where the scope of the running code is kept, and the scopes that a lost context can be rejoined to. */
export class Scopes {
  readonly #clock: Clock;
  readonly #storage = new AsyncLocalStorage<Scope>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }

  current(): Scope | undefined {
    return this.#storage.getStore();
  }

  /** @throws TypeError for a caller with a key that none has; one that is found by a function is looked at then. */
  open(source: CallerSource, key?: object): Scope {
    if (typeof source === 'object' && source !== null) checkCallerKeys(source);
    return new Scope(this, NAMED, source, key);
  }

  /** A scope inside `outer` for a caller that may be another than that of `outer`: then it takes nothing over. */
  openWhole(source: CallerSource, outer: Scope | undefined): Scope {
    return new Scope(this, WHOLE, source, undefined, outer);
  }

  run<T>(scope: Scope, fn: () => T): T {
    return this.#storage.run(scope, fn);
  }

  /** As `run`; what `fn` returns and what starts later (a generator, a stream, a lazy promise) runs in the scope too. */
  runWhole<T>(scope: Scope, fn: () => T): T {
    const result = this.#storage.run(scope, fn);
    // Most functions are async ones, and come to nothing that is lazy: this must cost them little.
    if (!isPlainPromise(result)) return this.#bindLate(scope, result);
    return result.then((late) =>
      typeof late === 'object' && late !== null ? this.#bindLate(scope, late) : late,
    ) as T;
  }

  #bindLate<T>(scope: Scope, value: T): T {
    if (typeof value !== 'object' || value === null) return value;
    return bindLazy(value, (later) => this.reenter(scope, scope.context, later));
  }

  /** Runs `fn` in no scope: for work that is nobody's in particular. */
  outside<T>(fn: () => T): T {
    return this.#storage.exit(fn);
  }

  /**
   * As `run`, in a callback of which all that follows belongs to the scope, where the context was empty before. To put
   * back what was costs as much again as to enter, and where there are frames Node does it when the callback is over.
   */
  enter<T>(scope: Scope, fn: () => T): T {
    if (!HAS_FRAMES || scope.outer !== undefined) return this.run(scope, fn);
    this.#storage.enterWith(scope);
    return fn();
  }

  /** The scope opened last for `key`, as for a framework's request object. */
  of(key: object): Scope | undefined {
    let scope = lastScopeOf(key);
    while (scope !== undefined && scope.owner !== this) scope = scope.before;
    return scope;
  }

  /** Runs `fn` in `scope`, and in the trace of `kept` where another is active; as it is where it runs inside `scope` already. */
  reenter<T>(scope: Scope, kept: Context, fn: () => T): T {
    if (this.current()?.isWithin(scope) === true) return fn();
    return context.with(traceOf(kept, context.active()), () => this.run(scope, fn));
  }

  /** As `reenter`, for the scope opened for `key`; as it is where there is none. */
  rejoin<T>(key: object, fn: () => T): T {
    const scope = this.of(key);
    if (scope === undefined) return fn();
    if (scope.key !== undefined && this.current()?.isOf(scope.key) === true) return fn();
    return this.reenter(scope, scope.context, fn);
  }

  /** What runs for a message of `channel` runs in the scope of the request that `keyOf` finds in it. Ends with what it returns. */
  listen(channel: Channel, keyOf: (message: unknown) => object | undefined): () => void {
    channel.bindStore(this.#storage, (message) => {
      const key = keyOf(message);
      const scope = key === undefined ? undefined : this.of(key);
      const current = this.current();
      const isIn = scope?.key === undefined || current?.isOf(scope.key) === true;
      // `undefined` is a store too: that of no scope.
      return (isIn ? current : scope) as Scope;
    });
    return () => void channel.unbindStore(this.#storage);
  }

  /**
   * `fn`, fixed to the context of now: to its scope (or to none), its trace, and whatever else async contexts keep. With
   * `key`, to the scope that was opened for it, where now is in another; one that is opened later counts too.
   */
  bind<F extends (...args: never[]) => unknown>(fn: F, key?: object): F {
    if (typeof fn !== 'function') {
      throw new TypeError(
        `Headgate bind: expected a function, as governor.bind(fn) or governor.bind(req, fn), received ${typeof fn}`,
      );
    }
    const snapshot = AsyncLocalStorage.snapshot();
    const active = context.active();
    const current = this.current();
    const asked = key === undefined ? undefined : this.of(key);
    const isHere = asked?.key !== undefined && current?.isOf(asked.key) === true;
    const kept = isHere ? current : (asked ?? current);
    const trace = kept === asked && asked !== undefined ? traceOf(asked.context, active) : active;
    const enter: Enter = (later) =>
      snapshot(() => {
        const late = key !== undefined && asked === undefined ? this.of(key) : undefined;
        const scope = late ?? kept;
        const run = scope === undefined ? later : () => this.run(scope, later);
        return context.with(late === undefined ? trace : traceOf(late.context, trace), run);
      });
    function bound(this: unknown, ...args: never[]): unknown {
      return enter(() => bindValue(Reflect.apply(fn, this, args), enter));
    }
    // Frameworks look at how many arguments a function takes.
    return Object.defineProperties(bound, {
      name: { value: fn.name, configurable: true },
      length: { value: fn.length, configurable: true },
    }) as unknown as F;
  }
}
