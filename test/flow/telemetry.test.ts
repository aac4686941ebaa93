import type { RecordedSpan } from '@headgate/testing';
import { trace } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import { ask, MODEL, rejection, startGoverned } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

/** Headgate's own part of a tree, without what differs from run to run. */
function golden(spans: readonly RecordedSpan[]) {
  const names = new Map(spans.map(({ spanId, name }) => [spanId, name]));
  return [...spans]
    .sort((a, b) => a.order - b.order)
    .map(({ name, attributes, status, parentSpanId }) => ({
      name,
      parent: parentSpanId === undefined ? undefined : (names.get(parentSpanId) ?? '(outside)'),
      isError: status === 'error',
      attributes: Object.fromEntries(
        Object.entries(attributes).map(([key, value]) => [key, VARYING.has(key) ? typeof value : value]),
      ),
    }));
}

const VARYING = new Set([
  'server.port',
  'headgate.request_id',
  'headgate.queue.wait',
  'headgate.user.hash',
  'headgate.retry_after',
  'headgate.cost',
  'headgate.time_to_first_chunk',
  'headgate.retry_budget.remaining',
  'headgate.estimate.input_tokens',
  'headgate.estimate.output_tokens',
  'headgate.backoff.delay',
  'headgate.usage.input_tokens',
  'headgate.ratelimit.requests.remaining',
  'headgate.ratelimit.input_tokens.remaining',
  'headgate.ratelimit.output_tokens.remaining',
  'gen_ai.response.id',
  'gen_ai.response.time_to_first_chunk',
  'gen_ai.usage.input_tokens',
]);

async function setUp(config = {}, client = {}) {
  const telemetry = startTelemetry({ register: true });
  const governed = await startGoverned({
    config,
    client,
    governor: { meterProvider: telemetry.meterProvider, random: () => 0.5 },
  });
  return { ...governed, ...telemetry };
}

const ADMISSION = {
  'headgate.user.hash': 'string',
  'headgate.lane': 'interactive',
  'headgate.tier': 'free',
  'headgate.max_tokens.requested': 200,
  'headgate.max_tokens.granted': 200,
  'headgate.decision': 'admit',
  'headgate.bucket': 'sonnet-4',
  'headgate.account': 'default',
  'headgate.queue.wait': 'number',
  'headgate.estimate.input_tokens': 'number',
  'headgate.estimate.output_tokens': 'number',
};
const SENT = {
  'headgate.attempt': 1,
  'http.request.method': 'POST',
  'server.address': '127.0.0.1',
  'server.port': 'number',
  'headgate.model.sent': MODEL,
  'headgate.max_tokens.granted': 200,
  'http.response.status_code': 200,
  'headgate.request_id': 'string',
  'headgate.ratelimit.requests.limit': 6_000,
  'headgate.ratelimit.requests.remaining': 'number',
  'headgate.ratelimit.input_tokens.limit': 2_000_000,
  'headgate.ratelimit.input_tokens.remaining': 'number',
  'headgate.ratelimit.output_tokens.limit': 400_000,
  'headgate.ratelimit.output_tokens.remaining': 'number',
};
const DONE = {
  'headgate.outcome': 'complete',
  'headgate.cost': 'number',
  'headgate.usage.input_tokens': 'number',
  'headgate.usage.output_tokens': 40,
};
const caller = { user: 'ada', tier: 'free' };

