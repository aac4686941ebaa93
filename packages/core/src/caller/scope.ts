import { type Context, context } from '@opentelemetry/api';
import { type Caller, contradicts, type NormalCaller, normalizeCaller, type Standing } from './caller.ts';
import type { Scopes } from './scopes.ts';

/** A caller, or how to find it. The function is asked once, at the first governed call of its scope. */
export type CallerSource = Caller | (() => Caller | Promise<Caller>);

/** The caller of one call, with the point in time by which it must be done. */
export interface ResolvedCaller extends NormalCaller {
  /** Told how the caller's own quotas stand, with every governed call. */
  readonly onStanding?: ((standing: readonly Standing[]) => void) | undefined;
  /** On the governor's clock. */
  readonly deadlineAt?: number | undefined;
  /** Every signal of the nested scopes. */
  readonly signals: readonly AbortSignal[];
}

/**
 * Where an object keeps the last scope that was opened for it. A property and no WeakMap: the entries of one survive
 * every scavenge, and cost a request more than all the rest of its scope. Shared by every copy of the package.
 */
const SCOPE = Symbol.for('headgate.scope');

interface Keyed {
  [SCOPE]?: Scope;
  /** Node's own request, behind a framework's object for it: of Fastify's request, and of Koa's context. */
  readonly raw?: Keyed;
  readonly req?: Keyed;
}

/** The last scope opened for `key`, of whichever governor; those before it follow by `before`. */
export function lastScopeOf(key: object): Scope | undefined {
  const { [SCOPE]: own, raw, req } = key as Keyed;
  return own ?? raw?.[SCOPE] ?? req?.[SCOPE];
}

/** How the caller of a scope is found, and what its calls are tied to. `about` is what the scope was opened about. */
export interface ScopeSource<T> {
  /** Who it is. Asked once. */
  find(about: T): Caller | Promise<Caller>;
  /** Ends the scope's calls; asked for with the first of them. */
  hangUp?(about: T): AbortSignal;
  /** Is told how the caller's own quotas stand. */
  listener?(about: T): ResolvedCaller['onStanding'];
  /** The route, without asking for the caller. */
  route?(about: T): string | undefined;
  /** Whether the work that the scope was opened for is done: its response has been sent. */
  isOver?(about: T): boolean;
  /** Whether the caller can have a deadline. To read the clock is a fifth of what a scope costs. Default: it can. */
  isTimed?(about: T): boolean;
  /** The caller is whole by itself: where it contradicts the scope around, nothing of that scope is taken over. */
  readonly isWhole?: boolean;
}

/** A caller that is named, or found by a function. */
export const NAMED: ScopeSource<CallerSource> = {
  find: (source) => (typeof source === 'function' ? source() : source),
  route: (source) => (typeof source === 'function' ? undefined : source?.route),
  isTimed: (source) => typeof source === 'function' || source?.deadlineMs !== undefined,
};

export const WHOLE: ScopeSource<CallerSource> = { ...NAMED, isWhole: true };

/**
 * One `run`, or one HTTP request. One class for both, with a source that many share: a request opens a scope before it
 * is known whether a call will follow, and to construct one class upon another costs twice as much.
 */
export class Scope<T = unknown> {
  /** The trace in which the scope was opened: a lost context has lost that too. */
  readonly context: Context = context.active();
  readonly owner: Scopes;
  /** The scope around this one. */
  readonly outer: Scope | undefined;
  /** What the scope can be found by again, where its context was lost. */
  readonly key: object | undefined;
  /** The one that the key led to before, of whichever governor. */
  readonly before: Scope | undefined;
  readonly #source: ScopeSource<T>;
  readonly #about: T;
  /** On the governor's clock; not a number where nothing is timed. */
  readonly #enteredAt: number;
  #resolved: ResolvedCaller | Promise<ResolvedCaller> | undefined;

  constructor(
    owner: Scopes,
    source: ScopeSource<T>,
    about: T,
    key: object | undefined,
    outer: Scope | undefined = owner.current(),
  ) {
    this.owner = owner;
    this.outer = outer;
    this.key = key;
    this.#source = source;
    this.#about = about;
    this.#enteredAt = source.isTimed?.(about) === false ? Number.NaN : owner.now();
    if (key === undefined) return;
    this.before = (key as Keyed)[SCOPE];
    (key as Keyed)[SCOPE] = this;
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

  /** The caller, where it is known by now. */
  get known(): ResolvedCaller | undefined {
    return this.#resolved instanceof Promise ? undefined : this.#resolved;
  }

  /** The route of the innermost scope that has one. Never asks for the caller. */
  get route(): string | undefined {
    return this.#source.route?.(this.#about) ?? this.outer?.route;
  }

  /** Whether the response has been sent for which this scope, or one around it, was opened. */
  get isOver(): boolean {
    return this.#source.isOver?.(this.#about) === true || this.outer?.isOver === true;
  }

  /** Whether this scope is `other`, or was opened inside it. */
  isWithin(other: Scope): boolean {
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.outer) {
      if (scope === other) return true;
    }
    return false;
  }

  /** Whether this scope, or one around it, was opened for `key`. */
  isOf(key: object): boolean {
    for (let scope: Scope | undefined = this; scope !== undefined; scope = scope.outer) {
      if (scope.key === key) return true;
    }
    return false;
  }

  #merge(): ResolvedCaller | Promise<ResolvedCaller> {
    const own = this.#source.find(this.#about);
    const outer = this.outer?.resolve();
    if (own instanceof Promise || outer instanceof Promise) {
      return Promise.all([own, outer]).then(([mine, theirs]) => this.#combine(mine, theirs));
    }
    return this.#combine(own, outer);
  }

  #combine(caller: Caller, around: ResolvedCaller | undefined): ResolvedCaller {
    const own = normalizeCaller(caller);
    const isAnother = this.#source.isWhole === true && contradicts(own, around);
    const outer = isAnother ? undefined : around;
    const deadlines = [
      outer?.deadlineAt,
      own.deadlineMs === undefined ? undefined : this.#enteredAt + own.deadlineMs,
    ].filter((at) => at !== undefined);
    const signals = [...(outer?.signals ?? []), this.#source.hangUp?.(this.#about), own.signal].filter(
      (signal) => signal !== undefined,
    );
    const ceilings = [outer?.maxTokens, own.maxTokens].filter((ceiling) => ceiling !== undefined);
    const named = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
    const whole = wholeOf(own, outer);
    return {
      ...outer,
      ...named,
      ...(whole === undefined ? {} : { whole }),
      maxTokens: ceilings.length === 0 ? undefined : Math.min(...ceilings),
      onStanding: this.#source.listener?.(this.#about) ?? outer?.onStanding,
      signals,
      // An inner scope may be in more of a hurry than the outer one, never in less.
      deadlineAt: deadlines.length === 0 ? undefined : Math.min(...deadlines),
    };
  }
}

/** The long names of a scope: those that an inner scope names anew are not the outer's any more. */
function wholeOf(own: NormalCaller, outer: ResolvedCaller | undefined): NormalCaller['whole'] {
  if (outer?.whole === undefined) return own.whole;
  const kept = Object.entries(outer.whole).filter(([field]) => own[field as 'user'] === undefined);
  return { ...Object.fromEntries(kept), ...own.whole };
}
