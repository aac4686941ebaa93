import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type Attributes,
  INVALID_SPAN_CONTEXT,
  type Span,
  type SpanContext,
  type Tracer,
  type TracerProvider,
} from '@opentelemetry/api';

/** Hears of a call's spans as they end. */
export type Listener = (span: string, attributes: Attributes) => void;

/**
 * What a governor tells of its calls, as any tracing would hear it: the report of a real run is made of nothing else.
 * Each span is told to the listener in whose scope it began.
 */
export class Told implements TracerProvider {
  readonly #listeners = new AsyncLocalStorage<Listener>();

  /** Spans that begin in `fn`, however deep, are told to `listener`. */
  listen<T>(listener: Listener, fn: () => T): T {
    return this.#listeners.run(listener, fn);
  }

  getTracer(): Tracer {
    const startSpan: Tracer['startSpan'] = (name, options = {}) =>
      new ToldSpan(name, { ...options.attributes }, this.#listeners.getStore());
    return {
      startSpan,
      startActiveSpan() {
        throw new TypeError('the governor starts no active spans');
      },
    };
  }
}

class ToldSpan implements Span {
  readonly #name: string;
  readonly #attributes: Attributes;
  #listener: Listener | undefined;

  constructor(name: string, attributes: Attributes, listener: Listener | undefined) {
    this.#name = name;
    this.#attributes = attributes;
    this.#listener = listener;
  }

  spanContext(): SpanContext {
    return INVALID_SPAN_CONTEXT;
  }

  isRecording(): boolean {
    return this.#listener !== undefined;
  }

  setAttribute(key: string, value: Attributes[string] & {}): this {
    this.#attributes[key] = value;
    return this;
  }

  setAttributes(attributes: Attributes): this {
    Object.assign(this.#attributes, attributes);
    return this;
  }

  end(): void {
    this.#listener?.(this.#name, this.#attributes);
    this.#listener = undefined;
  }

  addEvent(): this {
    return this;
  }

  addLink(): this {
    return this;
  }

  addLinks(): this {
    return this;
  }

  setStatus(): this {
    return this;
  }

  updateName(): this {
    return this;
  }

  recordException(): void {}
}
