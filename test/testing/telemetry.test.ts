import { metricRecorder, spanRecorder } from '@headgate/testing';
import { context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import {
  MeterProvider,
  PeriodicExportingMetricReader,
  type PushMetricExporter,
} from '@opentelemetry/sdk-metrics';
import { type SpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { describe, expect, test } from 'vitest';

describe('spanRecorder', () => {
  function tracing() {
    const recorder = spanRecorder();
    // As typed by the SDK: a change of its interface breaks this line.
    const processor: SpanProcessor = recorder;
    const provider = new TracerProvider({ spanProcessors: [processor] });
    return { recorder, tracer: provider.getTracer('test-scope') };
  }

  test('shows finished spans as plain values', () => {
    const { recorder, tracer } = tracing();
    const other = tracer.startSpan('other', {}, ROOT_CONTEXT);
    const parent = tracer.startSpan('parent', { kind: SpanKind.SERVER, startTime: [1, 0] }, ROOT_CONTEXT);
    const link = { context: other.spanContext() };
    const options = {
      kind: SpanKind.CLIENT,
      startTime: [1, 1_500_000] as [number, number],
      attributes: { lane: 'fast' },
      links: [link],
    };
    const child = tracer.startSpan('child', options, trace.setSpan(context.active(), parent));
    child.setStatus({ code: SpanStatusCode.ERROR, message: 'no room' });
    child.end([1, 2_000_000]);
    parent.end([1, 10_000_000]);
    expect(recorder.spans.map((span) => span.name)).toEqual(['child', 'parent']);
    expect(recorder.spans[0]).toEqual({
      name: 'child',
      kind: 'client',
      attributes: { lane: 'fast' },
      status: 'error',
      statusMessage: 'no room',
      traceId: parent.spanContext().traceId,
      spanId: child.spanContext().spanId,
      parentSpanId: parent.spanContext().spanId,
      startTime: 1_001.5,
      endTime: 1_002,
      links: [
        {
          traceId: other.spanContext().traceId,
          spanId: other.spanContext().spanId,
        },
      ],
      scope: 'test-scope',
      order: 2,
    });
    expect([recorder.started, recorder.open(), recorder.endedTwice]).toEqual([3, 1, 0]);
    expect(recorder.openNames()).toEqual(['other']);
  });

  test('draws the tree', () => {
    const { recorder, tracer } = tracing();
    const root = tracer.startSpan('POST /chat', {}, ROOT_CONTEXT);
    const below = trace.setSpan(ROOT_CONTEXT, root);
    const call = tracer.startSpan('call', {}, below);
    tracer.startSpan('admission', {}, trace.setSpan(ROOT_CONTEXT, call)).end();
    const attempt = tracer.startSpan('attempt', {}, trace.setSpan(ROOT_CONTEXT, call));
    attempt.setStatus({ code: SpanStatusCode.ERROR });
    attempt.end();
    call.end();
    tracer.startSpan('write', {}, below);
    root.end();
    tracer.startSpan('elsewhere', {}, ROOT_CONTEXT).end();
    const drawing = ['POST /chat', '├─ call', '│  ├─ admission', '│  └─ attempt [error]', '└─ write [open]'];
    expect(recorder.tree(root.spanContext().traceId).split('\n')).toEqual(drawing);
    expect(recorder.tree().split('\n')).toEqual([...drawing, 'elsewhere']);
    recorder.clear();
    expect([recorder.tree(), recorder.started, recorder.open()]).toEqual(['', 0, 0]);
  });

  test('reads the shape of the 1.x line, and sees a span that ends twice', () => {
    const recorder = spanRecorder();
    const span = {
      name: 'old',
      kind: 2,
      startTime: [1, 500_000] as [number, number],
      endTime: [1, 900_000] as [number, number],
      status: { code: 1 },
      attributes: {},
      links: [],
      parentSpanId: 'p',
      instrumentationLibrary: { name: 'lib' },
      spanContext: () => ({ traceId: 't', spanId: 's', traceFlags: 1 }),
    };
    recorder.onStart(span);
    recorder.onEnd(span);
    recorder.onEnd(span);
    expect(recorder.spans).toHaveLength(1);
    expect(recorder.spans[0]).toMatchObject({
      parentSpanId: 'p',
      scope: 'lib',
      startTime: 1_000.5,
      status: 'ok',
    });
    expect(recorder.endedTwice).toBe(1);
  });
});

test('metricRecorder shows values, points and names', async () => {
  const metrics = metricRecorder();
  const exporter: PushMetricExporter = metrics;
  const reader = new PeriodicExportingMetricReader({
    exporter,
    exportIntervalMillis: 3_600_000,
  });
  const provider = new MeterProvider({ readers: [reader] });
  const meter = provider.getMeter('test');
  const attempts = meter.createCounter('attempts', { unit: '{attempt}' });
  const waits = meter.createHistogram('wait', {
    unit: 's',
    advice: { explicitBucketBoundaries: [1, 10] },
  });
  const level = meter.createUpDownCounter('level');
  attempts.add(2, { outcome: 'ok', lane: 'a' });
  attempts.add(3, { outcome: 'ok', lane: 'b' });
  attempts.add(1, { outcome: 'failed', lane: 'a' });
  waits.record(0.5, { lane: 'a' });
  waits.record(20, { lane: 'a' });
  level.add(5);
  level.add(-2);
  await reader.forceFlush();
  attempts.add(1, { outcome: 'failed', lane: 'a' });
  await reader.forceFlush();

  expect(metrics.names()).toEqual(['attempts', 'level', 'wait']);
  expect(metrics.value('attempts')).toBe(7);
  expect(metrics.value('attempts', { outcome: 'ok' })).toBe(5);
  expect(metrics.value('attempts', { outcome: 'failed', lane: 'a' })).toBe(2);
  expect(metrics.value('attempts', { lane: 'c' })).toBeUndefined();
  expect(metrics.value('nothing')).toBeUndefined();
  expect(metrics.value('level')).toBe(3);
  expect(metrics.value('wait')).toBe(20.5);
  expect(metrics.unit('wait')).toBe('s');
  expect(metrics.points('wait')).toEqual([
    {
      attributes: { lane: 'a' },
      value: 20.5,
      count: 2,
      min: 0.5,
      max: 20,
      buckets: { boundaries: [1, 10], counts: [1, 0, 1] },
    },
  ]);
  metrics.clear();
  expect(metrics.names()).toEqual([]);
  await provider.shutdown();
});
