import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, isHeadgateError, systemClock } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { metricRecorder, spanRecorder } from '@headgate/testing';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { TracerProvider } from '@opentelemetry/sdk-trace';
import { Redis, type RedisOptions } from 'ioredis';

/** One process of a fleet: its users keep so many calls going, until it is told to stop. */
export interface WorkerOptions {
  readonly apiUrl: string;
  readonly redisUrl: string;
  /** Who leads to the Redis, instead of its address. */
  readonly sentinels?: Sentinels;
  readonly prefix: string;
  readonly config: object;
  readonly users: readonly WorkerUser[];
  readonly maxTokens: number;
  readonly timeoutMs?: number;
  /** Milliseconds between a user's calls; left out: the next starts as the last ends. */
  readonly pauseMs?: number;
  /** Milliseconds by which the process's wall clock is wrong. */
  readonly clockOffMs?: number;
  /** Spans and metrics are recorded. */
  readonly isTraced?: boolean;
}

export type Sentinels = Pick<RedisOptions, 'sentinels' | 'name' | 'socketTimeout'>;

/** A user with the calls that it keeps going. */
export interface WorkerUser {
  readonly name: string;
  readonly calls: number;
  readonly lane: string;
  /** As that of all users. */
  readonly pauseMs?: number;
}

export interface WorkerReport {
  readonly admitted: Record<string, number>;
  readonly refused: Record<string, number>;
  readonly errors: Record<string, number>;
  readonly moves: string[];
  readonly rejections: string[];
  /** Admissions, by their spans, where it is traced: when each began, how long it took, and its `headgate.mode`. */
  readonly admissions: readonly (readonly [at: number, ms: number, mode: string])[];
  /** `headgate.store.moves` by mode, where it is traced. */
  readonly storeMoves: Record<string, number>;
  /** When this process's own event loop was late by more than 10 ms, and by how much. */
  readonly late: readonly (readonly [at: number, ms: number])[];
  /** Where the packages were found that it runs. */
  readonly packages: string;
}

const options = JSON.parse(process.env.FLEET_WORKER ?? '{}') as WorkerOptions;
/** Milliseconds of the epoch, whatever the wall clock is set to. */
const realNow = () => performance.timeOrigin + performance.now();

/** What `step` sets the wall clock off by: everything that asks for the time in this process gets it. */
let steppedMs = 0;
const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given: [] | [string | number | Date]) {
    if (given.length === 0) super(RealDate.now() + steppedMs);
    else super(...given);
  }
  static override now = () => RealDate.now() + steppedMs;
} as DateConstructor;

const connection = { maxRetriesPerRequest: 0, retryStrategy: () => 100 };
const client =
  options.sentinels === undefined
    ? new Redis(options.redisUrl, connection)
    : new Redis({ ...connection, ...options.sentinels });
client.on('error', () => {});
const moves: string[] = [];
const startedAt = performance.now();
const say = (text: string) =>
  void moves.push(`${((performance.now() - startedAt) / 1000).toFixed(1)} ${text}`);
const off = options.clockOffMs ?? 0;
const spans = spanRecorder();
const metrics = metricRecorder();
const reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 });
const governor = createGovernor({
  clock: { ...systemClock, wall: () => Date.now() + off },
  config: options.config,
  store: redisStore({
    client,
    prefix: options.prefix,
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
  }),
  logger: { info: say, warn: say, error: say },
  ...(options.isTraced === true
    ? {
        tracerProvider: new TracerProvider({ spanProcessors: [spans] }),
        meterProvider: new MeterProvider({ readers: [reader] }),
      }
    : {}),
});
const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: options.apiUrl, timeout: 60_000 }));
const admitted: Record<string, number> = {};
const refused: Record<string, number> = {};
const errors: Record<string, number> = {};
const rejections: string[] = [];
process.on('unhandledRejection', (error) => rejections.push(String(error)));
let isRunning = true;
const count = (in_: Record<string, number>, what: string) => {
  in_[what] = (in_[what] ?? 0) + 1;
};

const late: [number, number][] = [];
let lookedAt = performance.now();
const watch = setInterval(() => {
  const now = performance.now();
  const ms = now - lookedAt - 5;
  lookedAt = now;
  if (ms > 10) late.push([performance.timeOrigin + now, ms]);
}, 5);
watch.unref();

async function keepGoing({ name, lane, pauseMs = options.pauseMs }: WorkerUser): Promise<void> {
  while (isRunning) {
    if (pauseMs !== undefined)
      await new Promise((resolve) => setTimeout(resolve, pauseMs * (0.5 + Math.random())));
    try {
      await governor.run({ user: name, lane }, async () => {
        const stream = await claude.messages.create({
          model: 'claude-sonnet-4-6',
          max_tokens: options.maxTokens,
          metadata: { user_id: `${name}|${lane}` },
          messages: [{ role: 'user', content: `Tell ${name} something. ${'word '.repeat(60)}` }],
          stream: true,
        });
        count(admitted, name);
        for await (const _ of stream);
      });
    } catch (error) {
      if (isHeadgateError(error)) count(refused, error.code);
      else count(errors, (error as Error).name);
      await new Promise((resolve) => setTimeout(resolve, 50 + 100 * Math.random()));
    }
  }
}

const running = options.users.flatMap((user) => Array.from({ length: user.calls }, () => keepGoing(user)));

async function report(): Promise<WorkerReport> {
  if (options.isTraced === true) await reader.forceFlush();
  const storeMoves = Object.fromEntries(
    metrics
      .points('headgate.store.moves')
      .map(({ attributes, value }) => [String(attributes['headgate.mode']), value]),
  );
  const admissions = spans.spans
    .filter(({ name }) => name === 'headgate.admission')
    .map(
      ({ startTime, endTime, attributes }) =>
        [startTime, endTime - startTime, String(attributes['headgate.mode'])] as const,
    );
  const packages = import.meta.resolve('@headgate/redis');
  return { admitted, refused, errors, moves, rejections, admissions, storeMoves, late, packages };
}

process.on('message', async (asked: string) => {
  if (asked === 'snapshot') process.send?.({ snapshot: governor.snapshot(), ...(await report()) });
  const step = /^step (-?\d+)$/.exec(asked)?.[1];
  if (step !== undefined) {
    steppedMs = Number(step);
    process.send?.({ wall: Date.now(), real: realNow() });
  }
  if (asked !== 'stop') return;
  isRunning = false;
  await governor.close({ drainMs: 2_000 });
  await Promise.allSettled(running);
  client.disconnect();
  process.send?.(await report());
  process.disconnect();
});
process.send?.('ready');
