import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { metricRecorder } from '@headgate/testing';
import { context, metrics, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { instantFetch, MODEL, WIDE_ACCOUNT } from '../support/instant-fetch.ts';

/**
 * What telemetry costs: CPU of one call through the SDK, bare and governed, with more and more OpenTelemetry around
 * it. Each setup has a process of its own, since what is registered there stays; rounds of all take turns. The network
 * is left out, so the ratios are of the SDK's own work; of a real call of a second it is all next to nothing.
 * `node --conditions=source test/bench/telemetry-overhead.ts [rounds]`
 */
const SETUPS = {
  bare: 'bare SDK',
  governed: 'Headgate, no OpenTelemetry SDK',
  metrics: 'Headgate, metrics',
  traces: 'Headgate, metrics, every trace sampled',
  'bare-traces': 'bare SDK, every trace sampled (its own span)',
} as const;
type Setup = keyof typeof SETUPS;

const CALLS = 3_000;
/** Until the code is compiled as it will stay. */
const WARM_UP = 5_000;

function register(setup: Setup): void {
  if (setup === 'metrics' || setup === 'traces') {
    const reader = new PeriodicExportingMetricReader({
      exporter: metricRecorder(),
      exportIntervalMillis: 1_000,
    });
    metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));
  }
  if (setup === 'traces' || setup === 'bare-traces') {
    const nowhere = {
      export: (_: unknown, done: (result: { code: number }) => void) => done({ code: 0 }),
      shutdown: () => Promise.resolve(),
    };
    const spanProcessors = [new BatchSpanProcessor({ exporter: nowhere, maxQueueSize: 100_000 })];
    trace.setGlobalTracerProvider(new TracerProvider({ spanProcessors }));
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  }
}

/** Microseconds of CPU per call. */
async function measure(setup: Setup): Promise<{ json: number; stream: number }> {
  register(setup);
  const bare = new Anthropic({
    apiKey: 'bench',
    baseURL: 'http://bench.invalid',
    fetch: instantFetch,
    maxRetries: 0,
  });
  const governor = createGovernor({
    config: {
      account: WIDE_ACCOUNT,
      quotas: [{ name: 'per-user', requests: '100M/minute', inputTokens: '1000M/minute' }],
    },
  });
  const claude = setup.startsWith('bare') ? bare : governor.govern(bare);
  const params = {
    model: MODEL,
    max_tokens: 500,
    messages: [{ role: 'user' as const, content: 'a question of some length '.repeat(20) }],
  };
  const kinds = {
    json: () => claude.messages.create(params),
    stream: async () => {
      for await (const _ of await claude.messages.create({ ...params, stream: true })) void _;
    },
  };
  const times = { json: 0, stream: 0 };
  for (const [kind, call] of Object.entries(kinds) as [keyof typeof kinds, () => Promise<unknown>][]) {
    const run = async (calls: number) => {
      for (let i = 0; i < calls; i++)
        await governor.run({ user: `user ${i % 50}`, tier: 'free' }, () => call());
    };
    await run(WARM_UP);
    const before = process.cpuUsage();
    await run(CALLS);
    const { user, system } = process.cpuUsage(before);
    times[kind] = (user + system) / CALLS;
  }
  await governor.close({ drainMs: 0 });
  return times;
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

function compare(rounds: number): void {
  const seen = new Map<Setup, { json: number[]; stream: number[] }>();
  for (let round = 0; round < rounds; round++) {
    for (const setup of Object.keys(SETUPS) as Setup[]) {
      const args = ['--conditions=source', fileURLToPath(import.meta.url), setup];
      const { json, stream } = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }));
      const all = seen.get(setup) ?? { json: [], stream: [] };
      seen.set(setup, { json: [...all.json, json], stream: [...all.stream, stream] });
    }
  }
  console.log(`CPU per call, median of ${rounds} processes of ${CALLS} calls each; Node ${process.version}`);
  console.log(
    `${''.padEnd(46)}${'JSON'.padStart(8)}${'ratio'.padStart(8)}${'stream'.padStart(10)}${'ratio'.padStart(8)}`,
  );
  const of = (setup: Setup, kind: 'json' | 'stream') => median(seen.get(setup)?.[kind] ?? []);
  for (const [setup, title] of Object.entries(SETUPS) as [Setup, string][]) {
    const cells = (['json', 'stream'] as const).map((kind) => {
      const µs = of(setup, kind);
      return `${`${µs.toFixed(0)} µs`.padStart(kind === 'json' ? 8 : 10)}${(µs / of('bare', kind)).toFixed(2).padStart(8)}`;
    });
    console.log(title.padEnd(46) + cells.join(''));
  }
}

const argument = process.argv[2];
if (argument !== undefined && argument in SETUPS)
  console.log(JSON.stringify(await measure(argument as Setup)));
else compare(Number(argument ?? 5));
process.exit(0);
