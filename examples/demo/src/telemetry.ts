import {
  type MetricRecorder,
  metricRecorder,
  type RecordedSpan,
  type SpanRecorder,
  spanRecorder,
} from '@headgate/testing';
import {
  context,
  metrics as metricsApi,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { BatchSpanProcessor } from '@opentelemetry/sdk-trace';
import type { RequestHandler } from 'express';

/** OpenTelemetry as an app sets it up, with recorders in memory where an app has exporters. */
export interface Telemetry extends AsyncDisposable {
  readonly spans: SpanRecorder;
  readonly metrics: MetricRecorder;
  /** Brings `metrics` up to date. */
  collect(): Promise<void>;
}

/** `record: false` is for a process that stays: the recorder keeps every span. */
export function startTelemetry({ record = true } = {}): Telemetry {
  const spans = spanRecorder();
  const metrics = metricRecorder();
  const reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 });
  const toCollector =
    process.env.OTEL_EXPORTER_OTLP_ENDPOINT || process.env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;
  const sdk = new NodeSDK({
    serviceName: process.env.OTEL_SERVICE_NAME ?? 'headgate-demo',
    spanProcessors: [
      ...(record ? [spans] : []),
      // The exporter reads its address and headers from the environment itself.
      ...(toCollector ? [new BatchSpanProcessor({ exporter: new OTLPTraceExporter() })] : []),
    ],
    metricReaders: record ? [reader] : [],
    logRecordProcessors: [],
  });
  sdk.start();
  return {
    spans,
    metrics,
    collect: () => (record ? reader.forceFlush() : Promise.resolve()),
    async [Symbol.asyncDispose]() {
      // A collector that is not there is no reason to fail.
      await sdk.shutdown().catch((error: unknown) => console.error(`Traces were not delivered: ${error}`));
      // Or the next one in this process could not register.
      for (const api of [trace, metricsApi, context, propagation]) api.disable();
    },
  };
}

export const TRACE_HEADER = 'x-trace-id';

/**
 * One span for each request, named in a header of its response. A real app has it from
 * @opentelemetry/instrumentation-http; by hand it needs no loader.
 */
export function serverSpans(): RequestHandler {
  const tracer = trace.getTracer('headgate-demo');
  return (req, res, next) => {
    const attributes = { 'http.request.method': req.method, 'http.route': req.path };
    const span = tracer.startSpan(`${req.method} ${req.path}`, { kind: SpanKind.SERVER, attributes });
    if (span.isRecording()) res.setHeader(TRACE_HEADER, span.spanContext().traceId);
    res.once('close', () => {
      span.setAttribute('http.response.status_code', res.statusCode);
      if (res.statusCode >= 500 || !res.writableFinished) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    });
    context.with(trace.setSpan(context.active(), span), next);
  };
}

/** Milliseconds that each admitted call waited at the gate, by trace. A call that was sent again waited twice. */
export function waitsByTrace(spans: readonly RecordedSpan[]): Map<string, number> {
  const waits = new Map<string, number>();
  for (const { name, attributes, traceId } of spans) {
    if (name !== 'headgate.admission' || attributes['headgate.decision'] === 'refuse') continue;
    const seconds = attributes['headgate.queue.wait'];
    if (typeof seconds === 'number') waits.set(traceId, (waits.get(traceId) ?? 0) + seconds * 1_000);
  }
  return waits;
}

/** What Headgate's own metrics say, since the start. */
export interface Metered {
  readonly attempts: number;
  readonly status429: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly usd: number;
}

export async function meter({ metrics, collect }: Telemetry): Promise<Metered> {
  await collect();
  return {
    attempts: metrics.value('headgate.attempts') ?? 0,
    status429: metrics.value('headgate.attempts', { 'http.response.status_code': 429 }) ?? 0,
    inputTokens: metrics.value('gen_ai.client.inference.usage.input_tokens') ?? 0,
    outputTokens: metrics.value('gen_ai.client.inference.usage.output_tokens') ?? 0,
    usd: metrics.value('headgate.cost') ?? 0,
  };
}

export function meteredSince(before: Metered, after: Metered): Metered {
  return {
    attempts: after.attempts - before.attempts,
    status429: after.status429 - before.status429,
    inputTokens: after.inputTokens - before.inputTokens,
    outputTokens: after.outputTokens - before.outputTokens,
    usd: after.usd - before.usd,
  };
}
