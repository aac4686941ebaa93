import { context, isSpanContextValid, trace } from '@opentelemetry/api';

/** The trace that is active, by the names that log processors look for. */
export interface LogFields {
  readonly trace_id?: string;
  readonly span_id?: string;
  readonly trace_flags?: string;
}

/**
 * Fields for a log line that lead from it to its trace, and back: `pino({ mixin: logFields })`. Nothing where no span
 * is active. Headgate's own lines have them.
 */
export function logFields(): LogFields {
  const span = trace.getSpan(context.active())?.spanContext();
  if (span === undefined || !isSpanContextValid(span)) return {};
  return {
    trace_id: span.traceId,
    span_id: span.spanId,
    trace_flags: span.traceFlags.toString(16).padStart(2, '0'),
  };
}