describe('the spans of a call under the SDK’s own span', () => {
  const SDK = 'anthropic.messages.create';

  it('of a JSON answer', async () => {
    const { governor, claude, spans } = await setUp();
    await governor.run(caller, () => claude.messages.create(ask()));
    const tree = golden(spans.spans);
    expect(tree.map(({ name, parent }) => [name, parent])).toEqual([
      [SDK, undefined],
      ['headgate.admission', SDK],
      ['headgate.attempt', SDK],
    ]);
    expect(tree[1]).toMatchObject({ isError: false, attributes: ADMISSION });
    expect(tree[2]?.attributes).toEqual({ ...SENT, ...DONE });
    // A second span with the same tokens would double every sum.
    expect(JSON.stringify(tree.slice(1))).not.toContain('gen_ai.usage');
  });

  it('of a streamed answer: the attempt lasts to the end of the stream', async () => {
    const { governor, claude, spans } = await setUp();
    await governor.run(caller, () => claude.messages.stream(ask()).finalMessage());
    const tree = golden(spans.spans);
    expect(tree.map(({ name, parent }) => [name, parent])).toEqual([
      [SDK, undefined],
      ['headgate.admission', SDK],
      ['headgate.attempt', SDK],
    ]);
    expect(tree[2]?.attributes).toEqual({ ...SENT, ...DONE, 'headgate.time_to_first_chunk': 'number' });
  });

  it('of a call that was overloaded once: the attempt is marked, not the call', async () => {
    const { governor, claude, spans, api } = await setUp();
    api.inject({ kind: 'status', status: 529 });
    await governor.run(caller, () => claude.messages.create(ask()));
    const tree = golden(spans.spans);
    expect(tree.map(({ name, isError }) => [name, isError])).toEqual([
      [SDK, false],
      ['headgate.admission', false],
      ['headgate.attempt', true],
      ['headgate.backoff', false],
      ['headgate.admission', false],
      ['headgate.attempt', false],
    ]);
    expect(tree[2]?.attributes).toMatchObject({
      'http.response.status_code': 529,
      'error.type': 'overloaded_error',
      'headgate.outcome': 'error',
    });
    expect(tree[3]?.attributes).toEqual({
      'headgate.backoff.source': 'backoff',
      'headgate.backoff.delay': 'number',
      'headgate.retry_budget.remaining': 'number',
      'error.type': 'overloaded_error',
    });
    expect(tree[5]?.attributes).toEqual({
      ...SENT,
      ...DONE,
      'headgate.attempt': 2,
      'http.request.resend_count': 1,
    });
    expect(spans.spans.find(({ name }) => name === SDK)?.attributes['http.request.resend_count']).toBe(1);
  });

  it('of a call that met a 429: it waits in the queue, and says for what', async () => {
    const { governor, claude, spans, api } = await setUp();
    const empty = { 'retry-after': '1', 'anthropic-ratelimit-requests-remaining': '0' };
    api.inject({ kind: 'status', status: 429, headers: empty });
    await governor.run(caller, () => claude.messages.create(ask()));
    const tree = golden(spans.spans);
    expect(tree.map(({ name }) => name).slice(2)).toEqual([
      'headgate.attempt',
      'headgate.backoff',
      'headgate.admission',
      'headgate.attempt',
    ]);
    expect(tree[4]?.attributes).toMatchObject({
      'headgate.attempt': 2,
      'headgate.decision': 'queue',
      'headgate.reason': 'upstream_paused',
    });
    const waited = spans.spans.filter(({ name }) => name === 'headgate.admission')[1]?.attributes[
      'headgate.queue.wait'
    ];
    expect(waited).toBeGreaterThanOrEqual(0.95);
  });

  it('of a refused call', async () => {
    const { governor, claude, spans } = await setUp({ quotas: [{ name: 'tiny', requests: '1/day' }] });
    await governor.run(caller, () => claude.messages.create(ask()));
    spans.clear();
    await rejection(governor.run(caller, () => claude.messages.create(ask())));
    const [sdk, admission, ...others] = golden(spans.spans);
    expect(others).toEqual([]);
    expect(sdk).toMatchObject({ name: SDK, isError: true });
    expect(admission).toMatchObject({
      name: 'headgate.admission',
      parent: SDK,
      isError: true,
      attributes: {
        'headgate.decision': 'refuse',
        'headgate.reason': 'user_quota',
        'headgate.rule': 'tiny',
        'headgate.retry_after': 'number',
        'error.type': 'headgate.refused',
      },
    });
  });
});

