import type { Attributes, HrTime, Link, SpanContext, SpanStatus } from '@opentelemetry/api';
import { drawTree, type TreeSpan } from './span-tree.ts';

/** What the recorder reads of an SDK's span: the part that the 1.x, 2.x and 3.x lines have in common. */
export interface SdkSpan {
  readonly name: string;
  readonly kind: number;
  readonly startTime: HrTime;
  readonly endTime: HrTime;
  readonly status: SpanStatus;
  readonly attributes: Attributes;
  readonly links: readonly Link[];
  /** 2.x and later. */
  readonly parentSpanContext?: SpanContext | undefined;
  /** 1.x. */
  readonly parentSpanId?: string | undefined;
  /** 2.x and later. */
  readonly instrumentationScope?: { readonly name: string } | undefined;
  /** 1.x. */
  readonly instrumentationLibrary?: { readonly name: string } | undefined;
  spanContext(): SpanContext;
}

/** A finished span as plain values. */
export interface RecordedSpan {
  readonly name: string;
  readonly kind: 'internal' | 'server' | 'client' | 'producer' | 'consumer';
  readonly attributes: Attributes;
  readonly status: 'unset' | 'ok' | 'error';
  readonly statusMessage: string | undefined;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  /** Milliseconds since the epoch. */
  readonly startTime: number;
  /** Milliseconds since the epoch. */
  readonly endTime: number;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly scope: string;
  /** Position among all spans, by start: clocks of two spans may differ by more than the time between them. */
  readonly order: number;
}

/** A SpanProcessor that keeps what it sees. */
export interface SpanRecorder {
  onStart(span: SdkSpan): void;
  onEnd(span: SdkSpan): void;
  forceFlush(): Promise<void>;
  shutdown(): Promise<void>;
  /** Finished spans, in the order in which they ended. */
  readonly spans: readonly RecordedSpan[];
  /** How many spans have been started. */
  readonly started: number;
  /** How many were reported as ended more than once. */
  readonly endedTwice: number;
  /** How many have been started and not ended. */
  open(): number;
  /** Names of the spans not ended. */
  openNames(): readonly string[];
  /**
   * The spans of a trace, or of all, as a drawing: one line each, children indented under their parent in
   * the order in which they started, failed ones with `[error]`, those not ended with `[open]`.
   */
  tree(traceId?: string): string;
  clear(): void;
}

const KINDS = ['internal', 'server', 'client', 'producer', 'consumer'] as const;
const STATUSES = ['unset', 'ok', 'error'] as const;

/**
 * Reads spans in tests, on any line of the OpenTelemetry SDK:
 * `new TracerProvider({ spanProcessors: [recorder] })` of `@opentelemetry/sdk-trace` 3, or `BasicTracerProvider` of line 2.
 */
export function spanRecorder(): SpanRecorder {
  const finished: RecordedSpan[] = [];
  const open = new Map<string, SdkSpan>();
  const order = new Map<string, number>();
  let endedTwice = 0;

  return {
    onStart(span) {
      const { spanId } = span.spanContext();
      open.set(spanId, span);
      order.set(spanId, order.size);
    },
    onEnd(span) {
      // A span that was started before `clear()` belongs to what has been cleared.
      const { spanId } = span.spanContext();
      if (open.delete(spanId)) finished.push(view(span, order.get(spanId) ?? 0));
      else if (order.has(spanId)) endedTwice += 1;
    },
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
    get spans() {
      return finished;
    },
    get started() {
      return order.size;
    },
    get endedTwice() {
      return endedTwice;
    },
    open: () => open.size,
    openNames: () => [...open.values()].map((span) => span.name),
    tree(traceId) {
      const done = finished.map((span): TreeSpan => {
        const mark = span.status === 'error' ? ' [error]' : '';
        return { ...span, label: span.name + mark };
      });
      const running = [...open.values()].map((span): TreeSpan => {
        const { spanId } = span.spanContext();
        return { ...identity(span), label: `${span.name} [open]`, order: order.get(spanId) ?? 0 };
      });
      const all = [...done, ...running].filter((span) => traceId === undefined || span.traceId === traceId);
      return drawTree(all);
    },
    clear() {
      finished.length = 0;
      open.clear();
      order.clear();
      endedTwice = 0;
    },
  };
}

function identity(span: SdkSpan): { traceId: string; spanId: string; parentSpanId: string | undefined } {
  const { traceId, spanId } = span.spanContext();
  return { traceId, spanId, parentSpanId: span.parentSpanContext?.spanId ?? span.parentSpanId };
}

function view(span: SdkSpan, order: number): RecordedSpan {
  return {
    ...identity(span),
    name: span.name,
    kind: KINDS[span.kind] ?? 'internal',
    attributes: { ...span.attributes },
    status: STATUSES[span.status.code] ?? 'unset',
    statusMessage: span.status.message,
    startTime: toMs(span.startTime),
    endTime: toMs(span.endTime),
    links: span.links.map(({ context }) => ({ traceId: context.traceId, spanId: context.spanId })),
    scope: span.instrumentationScope?.name ?? span.instrumentationLibrary?.name ?? '',
    order,
  };
}

function toMs([seconds, nanoseconds]: HrTime): number {
  return seconds * 1_000 + nanoseconds / 1e6;
}
