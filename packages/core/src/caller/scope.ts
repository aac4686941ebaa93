import { AsyncLocalStorage } from 'node:async_hooks';
import { type Context, context, trace } from '@opentelemetry/api';
import type { Clock } from '../clock.ts';
import { type Caller, normalizeCaller, type Standing } from './caller.ts';

/** A caller, or how to find it. The function is asked once, at the first governed call of its scope. */
export type CallerSource = Caller | (() => Caller | Promise<Caller>);

/** The caller of one call, with the point in time by which it must be done. */
export interface ResolvedCaller extends Caller {
  /** Told how the caller's own quotas stand, with every governed call. */
  readonly onStanding?: ((standing: readonly Standing[]) => void) | undefined;
  /** On the governor's clock. */
  readonly deadlineAt?: number | undefined;
  /** Every signal of the nested scopes. */
  readonly signals: readonly AbortSignal[];
}

export interface ScopeOptions {
  /** Ends the scope's calls; asked for with the first of them. */
  readonly signal?: () => AbortSignal;
  /** What the scope can be found by again, where its context was lost. */
  readonly keys?: readonly object[];
  readonly onStanding?: ResolvedCaller['onStanding'];
}

/**
 * Where an object keeps the last scope that was opened for it. A property and no WeakMap: the entries of one survive
 * every scavenge, and cost a request more than all the rest of its scope.
 */
const SCOPE = Symbol('headgate.scope');

interface Keyed {
  [SCOPE]?: Scope;
}

/** The last scope opened for `key`, of whichever governor; those before it follow by `before`. */
export function lastScopeOf(key: object): Scope | undefined {
  return (key as Keyed)[SCOPE];
}

/** One `run`, or one HTTP request. */
export class Scope {
  /** The trace in which the scope was opened: a lost context has lost that too. */
  readonly context: Context = context.active();
  readonly owner: Scopes;
  /** The one that its keys led to before, of whichever governor. */
  readonly before: Scope | undefined;
  readonly #source: CallerSource;
  readonly #parent: Scope | undefined;
  readonly #enteredAt: number;
  readonly #options: ScopeOptions;
  #resolved: ResolvedCaller | Promise<ResolvedCaller> | undefined;

  constructor(
    owner: Scopes,
    source: CallerSource,
    enteredAt: number,
    parent: Scope | undefined,
    options: ScopeOptions,
  ) {
    this.owner = owner;
    this.before = options.keys?.[0] === undefined ? undefined : lastScopeOf(options.keys[0]);
    this.#source = source;
    this.#parent = parent;
    this.#enteredAt = enteredAt;
    this.#options = options;
  }

  get keys(): readonly object[] {
    return this.#options.keys ?? [];
  }

  /**
   * Lazy, since a framework may know its user only after hooks that run later than ours; and once, since
   * the answer must not change between two calls of a request. A throw is kept: every call gets the same.
   */
  resolve(): ResolvedCaller | Promise<ResolvedCaller> {
    if (this.#resolved === undefined) {
      try {
        this.#resolved = this.#merge();
      } catch (error) {
        this.#resolved = Promise.reject(error);
      }
    }
    return this.#resolved;
  }

  #merge(): ResolvedCaller | Promise<ResolvedCaller> {
    const source = this.#source;
    const own = typeof source === 'function' ? source() : source;
    const outer = this.#parent?.resolve();
    if (own instanceof Promise || outer instanceof Promise) {
      return Promise.all([own, outer]).then(([mine, theirs]) => this.#combine(mine, theirs));
    }
    return this.#combine(own, outer);
  }

  #combine(caller: Caller, outer: ResolvedCaller | undefined): ResolvedCaller {
    const own = normalizeCaller(caller);
    const deadlines = [
      outer?.deadlineAt,
      own.deadlineMs === undefined ? undefined : this.#enteredAt + own.deadlineMs,
    ].filter((at) => at !== undefined);
    const signals = [...(outer?.signals ?? []), this.#options.signal?.(), own.signal].filter(
      (signal) => signal !== undefined,
    );
    const ceilings = [outer?.maxTokens, own.maxTokens].filter((ceiling) => ceiling !== undefined);
    const named = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
    return {
      ...outer,
      ...named,
      maxTokens: ceilings.length === 0 ? undefined : Math.min(...ceilings),
      onStanding: this.#options.onStanding ?? outer?.onStanding,
      signals,
      // An inner scope may be in more of a hurry than the outer one, never in less.
      deadlineAt: deadlines.length === 0 ? undefined : Math.min(...deadlines),
    };
  }
}

/** Where the scope of the running code is kept, and the scopes that a lost context can be rejoined to. */
export class Scopes {
  readonly #clock: Clock;
  readonly #storage = new AsyncLocalStorage<Scope>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  current(): Scope | undefined {
    return this.#storage.getStore();
  }

  open(source: CallerSource, options: ScopeOptions = {}): Scope {
    const scope = new Scope(this, source, this.#clock.now(), this.current(), options);
    for (const key of scope.keys) (key as Keyed)[SCOPE] = scope;
    return scope;
  }

  run<T>(scope: Scope, fn: () => T): T {
    return this.#storage.run(scope, fn);
  }

  /** Runs `fn` in no scope: for work that is nobody's in particular. */
  outside<T>(fn: () => T): T {
    return this.#storage.exit(fn);
  }

  /** The scope opened for `key`, as for a framework's request object. */
  of(key: object): Scope | undefined {
    let scope = lastScopeOf(key);
    while (scope !== undefined && scope.owner !== this) scope = scope.before;
    return scope;
  }

  /** Runs `fn` in the scope opened for `key`, and in its trace where none is active; as it is where there is no such scope. */
  rejoin<T>(key: object, fn: () => T): T {
    const scope = this.of(key);
    if (scope === undefined) return fn();
    const isLost = trace.getSpan(context.active()) === undefined;
    return context.with(isLost ? scope.context : context.active(), () => this.run(scope, fn));
  }
}
