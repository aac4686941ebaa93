import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, isHeadgateError, systemClock } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { Redis } from 'ioredis';

/** One process of a fleet: its users keep so many calls going, until it is told to stop. */
export interface WorkerOptions {
  readonly apiUrl: string;
  readonly redisUrl: string;
  readonly prefix: string;
  readonly config: object;
  /** Names of users, each with the calls that it keeps going. */
  readonly users: readonly { readonly name: string; readonly calls: number; readonly lane: string }[];
  readonly maxTokens: number;
  readonly timeoutMs?: number;
  /** Milliseconds between a user's calls; left out: the next starts as the last ends. */
  readonly pauseMs?: number;
  /** Milliseconds by which the process's wall clock is wrong. */
  readonly clockOffMs?: number;
}

export interface WorkerReport {
  readonly admitted: Record<string, number>;
  readonly refused: Record<string, number>;
  readonly errors: Record<string, number>;
  readonly moves: string[];
  readonly rejections: string[];
  /** When each call was made, and how long it took to its first byte. */
  readonly starts: readonly (readonly [at: number, ms: number])[];
}

const options = JSON.parse(process.env.FLEET_WORKER ?? '{}') as WorkerOptions;
const client = new Redis(options.redisUrl, { maxRetriesPerRequest: 0, retryStrategy: () => 100 });
client.on('error', () => {});
const moves: string[] = [];
const startedAt = performance.now();
const say = (text: string) =>
  void moves.push(`${((performance.now() - startedAt) / 1000).toFixed(1)} ${text}`);
const off = options.clockOffMs ?? 0;
const governor = createGovernor({
  clock: { ...systemClock, wall: () => Date.now() + off },
  config: options.config,
  store: redisStore({
    client,
    prefix: options.prefix,
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
  }),
  logger: { info: say, warn: say, error: say },
});
const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: options.apiUrl, timeout: 60_000 }));
const admitted: Record<string, number> = {};
const refused: Record<string, number> = {};
const errors: Record<string, number> = {};
const rejections: string[] = [];
const starts: [number, number][] = [];
process.on('unhandledRejection', (error) => rejections.push(String(error)));
let isRunning = true;
const count = (in_: Record<string, number>, what: string) => {
  in_[what] = (in_[what] ?? 0) + 1;
};

async function keepGoing(name: string, lane: string): Promise<void> {
  while (isRunning) {
    if (options.pauseMs !== undefined)
      await new Promise((resolve) => setTimeout(resolve, (options.pauseMs ?? 0) * (0.5 + Math.random())));
    const madeAt = Date.now();
    const startedNow = performance.now();
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
        starts.push([madeAt, performance.now() - startedNow]);
        for await (const _ of stream);
      });
    } catch (error) {
      if (isHeadgateError(error)) count(refused, error.code);
      else count(errors, (error as Error).name);
      await new Promise((resolve) => setTimeout(resolve, 50 + 100 * Math.random()));
    }
  }
}

const running = options.users.flatMap(({ name, calls, lane }) =>
  Array.from({ length: calls }, () => keepGoing(name, lane)),
);

process.on('message', async (asked: string) => {
  if (asked === 'snapshot')
    process.send?.({ snapshot: governor.snapshot(), admitted, refused, errors, moves, rejections, starts });
  if (asked !== 'stop') return;
  isRunning = false;
  await governor.close({ drainMs: 2_000 });
  await Promise.allSettled(running);
  client.disconnect();
  process.send?.({ admitted, refused, errors, moves, rejections, starts });
  process.disconnect();
});
process.send?.('ready');
