import {
  type Context,
  context,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanOptions,
  type Tracer,
  type TracerProvider,
  trace,
} from '@opentelemetry/api';

/** Where a span belongs: under which context, and to which other trace it leads. */
export interface Parent {
  readonly context: Context;
  readonly link?: Link | undefined;
}

const traceIdOf = (at: Context): string | undefined => trace.getSpanContext(at)?.traceId;

/** The context to work in for the trace of `kept`: `active`, where that is a place in the same trace, and else `kept`. */
export function traceOf(kept: Context, active: Context): Context {
  const id = traceIdOf(active);
  return id !== undefined && id === traceIdOf(kept) ? active : kept;
}

/** Whether `active` stands in the trace of `kept`. A span where there was none before was begun by the same work. */
export function isSameTrace(active: Context, kept: Context): boolean {
  const id = traceIdOf(active);
  return id !== undefined && id === (traceIdOf(kept) ?? id);
}

/** The beginning of a trace of its own, with a link to what was active: for a caller whose trace is not known. */
export function apart(active: Context): Parent {
  const span = trace.getSpanContext(active);
  return { context: ROOT_CONTEXT, link: span === undefined ? undefined : { context: span } };
}

/**
 * The tracers of `provider` (by default those of the process), whose spans begin where `parentOf` says. The SDK starts
 * the span of a call with the call itself, in whatever context that is made.
 */
export function placingProvider(
  provider: TracerProvider | undefined,
  parentOf: (active: Context) => Parent,
  onStarted?: (span: Span) => void,
): TracerProvider {
  return {
    getTracer(...named) {
      const tracer = (provider ?? trace.getTracerProvider()).getTracer(...named);
      return new PlacingTracer(tracer, parentOf, onStarted);
    },
  };
}

class PlacingTracer implements Tracer {
  readonly #tracer: Tracer;
  readonly #parentOf: (active: Context) => Parent;
  readonly #onStarted: ((span: Span) => void) | undefined;

  constructor(
    tracer: Tracer,
    parentOf: (active: Context) => Parent,
    onStarted: ((span: Span) => void) | undefined,
  ) {
    this.#tracer = tracer;
    this.#parentOf = parentOf;
    this.#onStarted = onStarted;
  }

  startSpan(name: string, options?: SpanOptions, at: Context = context.active()): Span {
    const { context: parent, link } = this.#parentOf(at);
    const links = link === undefined ? options?.links : [...(options?.links ?? []), link];
    const span = this.#tracer.startSpan(name, links === undefined ? options : { ...options, links }, parent);
    this.#onStarted?.(span);
    return span;
  }

  startActiveSpan(...args: unknown[]): never {
    return (this.#tracer.startActiveSpan as (...all: unknown[]) => never).apply(this.#tracer, args);
  }
}
