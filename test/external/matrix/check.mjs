import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { CATALOGUE } from '@headgate/core/telemetry';
import { metricRecorder, spanRecorder, startClaudeApi } from '@headgate/testing';
import { context, metrics as metricsApi, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { OTLPTraceExporter as JsonExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { OTLPTraceExporter as ProtoExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';

/**
 * What must hold on every line of the OpenTelemetry SDK and with every age of the Anthropic SDK, in a process of its
 * own, from installed packages. `node check.mjs 2|3`: the line. Prints the versions that it ran on.
 */
const line = process.argv[2];
const require = createRequire(import.meta.url);
const versionOf = (name) => {
  const entry = require.resolve(name);
  const above = entry.slice(0, entry.lastIndexOf(`node_modules/${name}/`));
  return require(`${above}node_modules/${name}/package.json`).version;
};

const received = [];
const collector = createServer(async (req, res) => {
  received.push({ type: req.headers['content-type'], bytes: Buffer.concat(await req.toArray()) });
  res.end();
});
await new Promise((resolve) => collector.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${collector.address().port}/v1/traces`;

const { TracerProvider, batch } = await (line === '3' ? current() : legacy());
async function current() {
  const sdk = await import('@opentelemetry/sdk-trace');
  return { ...sdk, batch: (exporter) => new sdk.BatchSpanProcessor({ exporter }) };
}
async function legacy() {
  const sdk = await import('@opentelemetry/sdk-trace-base');
  return {
    TracerProvider: sdk.BasicTracerProvider,
    batch: (exporter) => new sdk.BatchSpanProcessor(exporter),
  };
}
const spans = spanRecorder();
const recorder = metricRecorder();
const reader = new PeriodicExportingMetricReader({ exporter: recorder, exportIntervalMillis: 3_600_000 });
const provider = new TracerProvider({
  spanProcessors: [spans, batch(new JsonExporter({ url })), batch(new ProtoExporter({ url }))],
});

// Before the app has registered anything, as a governor in a module of its own often is.
const warnings = [];
const governor = createGovernor({
  config: {
    quotas: [{ name: 'tiny', when: { user: 'eve-0001' }, requests: '1/hour' }],
    retries: { maxDelay: '5ms' },
  },
  logger: { info() {}, warn: (message, fields) => warnings.push({ message, ...fields }), error() {} },
});
trace.setGlobalTracerProvider(provider);
metricsApi.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());

const api = await startClaudeApi({
  latency: { timeToFirstTokenMs: 10, tokensPerSecond: 2_000, flushMs: 5 },
  output: ({ max_tokens }) => (max_tokens > 1_000 ? 2_000 : 40),
});
const claude = governor.govern(new Anthropic({ apiKey: 'sk-ant-not-to-be-seen', baseURL: api.url }));
const ask = (maxTokens = 200) => ({
  model: 'claude-sonnet-4-6',
  max_tokens: maxTokens,
  messages: [{ role: 'user', content: 'a secret prompt' }],
});
const as = (user, fn) =>
  trace.getTracer('app').startActiveSpan('request', async (span) => {
    try {
      return await governor.run({ user }, fn);
    } finally {
      span.end();
    }
  });

await as('ada-0001', () => claude.messages.create(ask()));
await as('ben-0001', () => claude.messages.stream(ask()).finalMessage());
api.inject({ kind: 'status', status: 529 });
await as('ada-0001', () => claude.messages.create(ask()));
await as('eve-0001', () => claude.messages.create(ask()));
await assert.rejects(
  as('eve-0001', () => claude.messages.create(ask())),
  { code: 'quota_exceeded' },
);
const complete = api.ledger.totals();
await as('ada-0001', async () => {
  for await (const event of await claude.messages.create({ ...ask(4_000), stream: true }))
    if (event.type === 'content_block_delta') break;
});
await governor.close({ drainMs: 2_000 });
await reader.forceFlush();
await provider.forceFlush();

const named = (name) => spans.spans.filter((span) => span.name === name);
const usage = spans.spans.filter(({ attributes }) => attributes['gen_ai.usage.output_tokens'] !== undefined);
const whole = usage.filter(({ status }) => status !== 'error' && status !== undefined);
const scopes = new Set(usage.map(({ scope }) => scope));

// One kind of span has the tokens: the SDK's own where it has one, ours where not.
assert.equal(scopes.size, 1);
const [scope] = scopes;
assert.equal(scope, process.argv[3] === 'own' ? 'com.anthropic.sdk.typescript' : CATALOGUE.scope);
const answered = whole.filter(({ attributes }) => attributes['gen_ai.usage.output_tokens'] === 40);
assert.equal(answered.length, 4);
const sum = (name) => answered.reduce((total, { attributes }) => total + Number(attributes[name]), 0);
assert.equal(sum('gen_ai.usage.output_tokens'), complete.outputTokens);
assert.equal(sum('gen_ai.usage.input_tokens'), complete.inputTokens + complete.cacheRead);

assert.equal(named('headgate.admission').length, 7);
assert.equal(named('headgate.attempt').length, 6);
assert.equal(named('headgate.backoff').length, 1);
assert.deepEqual(spans.openNames(), []);
assert.equal(spans.endedTwice, 0);
// A handled 529 marks its attempt and not its call, and every span is in the trace of its request.
const [failed] = named('headgate.attempt').filter(
  ({ attributes }) => attributes['http.response.status_code'] === 529,
);
assert.equal(failed?.status, 'error');
const call = spans.spans.find(({ spanId }) => spanId === failed.parentSpanId);
assert.notEqual(call?.status, 'error');
const roots = new Set(spans.spans.filter(({ scope: from }) => from === 'app').map(({ traceId }) => traceId));
assert.ok(spans.spans.every(({ traceId }) => roots.has(traceId)));

assert.equal(recorder.value('headgate.attempts'), 6);
assert.equal(recorder.value('headgate.decisions', { 'headgate.reason': 'user_quota' }), 1);
const duration = CATALOGUE.metrics.find(({ name }) => name === 'headgate.call.duration');
assert.deepEqual(recorder.points(duration.name)[0]?.buckets?.boundaries, duration.buckets);
for (const name of recorder.names()) {
  assert.equal(recorder.unit(name), CATALOGUE.metrics.find((each) => each.name === name)?.unit, name);
}

for (const type of ['application/json', 'application/x-protobuf']) {
  const bodies = received.filter((body) => body.type === type);
  assert.ok(
    bodies.some(({ bytes }) => bytes.includes('headgate.attempt')),
    type,
  );
  for (const secret of ['a secret prompt', 'sk-ant', 'ada-0001', 'eve-0001'])
    assert.ok(
      bodies.every(({ bytes }) => !bytes.includes(secret)),
      `${secret} in ${type}`,
    );
}
assert.deepEqual(warnings, []);

await api.close();
collector.close();
collector.closeAllConnections();
console.log(
  JSON.stringify({
    api: versionOf('@opentelemetry/api'),
    metrics: versionOf('@opentelemetry/sdk-metrics'),
    sdk: versionOf('@anthropic-ai/sdk'),
    node: process.version,
  }),
);
process.exit(0);