describe('the spans of a call without the SDK’s', () => {
  it('hang under a chat span of the conventions, which alone has the tokens', async () => {
    const { governor, claude, spans } = await setUp({}, { openTelemetry: false });
    await governor.run(caller, () => claude.messages.stream(ask()).finalMessage());
    const tree = golden(spans.spans);
    expect(tree.map(({ name, parent }) => [name, parent])).toEqual([
      [`chat ${MODEL}`, undefined],
      ['headgate.admission', `chat ${MODEL}`],
      ['headgate.attempt', `chat ${MODEL}`],
    ]);
    expect(tree[0]?.attributes).toEqual({
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'anthropic',
      'gen_ai.request.model': MODEL,
      'gen_ai.request.max_tokens': 200,
      'gen_ai.request.stream': true,
      'gen_ai.response.model': MODEL,
      'gen_ai.response.id': 'string',
      'gen_ai.response.finish_reasons': ['end_turn'],
      'gen_ai.response.time_to_first_chunk': 'number',
      'gen_ai.usage.input_tokens': 'number',
      'gen_ai.usage.output_tokens': 40,
      'gen_ai.usage.cache_read.input_tokens': 0,
      'gen_ai.usage.cache_write.input_tokens': 0,
      'server.address': '127.0.0.1',
      'server.port': 'number',
      'headgate.cost': 'number',
    });
  });
});

describe('spans', () => {
  it('never swap parents between two requests through one queue', async () => {
    const { governor, claude, spans } = await setUp({
      account: [{ name: 'sonnet-4', models: ['claude-sonnet-4-*'], concurrency: 1 }],
    });
    const tracer = trace.getTracer('app');
    const request = (user: string) =>
      tracer.startActiveSpan(`request ${user}`, async (span) => {
        const calls = [1, 2, 3].map(() => governor.run({ user }, () => claude.messages.create(ask())));
        await Promise.all(calls);
        span.end();
      });
    await Promise.all(['ada', 'ben', 'eve'].map(request));
    const byId = new Map(spans.spans.map((span) => [span.spanId, span]));
    const admissions = spans.spans.filter(({ name }) => name === 'headgate.admission');
    expect(admissions).toHaveLength(9);
    const hashes = new Map<string, Set<unknown>>();
    for (const span of admissions) {
      const call = byId.get(span.parentSpanId ?? '');
      const root = byId.get(call?.parentSpanId ?? '');
      expect(root?.traceId).toBe(span.traceId);
      const name = root?.name ?? '(none)';
      hashes.set(name, (hashes.get(name) ?? new Set()).add(span.attributes['headgate.user.hash']));
    }
    // One user under each request, and another under each other.
    expect([...hashes.keys()].sort()).toEqual(['request ada', 'request ben', 'request eve']);
    expect([...hashes.values()].map((set) => set.size)).toEqual([1, 1, 1]);
    expect(new Set([...hashes.values()].flatMap((set) => [...set])).size).toBe(3);
  });

  it('end exactly once, however the call ends', async () => {
    const { governor, claude, spans, api } = await setUp({
      timeouts: { streamIdle: '80ms' },
      retries: { maxAttempts: 1 },
    });
    const stream = () => claude.messages.create({ ...ask('x', { max_tokens: 4_000 }), stream: true });
    await stream().then(async (events) => {
      for await (const _ of events) break;
    });
    await stream().asResponse(); // never read
    for (const fault of [
      { kind: 'truncate' },
      { kind: 'reset', at: 'mid-stream' },
      { kind: 'reset', at: 'before-headers' },
      { kind: 'stream-error', type: 'api_error' },
      { kind: 'status', status: 500 },
    ] as const) {
      api.inject(fault);
      await claude.messages
        .stream(ask())
        .finalMessage()
        .catch(() => {});
    }
    const controller = new AbortController();
    const aborted = rejection(claude.messages.create(ask(), { signal: controller.signal }));
    controller.abort();
    await aborted;
    await new Promise((resolve) => setTimeout(resolve, 200));
    const open = spans.openNames().filter((name) => name.startsWith('headgate') || name.startsWith('chat'));
    expect(open).toEqual([]);
    expect(spans.endedTwice).toBe(0);
    expect(governor.snapshot().inFlight).toBe(0);
  });

  it('and metrics carry no prompt, no key and no user id, unless asked for', async () => {
    const { governor, claude, spans, metrics, collect } = await setUp({}, { apiKey: 'sk-secret-key' });
    await governor.run({ user: 'ada.lovelace@example.org' }, () =>
      claude.messages.create(ask('my secret prompt')),
    );
    await collect();
    const bytes = JSON.stringify([spans.spans, metrics.names().map((name) => metrics.points(name))]);
    for (const secret of ['secret prompt', 'sk-secret-key', 'ada.lovelace'])
      expect(bytes).not.toContain(secret);
  });
});

