import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { expect, it } from 'vitest';
import { isSettled, pause, until } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

const SECONDS = Number(process.env.CHAOS_SECONDS ?? 120);
const PER_SECOND = Number(process.env.CHAOS_RATE ?? 500);

interface Told {
  readonly totals: { readonly attempts: number; readonly outputTokens: number };
  /** Answers that have not ended. */
  readonly unfinished: number;
}

/**
 * Two minutes of every fault that there is, with callers who leave at random. In the end nothing is held, nothing
 * listens, no answer goes on, and the books of the API and ours agree.
 */
it(`${PER_SECOND} calls a second for ${SECONDS} s, through every fault`, async () => {
  const child = fork(join(import.meta.dirname, 'api-process.ts'), {
    execArgv: ['--conditions=source'],
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  const [{ url }] = (await once(child, 'message')) as [{ url: string }];
  const askTotals = async (): Promise<Told> => {
    child.send('totals');
    const [told] = (await once(child, 'message')) as [Told];
    return told;
  };
  const telemetry = startTelemetry();
  const governor = createGovernor({
    config: {
      account: [
        {
          name: 'all',
          models: ['*'],
          requestsPerMinute: 60_000,
          inputTokensPerMinute: 60_000_000,
          outputTokensPerMinute: 6_000_000,
        },
      ],
      quotas: [{ name: 'q', requests: '100k/minute', concurrency: 200, onExceed: 'wait' }],
      timeouts: { streamIdle: '5s', total: '20s' },
      retries: { maxDelay: '200ms' },
    },
    meterProvider: telemetry.meterProvider,
    logger: { info() {}, warn() {}, error() {} },
  });
  const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: url, timeout: 2_000 }));
  const rejections: unknown[] = [];
  const onRejection = (error: unknown) => void rejections.push(error);
  process.on('unhandledRejection', onRejection);

  const counts = new Map<string, number>();
  const count = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);
  const one = async (n: number) => {
    const controller = new AbortController();
    const leaves =
      Math.random() < 0.1 ? setTimeout(() => controller.abort(), Math.random() * 200) : undefined;
    const params = {
      model: 'claude-sonnet-4-6',
      max_tokens: 200,
      messages: [{ role: 'user' as const, content: `hello ${n}` }],
    };
    try {
      await governor.run(
        { user: `user ${n % 100}`, lane: n % 3 === 0 ? 'background' : 'interactive' },
        async () => {
          if (n % 2 === 0) await claude.messages.create(params, { signal: controller.signal });
          else {
            let events = 0;
            for await (const _ of await claude.messages.create(
              { ...params, stream: true },
              { signal: controller.signal },
            )) {
              if (++events > 3 && Math.random() < 0.01) break;
            }
          }
        },
      );
      count('ok');
    } catch (error) {
      count((error as Error).name);
    } finally {
      clearTimeout(leaves);
    }
  };

  const memory: number[] = [];
  const startedAt = performance.now();
  const running = new Set<Promise<void>>();
  let sent = 0;
  while (performance.now() - startedAt < SECONDS * 1_000) {
    const due = ((performance.now() - startedAt) / 1_000) * PER_SECOND;
    for (; sent < due && running.size < 2_000; sent++) {
      const call: Promise<void> = one(sent).finally(() => running.delete(call));
      running.add(call);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
    memory.push(process.memoryUsage().heapUsed);
  }
  const rate = sent / SECONDS;
  await Promise.all(running);
  await until(() => isSettled(governor), 20_000);
  process.off('unhandledRejection', onRejection);
  expect(rejections).toEqual([]);

  await telemetry.collect();
  const sum = (name: string) =>
    telemetry.metrics.points(name).reduce((total, { value }) => total + Number(value), 0);
  const tokens = sum('gen_ai.client.inference.usage.output_tokens');
  const attempts = sum('headgate.attempts');
  const { totals } = await askTotals();
  console.log(
    `${Math.round(rate)} calls/s, ${sent} calls, ${attempts} attempts (API: ${totals.attempts}), output tokens told ${tokens}, produced ${totals.outputTokens}`,
  );
  console.log(Object.fromEntries(counts));
  // An attempt that is aborted before it is sent, or reset before its request is read, is in one book only.
  expect(Math.abs(attempts - totals.attempts) / attempts).toBeLessThan(0.02);
  // What is generated for those who leave or are cut off before a word of usage is known to the API alone.
  expect(tokens / totals.outputTokens).toBeGreaterThan(0.75);
  expect(tokens / totals.outputTokens).toBeLessThan(1.02);

  await governor.close({ drainMs: 1_000 });
  // Idle connections stay in the runtime's own pool, as they do for the bare SDK; none of them is answering anybody.
  await pause(1_000);
  expect((await askTotals()).unfinished).toBe(0);
  // What is left after a collection, which the lowest point of a while shows: flat, once all is warm.
  const third = Math.floor(memory.length / 3);
  const floor = (values: number[]) => Math.min(...values);
  expect(floor(memory.slice(-third)) / floor(memory.slice(third, 2 * third))).toBeLessThan(1.3);
  child.send('close');
}, 400_000);
