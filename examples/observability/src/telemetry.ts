import { createRequire } from 'node:module';
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { HttpInstrumentation } from '@opentelemetry/instrumentation-http';
import { NodeSDK } from '@opentelemetry/sdk-node';

/**
 * OpenTelemetry as an app sets it up, before anything else is loaded: traces go to OTEL_EXPORTER_OTLP_ENDPOINT (Jaeger),
 * metrics wait at METRICS_PORT to be scraped (Prometheus). Headgate needs no word of this: it finds what is registered.
 */
export const telemetry = new NodeSDK({
  serviceName: process.env.OTEL_SERVICE_NAME ?? 'headgate-example',
  traceExporter: new OTLPTraceExporter(),
  metricReaders: [new PrometheusExporter({ port: Number(process.env.METRICS_PORT ?? 9464) })],
  logRecordProcessors: [],
  // Prometheus comes every few seconds, and its visits are nobody's trace.
  instrumentations: [new HttpInstrumentation({ ignoreIncomingRequestHook: ({ url }) => url === '/metrics' })],
});
telemetry.start();
// The instrumentation patches what is required, and what is imported later gets the same: so it is required here.
createRequire(import.meta.url)('node:http');
