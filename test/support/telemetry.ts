import { metricRecorder, spanRecorder } from '@headgate/testing';
import { context, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { TracerProvider } from '@opentelemetry/sdk-trace';
import { onTestFinished } from 'vitest';

/** An OpenTelemetry SDK in memory. `register` makes it the global one, as an app would, so that the SDK's spans are seen too. */
export function startTelemetry({ register = false }: { register?: boolean } = {}) {
  const spans = spanRecorder();
  const metrics = metricRecorder();
  const tracerProvider = new TracerProvider({ spanProcessors: [spans] });
  const reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 });
  const meterProvider = new MeterProvider({ readers: [reader] });
  if (register) {
    trace.setGlobalTracerProvider(tracerProvider);
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  }
  onTestFinished(async () => {
    if (register) {
      trace.disable();
      context.disable();
    }
    await meterProvider.shutdown();
    await tracerProvider.shutdown();
  });
  return { spans, metrics, tracerProvider, meterProvider, collect: () => reader.forceFlush() };
}
