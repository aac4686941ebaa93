import type Anthropic from '@anthropic-ai/sdk';
import type { Governor } from '@headgate/core';
import type { ClaudeApi } from '@headgate/testing';
import type { Span, Tracer, TracerProvider } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import { ask, isSettled, pause, rejection, startGoverned, until } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

/** A provider that counts how often each span is ended: the SDK itself overlooks a second time. */
function counting(provider: TracerProvider) {
  const ends = new Map<Span, { name: string; count: number }>();
  const getTracer: TracerProvider['getTracer'] = (...args) => {
    const tracer = provider.getTracer(...args);
    const startSpan: Tracer['startSpan'] = (name, ...rest) => {
      const span = tracer.startSpan(name, ...rest);
      const end = span.end.bind(span);
      const seen = { name, count: 0 };
      ends.set(span, seen);
      span.end = (time) => {
        seen.count++;
        end(time);
      };
      return span;
    };
    return { startSpan, startActiveSpan: tracer.startActiveSpan.bind(tracer) };
  };
  return { provider: { getTracer }, ends: () => [...ends.values()] };
}

interface World {
  readonly api: ClaudeApi;
  readonly governor: Governor;
  readonly claude: Anthropic;
}

const long = () => ({ ...ask('x', { max_tokens: 4_000 }), stream: true }) as const;
const started = ({ api }: World, calls = 1) => until(() => api.received.length >= calls);

/** Each way in which a call can end, and how its attempt then says it ended; without one, no attempt was made. */
const WAYS: Record<string, { run(world: World): Promise<unknown>; outcome?: string; type?: string }> = {
  'it completes': {
    run: ({ claude }) => claude.messages.stream(ask()).finalMessage(),
    outcome: 'complete',
  },
  'the reader breaks off': {
    async run({ claude }) {
      for await (const event of await claude.messages.create(long()))
        if (event.type === 'content_block_delta') break;
    },
    outcome: 'aborted',
    type: 'aborted',
  },
  'it is aborted in the queue': {
    async run(world) {
      const { claude, governor } = world;
      // The one slot is taken, so the next call waits.
      const running = await claude.messages.create(long());
      const controller = new AbortController();
      const waiting = rejection(claude.messages.create(ask(), { signal: controller.signal }));
      await until(() => governor.snapshot().buckets.some(({ lanes }) => lanes.interactive?.queued === 1));
      controller.abort();
      await waiting;
      running.controller.abort();
    },
    outcome: 'aborted',
    type: 'aborted',
  },
  'it is aborted in the stream': {
    async run(world) {
      const controller = new AbortController();
      const stream = await world.claude.messages.create(long(), { signal: controller.signal });
      for await (const event of stream) if (event.type === 'content_block_delta') controller.abort();
    },
    outcome: 'aborted',
    type: 'aborted',
  },
  'the connection throws': {
    async run({ api, claude }) {
      api.inject({ kind: 'reset', at: 'before-headers' });
      await rejection(claude.messages.create(ask()));
    },
    outcome: 'error',
    type: 'connection_error',
  },
  'its reader throws': {
    async run({ claude }) {
      const read = async () => {
        for await (const event of await claude.messages.create(long()))
          if (event.type === 'content_block_delta') throw new Error('of the app');
      };
      expect(await rejection(read())).toMatchObject({ message: 'of the app' });
    },
    outcome: 'aborted',
    type: 'aborted',
  },
  'the stream is cut short': {
    async run({ api, claude }) {
      api.inject({ kind: 'truncate' });
      await claude.messages
        .stream(ask())
        .finalMessage()
        .catch(() => {});
    },
    outcome: 'error',
    type: 'connection_error',
  },
  'nobody ever reads it': {
    async run({ claude, governor }) {
      await claude.messages.create(long()).asResponse();
      await until(() => isSettled(governor));
    },
    outcome: 'aborted',
    type: 'aborted',
  },
  'the process closes': {
    async run(world) {
      const { claude, governor } = world;
      const reading = rejection(claude.messages.stream(ask('x', { max_tokens: 4_000 })).finalMessage());
      await started(world);
      const waiting = rejection(claude.messages.create(ask()));
      await pause(5);
      await governor.close({ drainMs: 0 });
      expect(await Promise.all([reading, waiting])).toMatchObject([{}, { reason: 'closed' }]);
    },
    outcome: 'aborted',
    type: 'aborted',
  },
};

for (const openTelemetry of [true, false]) {
  describe(`with the SDK’s own spans ${openTelemetry ? 'on' : 'off'}, every span ends once and only once`, () => {
    for (const [way, { run, outcome, type }] of Object.entries(WAYS)) {
      it(`when ${way}`, async () => {
        const telemetry = startTelemetry({ register: true });
        const { provider, ends } = counting(telemetry.tracerProvider);
        const { api, governor, claude } = await startGoverned({
          config: {
            account: [{ name: 'sonnet-4', models: ['claude-sonnet-4-*'], concurrency: 1 }],
            timeouts: { streamIdle: '80ms' },
            retries: { maxAttempts: 1 },
          },
          api: { output: ({ max_tokens }) => (max_tokens > 1_000 ? 2_000 : 40) },
          client: openTelemetry ? {} : { openTelemetry: false },
          governor: { tracerProvider: provider, meterProvider: telemetry.meterProvider },
        });
        await run({ api, governor, claude });
        await until(() => isSettled(governor));
        await until(() => ends().every(({ count }) => count > 0));
        await pause(120); // Longer than the idle timeout: whatever would end something again has had its time.
        expect(ends().filter(({ count }) => count !== 1)).toEqual([]);
        expect(ends().some(({ name }) => name.startsWith('chat '))).toBe(!openTelemetry);

        const attempt = telemetry.spans.spans.find(({ name }) => name === 'headgate.attempt');
        expect(attempt?.attributes['headgate.outcome']).toBe(outcome);
        expect(attempt?.attributes['error.type']).toBe(type);
        const chat = telemetry.spans.spans.find(({ name }) => name.startsWith('chat '));
        if (!openTelemetry) expect(chat?.status).toBe(outcome === 'complete' ? 'unset' : 'error');
        // And the metrics have each call once.
        await telemetry.collect();
        const counted = telemetry.metrics
          .points('headgate.call.duration')
          .reduce((sum, { count = 0 }) => sum + count, 0);
        const calls = telemetry.spans.spans.filter(({ name }) => name === 'headgate.admission').length;
        expect(counted).toBe(calls);
      });
    }
  });
}