describe('the metrics', () => {
  it('of one answered, one retried and one refused call', async () => {
    const { governor, claude, api, metrics, collect } = await setUp({
      quotas: [{ name: 'tiny', requests: '2/day' }],
    });
    const run = (fn: () => Promise<unknown>) => governor.run(caller, fn);
    await run(() => claude.messages.create(ask()));
    api.inject({ kind: 'status', status: 529 });
    await run(() => claude.messages.stream(ask()).finalMessage());
    await rejection(run(() => claude.messages.create(ask())));
    await collect();
    const labels = { 'headgate.lane': 'interactive', 'headgate.tier': 'free', 'gen_ai.request.model': MODEL };
    const decisions = (decision: string, more = {}) =>
      metrics.value('headgate.decisions', { ...labels, 'headgate.decision': decision, ...more });
    expect(decisions('admit')).toBe(3);
    expect(decisions('refuse', { 'headgate.reason': 'user_quota' })).toBe(1);
    expect(
      metrics
        .points('headgate.call.duration')
        .map(({ attributes }) => attributes['headgate.outcome'])
        .sort(),
    ).toEqual(['ok', 'refused']);
    expect(
      metrics.value('headgate.attempts', {
        'headgate.outcome': 'complete',
        'http.response.status_code': 200,
      }),
    ).toBe(2);
    expect(
      metrics.value('headgate.attempts', {
        'headgate.outcome': 'error',
        'http.response.status_code': 529,
        'error.type': 'overloaded_error',
      }),
    ).toBe(1);
    expect(
      metrics.value('headgate.retries', {
        'error.type': 'overloaded_error',
        'headgate.backoff.source': 'backoff',
      }),
    ).toBe(1);
    const chat = {
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'anthropic',
      'gen_ai.request.model': MODEL,
      'gen_ai.response.model': MODEL,
    };
    const { outputTokens, inputTokens } = api.ledger.totals();
    expect(
      metrics.value('gen_ai.client.inference.usage.output_tokens', {
        ...chat,
        'gen_ai.token.modality': 'unknown',
      }),
    ).toBe(outputTokens);
    expect(
      metrics.value('gen_ai.client.inference.usage.input_tokens', {
        ...chat,
        'gen_ai.token.modality': 'unknown',
      }),
    ).toBe(inputTokens);
    const cost = metrics.value('headgate.cost', {
      'gen_ai.response.model': MODEL,
      'headgate.lane': 'interactive',
      'headgate.tier': 'free',
    });
    expect(cost).toBeCloseTo((inputTokens * 3 + outputTokens * 15) / 1e6, 9);
    const bucket = { 'headgate.account': 'default', 'headgate.bucket': 'sonnet-4' };
    expect(metrics.value('headgate.ratelimit.requests.limit', bucket)).toBe(6_000);
    expect(metrics.value('headgate.concurrency.active', bucket)).toBe(0);
    expect(metrics.value('headgate.queue.depth', { ...bucket, 'headgate.lane': 'interactive' })).toBe(0);
    expect(metrics.value('headgate.retry_budget.remaining', {})).toBeGreaterThan(0);
  });

  it('come by the conventions that are asked for', async () => {
    for (const [semconv, expected] of [
      ['latest', ['gen_ai.client.inference.duration']],
      ['v1.41', ['gen_ai.client.operation.duration', 'gen_ai.client.token.usage']],
      [
        'both',
        ['gen_ai.client.inference.duration', 'gen_ai.client.operation.duration', 'gen_ai.client.token.usage'],
      ],
    ] as const) {
      const telemetry = startTelemetry();
      const { claude } = await startGoverned({
        config: { telemetry: { semconv } },
        governor: { meterProvider: telemetry.meterProvider },
      });
      await claude.messages.create(ask());
      await telemetry.collect();
      const seen = telemetry.metrics
        .names()
        .filter((name) => /duration|token\.usage/.test(name) && name.startsWith('gen_ai'));
      expect(seen.sort(), semconv).toEqual([...expected]);
    }
  });

  it('have as many series for a hundred users as for one', async () => {
    const { governor, claude, metrics, collect } = await setUp();
    const series = async () => {
      await collect();
      return metrics.names().reduce((sum, name) => sum + metrics.points(name).length, 0);
    };
    await governor.run({ user: 'first', tier: 'free' }, () => claude.messages.create(ask()));
    const before = await series();
    await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        governor.run({ user: `user ${i}`, tier: 'free' }, () => claude.messages.create(ask())),
      ),
    );
    const after = await series();
    // Room for the decision `queue`, which the crowd may have met and the first did not.
    expect(after - before).toBeLessThanOrEqual(4);
  });

  const spec = (id: string) => ({ id, maxTokens: 64_000, maxInputTokens: 1_000_000 });
  /** A governor whose metrics are read, before an API that has these models. */
  async function ofModels(models: readonly string[], config = {}) {
    const telemetry = startTelemetry();
    const governed = await startGoverned({
      api: {
        models: models.map(spec),
        limits: [{ name: 'all', models: ['*'], requestsPerMinute: 600_000 }],
        latency: { timeToFirstTokenMs: 1, tokensPerSecond: Number.POSITIVE_INFINITY },
      },
      config: { account: [{ name: 'all', models: ['*'], requestsPerMinute: 600_000 }], ...config },
      governor: { meterProvider: telemetry.meterProvider },
    });
    const call = (model: string, tier = 'free') =>
      governed.governor
        .run({ user: 'ada', tier }, () => governed.claude.messages.create(ask('hello', { model })))
        .catch(() => undefined);
    /** Every name that a label of a model has, in any metric. */
    const names = async () => {
      await telemetry.collect();
      const labels = ['gen_ai.request.model', 'gen_ai.response.model', 'headgate.model.sent'];
      const points = telemetry.metrics.names().flatMap((name) => telemetry.metrics.points(name));
      return new Set(points.flatMap(({ attributes }) => labels.flatMap((label) => attributes[label] ?? [])));
    };
    return { call, names };
  }

  it('keep names of models for those that exist: 200 made-up ones take no place (took all 64)', async () => {
    const { call, names } = await ofModels(['claude-opus-6', 'claude-haiku-4-5', 'team-model'], {
      fallbacks: { 'other-model': ['team-model'] },
    });
    await Promise.all(Array.from({ length: 200 }, (_, n) => call(`made-up-${n}`)));
    expect(await names()).toEqual(new Set(['_OTHER']));
    // One that nobody has named, one of the price table, and one of the configuration.
    for (const model of ['claude-opus-6', 'claude-haiku-4-5', 'team-model']) await call(model);
    expect(await names()).toEqual(new Set(['_OTHER', 'claude-opus-6', 'claude-haiku-4-5', 'team-model']));
  });

  it('never call a model of the table or the configuration `_OTHER`, however many tiers and models there are', async () => {
    const others = Array.from({ length: 70 }, (_, n) => `gateway-model-${n}`);
    const { call, names } = await ofModels([...others, 'claude-haiku-4-5', 'team-model', 'priced-model'], {
      quotas: [{ name: 'q', when: { model: 'team-model' }, requests: '1000/minute' }],
      prices: { 'priced-model': { input: 1, output: 1 } },
    });
    await Promise.all(others.map((model, n) => call(model, `tier ${n}`)));
    for (const model of ['claude-haiku-4-5', 'team-model', 'priced-model']) await call(model, 'another tier');
    const seen = await names();
    for (const model of ['claude-haiku-4-5', 'team-model', 'priced-model', '_OTHER'])
      expect(seen).toContain(model);
    expect([...seen].filter((name) => String(name).startsWith('gateway-model'))).toHaveLength(64);
  });

  it('cut a model’s name to 64 characters, named or not', async () => {
    const [long, named] = ['x'.repeat(200), 'y'.repeat(200)];
    const { call, names } = await ofModels([long, named], { fallbacks: { [named]: ['claude-haiku-4-5'] } });
    for (const model of [long, named]) await call(model);
    expect(await names()).toEqual(new Set(['_OTHER', 'x'.repeat(64), 'y'.repeat(64)]));
  });
});

