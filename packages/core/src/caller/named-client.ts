import type { Middleware } from '@anthropic-ai/sdk';
import { type Context, context, type Span, type TracerProvider, trace } from '@opentelemetry/api';
import { contradicts, normalizeCaller } from './caller.ts';
import type { CallerSource, Scope } from './scope.ts';
import type { Scopes } from './scopes.ts';
import { apart, isSameTrace, type Parent, placingProvider, traceOf } from './traces.ts';

/** Is told that a client is used in another scope than it was made in. */
export type OnElsewhere = (made: Scope, now: Scope | undefined) => void;

/**
 * The calls of a client that names its caller. They stay in the scope in which the client was made, and in its trace:
 * what runs them later may well do so in the context of another. A caller that contradicts that scope is another one,
 * and takes nothing of it: no tenant, no deadline, no hang-up, no trace.
 */
export class NamedClient {
  readonly #scopes: Scopes;
  readonly #source: CallerSource;
  readonly #onElsewhere: OnElsewhere;
  readonly #made: Scope | undefined;
  readonly #trace: Context = context.active();
  /** Spans of the SDK that stand where they belong. */
  readonly #placed = new WeakSet<Span>();

  constructor(scopes: Scopes, source: CallerSource, onElsewhere: OnElsewhere) {
    this.#scopes = scopes;
    this.#source = source;
    this.#onElsewhere = onElsewhere;
    this.#made = scopes.current();
  }

  readonly middleware: Middleware = (request, next) => {
    const active = context.active();
    const now = this.#scopes.current();
    if (this.#made !== undefined && this.#isElsewhere(now)) {
      // A scope around its own is no other caller's.
      if (now === undefined || !this.#made.isWithin(now)) this.#onElsewhere(this.#made, now);
    }
    const call = () =>
      this.#scopes.run(this.#scopes.openWhole(this.#source, this.#outer()), () => next(request));
    const { context: parent } = this.#parentOf(active);
    return parent === active ? call() : context.with(parent, call);
  };

  /** For the client's own spans, which begin before its middleware is asked. */
  tracerProvider(provider: TracerProvider | undefined): TracerProvider {
    return placingProvider(
      provider,
      (active) => this.#parentOf(active),
      (span) => this.#placed.add(span),
    );
  }

  #isElsewhere(now: Scope | undefined): boolean {
    return this.#made !== undefined && now?.isWithin(this.#made) !== true;
  }

  /** The scope around the client's caller. */
  #outer(): Scope | undefined {
    const now = this.#scopes.current();
    return this.#isElsewhere(now) ? this.#made : now;
  }

  #parentOf(active: Context): Parent {
    const span = trace.getSpan(active);
    if (span !== undefined && this.#placed.has(span)) return { context: active };
    const outer = this.#outer();
    const own = this.#isElsewhere(this.#scopes.current()) ? traceOf(this.#trace, active) : active;
    const isOthers = outer !== undefined && isSameTrace(own, outer.context) && this.#contradicts(outer);
    return isOthers ? apart(own) : { context: own };
  }

  /** Whether the caller is certainly another than that of `outer`: who is found later is not known yet. */
  #contradicts(outer: Scope): boolean {
    if (typeof this.#source === 'function') return false;
    const found = outer.resolve();
    if (!(found instanceof Promise)) return contradicts(normalizeCaller(this.#source), found);
    // Whoever asks for the caller next is told what went wrong.
    found.catch(() => undefined);
    return false;
  }
}
