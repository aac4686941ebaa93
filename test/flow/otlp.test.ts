import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { context, metrics as metricsApi, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { OTLPMetricExporter as JsonMetricExporter } from '@opentelemetry/exporter-metrics-otlp-http';
import { OTLPMetricExporter as ProtoMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto';
import { OTLPTraceExporter as JsonTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtoTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startApi } from '../../examples/demo/src/api.ts';
import { governedApp } from '../../examples/demo/src/app.ts';
import { drive } from '../../examples/demo/src/driver.ts';
import { listen } from '../../examples/demo/src/listen.ts';
import { CONFIG } from '../../examples/demo/src/scenario.ts';
import { type PlannedCall, planTraffic } from '../../examples/demo/src/traffic.ts';
import { faultsOf, startOtlpReceiver, type WireSpan } from '../support/otlp.ts';

const KEY = 'sk-ant-api03-not-to-be-seen';

/** The demo's app under its traffic, exported the way an app exports: to one receiver, in both encodings at once. */
async function exportDemo(calls: readonly PlannedCall[], telemetry: { user?: 'raw' } = {}) {
  const receiver = await startOtlpReceiver();
  const to = (path: string) => ({ url: `${receiver.url}/v1/${path}` });
  const resource = resourceFromAttributes({ 'service.name': 'demo' });
  const tracerProvider = new TracerProvider({
    resource,
    spanProcessors: [new JsonTraceExporter(to('traces')), new ProtoTraceExporter(to('traces'))].map(
      (exporter) => new BatchSpanProcessor({ exporter, maxQueueSize: 100_000 }),
    ),
  });
  const meterProvider = new MeterProvider({
    resource,
    readers: [new JsonMetricExporter(to('metrics')), new ProtoMetricExporter(to('metrics'))].map(
      (exporter) => new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 }),
    ),
  });
  trace.setGlobalTracerProvider(tracerProvider);
  metricsApi.setGlobalMeterProvider(meterProvider);
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  onTestFinished(() => {
    for (const api of [trace, metricsApi, context]) api.disable();
  });

  await using api = await startApi(1);
  const governor = createGovernor({ config: { ...CONFIG, telemetry } });
  const client = new Anthropic({ apiKey: KEY, authToken: null, baseURL: api.url });
  await using server = await listen(governedApp(governor, client));
  const results = await drive(server.url, calls, { patienceMs: 15_000, signal: new AbortController().signal })
    .results;
  await meterProvider.forceFlush();
  await governor.close({ drainMs: 1_000 });
  await Promise.all([tracerProvider.shutdown(), meterProvider.shutdown()]);
  return { receiver, results };
}

/** The app answers its client at `message_stop`; the last bytes of the API, with which the call ends, come right after. */
const isStillRead = (span: WireSpan, parent: WireSpan) =>
  parent.name === 'POST /chat/stream' && span.end - parent.end < 500_000_000n;

const sorted = (spans: readonly WireSpan[]) => [...spans].sort((a, b) => (a.spanId < b.spanId ? -1 : 1));

describe('what an OTLP receiver gets of the demo', () => {
  const calls = planTraffic(5, 3);

  it('is the same in JSON and in protobuf, whole trees, and nobody’s secrets', async () => {
    const { receiver, results } = await exportDemo(calls);
    const json = receiver.spans('json');
    const proto = receiver.spans('protobuf');
    expect(results.some(({ outcome }) => outcome === 'ok')).toBe(true);
    // Server, SDK, admission and attempt, for each call that was answered.
    expect(json.length).toBeGreaterThan(3 * results.filter(({ outcome }) => outcome === 'ok').length);
    expect(sorted(proto)).toEqual(sorted(json));
    expect(faultsOf(json, isStillRead)).toEqual([]);
    expect(new Set(json.map(({ traceId }) => traceId)).size).toBe(calls.length);
    for (const name of ['headgate.admission', 'headgate.attempt'])
      expect(json.some((span) => span.name === name)).toBe(true);
    expect(receiver.metricNames('json')).toContain('headgate.call.duration');
    expect(receiver.metricNames('protobuf')).toEqual(receiver.metricNames('json'));

    const bytes = receiver.bodies.map((body) => body.bytes);
    const users = [...new Set(calls.map(({ user }) => user))];
    for (const secret of [KEY, 'lock work', 'lock keeper', 'Answer in about', ...users])
      expect(bytes.filter((body) => body.includes(secret)).length, secret).toBe(0);
  }, 60_000);

  it('has the ids of users where they are asked for: the search finds what is there', async () => {
    const few = calls.slice(0, 10);
    const { receiver } = await exportDemo(few, { user: 'raw' });
    for (const type of ['json', 'protobuf']) {
      const bodies = receiver.bodies.filter((body) => body.type.endsWith(type));
      for (const { user } of few)
        expect(
          bodies.some(({ bytes }) => bytes.includes(user)),
          user,
        ).toBe(true);
    }
  }, 60_000);

  it('would be found out, were a tree broken', () => {
    const span: WireSpan = {
      traceId: 'a'.repeat(32),
      spanId: 'b'.repeat(16),
      parentSpanId: undefined,
      name: 'root',
      kind: 1,
      start: 0n,
      end: 1_000_000_000n,
      statusCode: 0,
      attributes: {},
      scope: 's',
      service: 'demo',
      links: [],
    };
    const child = { ...span, spanId: 'c'.repeat(16), parentSpanId: span.spanId, name: 'child' };
    expect(faultsOf([span, child])).toEqual([]);
    for (const broken of [
      { ...child, parentSpanId: 'd'.repeat(16) },
      { ...child, parentSpanId: undefined },
      { ...child, end: 2_000_000_000n },
      { ...child, traceId: 'e'.repeat(32) },
      { ...child, statusCode: 2 },
      { ...child, service: undefined },
      { ...child, attributes: { nested: { a: 1 } } },
    ])
      expect(
        faultsOf([span, broken]),
        JSON.stringify(broken, (_, v) => String(v)),
      ).not.toEqual([]);
  });
});