describe('trouble', () => {
  it('is told with its reason: breaker, fallback, spend limit, and why nothing was tried again', async () => {
    const { governor, claude, api, spans, metrics, collect } = await setUp({
      account: [
        { name: 's', models: ['claude-sonnet-*'], requestsPerMinute: 6_000 },
        { name: 'h', models: ['claude-haiku-*'], requestsPerMinute: 6_000 },
      ],
      retries: { maxAttempts: 1 },
      fallbacks: { 'claude-sonnet-4-5': ['claude-haiku-4-5'] },
    });
    const end = api.inject({ kind: 'status', status: 529, times: Number.POSITIVE_INFINITY });
    for (let i = 0; i < 20; i++) await rejection(claude.messages.create(ask()));
    end();
    spans.clear();
    await rejection(claude.messages.create(ask()));
    const refused = golden(spans.spans).find(({ name }) => name === 'headgate.admission');
    expect(refused).toMatchObject({
      isError: true,
      attributes: {
        'headgate.decision': 'refuse',
        'headgate.reason': 'breaker_open',
        'headgate.rule': MODEL,
        'error.type': 'headgate.refused',
      },
    });
    governor.reset();

    api.inject({ kind: 'status', status: 529 });
    spans.clear();
    await claude.messages.create(ask('x', { model: 'claude-sonnet-4-5' }));
    const sent = golden(spans.spans).filter(({ name }) => name === 'headgate.attempt');
    expect(
      sent.map(({ attributes }) => [
        attributes['headgate.model.sent'],
        attributes['http.response.status_code'],
      ]),
    ).toEqual([
      ['claude-sonnet-4-5', 529],
      ['claude-haiku-4-5', 200],
    ]);
    const rerouted = golden(spans.spans).filter(({ name }) => name === 'headgate.admission')[1];
    expect(rerouted?.attributes['headgate.model.requested']).toBe('claude-sonnet-4-5');

    api.inject({ kind: 'status', status: 429, errorCode: 'enforced_spend_limit_reached' });
    await rejection(claude.messages.create(ask()));
    spans.clear();
    await rejection(claude.messages.create(ask()));
    expect(golden(spans.spans).find(({ name }) => name === 'headgate.admission')?.attributes).toMatchObject({
      'headgate.reason': 'spend_limit',
    });

    await collect();
    const total = (name: string, attributes: Record<string, unknown>) =>
      metrics
        .points(name)
        .filter((point) =>
          Object.entries(attributes).every(([key, value]) => point.attributes[key] === value),
        )
        .reduce((sum, { value }) => sum + Number(value), 0);
    expect(total('headgate.breaker.transitions', { 'headgate.breaker.state': 'open' })).toBe(1);
    expect(total('headgate.breaker.transitions', { 'headgate.breaker.state': 'closed' })).toBe(1);
    expect(total('headgate.fallbacks', { 'error.type': 'overloaded_error' })).toBe(1);
    expect(total('headgate.retries.denied', { 'headgate.retry.denied': 'attempts' })).toBe(21);
    expect(total('headgate.retries.denied', { 'headgate.retry.denied': 'final' })).toBe(1);
    expect(total('headgate.decisions', { 'headgate.reason': 'spend_limit' })).toBe(1);
  });
});

describe('without an OpenTelemetry SDK', () => {
  it('all works the same', async () => {
    const { governor, claude, api } = await startGoverned({
      config: { quotas: [{ name: 'tiny', requests: '1/day' }] },
    });
    await governor.run(caller, () => claude.messages.create(ask()));
    expect(await rejection(governor.run(caller, () => claude.messages.create(ask())))).toMatchObject({
      code: 'quota_exceeded',
    });
    expect(api.ledger.count({})).toBe(1);
  });

  it('and with one that throws at every touch', async () => {
    const broken = new Proxy(
      {},
      {
        get: () => () => {
          throw new Error('telemetry is down');
        },
      },
    );
    const { claude } = await startGoverned({
      governor: { tracerProvider: broken as never, meterProvider: broken as never },
    });
    expect((await claude.messages.create(ask())).type).toBe('message');
    expect((await claude.messages.stream(ask()).finalMessage()).type).toBe('message');
  });
});
