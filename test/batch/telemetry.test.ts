import { trace } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import { startTelemetry } from '../support/telemetry.ts';
import { batchBench, params, pass, watch } from './support.ts';

describe('the telemetry of the batch lane', () => {
  it('links the submitting trace to the batch and to the result, and tells no prompt and no name', async () => {
    const telemetry = startTelemetry({ register: true });
    const { spans, metrics, tracerProvider } = telemetry;
    const { clock, governor, batches, api } = await batchBench({
      governor: { meterProvider: telemetry.meterProvider },
      api: {
        batches: {
          result: (id) => (id === 'bad' ? { type: 'invalid_request_error' } : 'succeeded'),
        },
      },
    });
    const tracer = tracerProvider.getTracer('app');
    const results = await Promise.all(
      ['good', 'bad'].map((id) =>
        tracer.startActiveSpan(`job ${id}`, async (span) => {
          const handle = await governor.run({ user: 'ada-secret', lane: 'background', tier: 'free' }, () =>
            batches.submit(params(`prompt-secret ${id}`), { customId: id }),
          );
          span.end();
          return { span: span.spanContext(), result: watch(handle.result()) };
        }),
      ),
    );
    await pass(clock, 120_000);
    expect(results.map(({ result }) => result.state)).toEqual(['fulfilled', 'rejected']);
    await telemetry.collect();

    const named = (name: string) => spans.spans.filter((span) => span.name === name);
    const [submit, ...more] = named('headgate.batch.submit');
    expect(more).toEqual([]);
    expect(submit?.parentSpanId).toBeUndefined();
    expect(submit?.links.map(({ spanId }) => spanId).sort()).toEqual(
      results.map(({ span }) => span.spanId).sort(),
    );
    expect(submit?.attributes).toMatchObject({ 'headgate.batch.size': 2, 'headgate.outcome': 'accepted' });
    const ended = named('headgate.batch.result');
    expect(ended).toHaveLength(2);
    for (const span of ended) {
      expect(span.parentSpanId).toBeUndefined();
      const id = span.attributes['headgate.outcome'] === 'succeeded' ? 0 : 1;
      expect(span.links).toEqual([{ traceId: results[id]!.span.traceId, spanId: results[id]!.span.spanId }]);
      expect(span.status).toBe(id === 0 ? 'unset' : 'error');
      expect(span.attributes).toMatchObject({
        'headgate.batch.id': submit?.attributes['headgate.batch.id'],
        'headgate.lane': 'background',
        'headgate.user.hash': expect.any(String),
      });
    }
    // The attempt that sent the batch is in the batch's trace, not in that of whoever came last.
    expect(named('headgate.attempt').some(({ traceId }) => traceId === submit?.traceId)).toBe(true);
    expect(spans.open()).toBe(0);

    const entry = api.ledger.entries.find(({ customId }) => customId === 'good')!;
    const usd = (entry.inputTokens * 1 + entry.outputTokens * 5) / 1e6;
    expect(metrics.value('headgate.cost', { 'headgate.billing': 'batch' })).toBeCloseTo(usd / 2, 12);
    expect(metrics.value('headgate.cost.saved', { 'headgate.mechanism': 'batch' })).toBeCloseTo(usd / 2, 12);
    expect(metrics.value('headgate.batch.requests', { 'headgate.outcome': 'succeeded' })).toBe(1);
    expect(metrics.value('headgate.batch.requests', { 'headgate.outcome': 'errored' })).toBe(1);
    expect(metrics.value('headgate.batch.submissions', { 'headgate.outcome': 'accepted' })).toBe(1);
    expect(metrics.value('headgate.batch.pending', {})).toBe(0);
    expect(metrics.value('gen_ai.client.inference.usage.output_tokens', {})).toBe(40);
    const exported = JSON.stringify([spans.spans, metrics.names().map((name) => metrics.points(name))]);
    expect(exported).not.toContain('secret');
    expect(trace.getActiveSpan()).toBeUndefined();
  });
});
