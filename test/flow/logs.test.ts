import { type ConfigInput, createGovernor, logFields } from '@headgate/core';
import { trace } from '@opentelemetry/api';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ask, startGoverned } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

interface Line {
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Record<string, unknown> | undefined;
}

function recordLines() {
  const lines: Line[] = [];
  const at = (level: Line['level']) => (message: string, fields?: Record<string, unknown>) =>
    void lines.push({ level, message, fields });
  return { lines, logger: { info: at('info'), warn: at('warn'), error: at('error') } };
}

describe('logFields', () => {
  it('leads from a log line to its trace', () => {
    const { spans } = startTelemetry({ register: true });
    trace.getTracer('app').startActiveSpan('request', (span) => {
      const { traceId, spanId } = span.spanContext();
      expect(logFields()).toEqual({ trace_id: traceId, span_id: spanId, trace_flags: '01' });
      span.end();
    });
    expect(spans.spans).toHaveLength(1);
  });

  it('is empty where there is no trace', () => {
    expect(logFields()).toEqual({});
    startTelemetry({ register: true });
    expect(logFields()).toEqual({});
  });
});

describe('Headgate’s own lines', () => {
  it('are none for calls that go as they should, be they refused', async () => {
    const { lines, logger } = recordLines();
    const { governor, claude } = await startGoverned({
      governor: { logger },
      config: { quotas: [{ name: 'q', requests: '1/hour' }] },
    });
    const call = () => governor.run({ user: 'ada' }, () => claude.messages.create(ask()));
    await call();
    for (let i = 0; i < 3; i++) await call().catch(() => {});
    await governor.close();
    expect(lines).toEqual([]);
  });

  it('name their check, and the trace in which it was met, once', async () => {
    startTelemetry({ register: true });
    const { lines, logger } = recordLines();
    const { governor, claude } = await startGoverned({ governor: { logger } });
    let traceId = '';
    for (let i = 0; i < 2; i++) {
      await trace.getTracer('app').startActiveSpan('request', async (span) => {
        if (i === 0) ({ traceId } = span.spanContext());
        await governor.run({ user: 'ada', lane: 'turbo' }, () => claude.messages.create(ask()));
        span.end();
      });
    }
    expect(lines).toEqual([
      {
        level: 'warn',
        message: expect.stringContaining('lane "turbo"'),
        fields: {
          code: 'HG_UNKNOWN_LANE',
          trace_id: traceId,
          span_id: expect.any(String),
          trace_flags: '01',
        },
      },
    ]);
  });

  it('tell what is wrong with a configuration that is refused, as data', () => {
    const { lines, logger } = recordLines();
    const governor = createGovernor({ logger });
    onTestFinished(() => governor.close());
    const wrong = { lanes: { a: { weight: -1 } } } as ConfigInput;
    expect(() => governor.update(wrong)).toThrow('1 problem');
    expect(lines).toMatchObject([
      { level: 'error', fields: { problems: [{ code: 'HG_WRONG_VALUE', path: 'lanes.a.weight' }] } },
    ]);
  });

  it('may go to a logger that throws', async () => {
    const logger = {
      info() {},
      warn() {
        throw new Error('disk full');
      },
      error() {
        throw new Error('disk full');
      },
    };
    const { governor, claude } = await startGoverned({ governor: { logger } });
    const answer = await governor.run({ lane: 'turbo' }, () => claude.messages.create(ask()));
    expect(answer.type).toBe('message');
    expect(() => governor.update({ lanes: {} })).toThrow('1 problem');
  });
});
