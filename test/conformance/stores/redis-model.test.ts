import type { Answer, Exchange } from '@headgate/core';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { noRedis, type RedisServer, startRedis } from '../../support/redis.ts';
import { SetClock } from './clocked.ts';
import { command } from './commands.ts';

/** Sequences: MODEL_RUNS has more of them run. A slow machine that others use too runs them in the time there is. */
const RUNS = Number(process.env.MODEL_RUNS ?? 60);
const TIMEOUT_MS = 120_000 + 200 * RUNS;

/** The same numbers, but for the order in which they are added up. */
function expectSame(redis: unknown, memory: unknown, path = 'answer'): void {
  if (typeof redis === 'number' && typeof memory === 'number') {
    const tolerance = 1e-9 * Math.max(1, Math.abs(memory));
    if (Math.abs(redis - memory) > tolerance) throw new Error(`${path}: Redis ${redis}, memory ${memory}`);
    return;
  }
  if (typeof redis === 'object' && typeof memory === 'object' && redis !== null && memory !== null) {
    const keys = new Set([...Object.keys(redis), ...Object.keys(memory)]);
    for (const key of keys)
      expectSame(
        (redis as Record<string, unknown>)[key],
        (memory as Record<string, unknown>)[key],
        `${path}.${key}`,
      );
    return;
  }
  if (redis !== memory) throw new Error(`${path}: Redis ${String(redis)}, memory ${String(memory)}`);
}

describe.skipIf(noRedis())('the ledger on Redis and the one in memory', () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server?.stop());

  it(
    'answer the same to whatever they are told',
    async () => {
      const client = server.connect();
      await new Promise<void>((resolve) => client.once('ready', () => resolve()));
      let runs = 0;
      let granted = 0;
      let waiting = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 40 }), async (commands) => {
          const clock = new SetClock();
          const memory = clock.memory();
          const redis = clock.redis(client, `model-${process.pid}-${Date.now()}-${runs++}`);
          const last = new Map<number, Exchange>();
          for (const { afterMs, process: index, again, exchange } of commands) {
            clock.at += afterMs;
            const before = last.get(index);
            const seq = (before?.seq ?? 0) + 1;
            const next: Exchange =
              again && before !== undefined
                ? before
                : { ...exchange, process: `process-${index}`, seq, acked: seq - 1 };
            last.set(index, next);
            const [told, expected]: Answer[] = await Promise.all([
              redis.exchange('bucket', next),
              memory.exchange('bucket', next),
            ]);
            expectSame(told, expected);
            for (const { type } of expected?.results ?? []) {
              if (type === 'granted') granted++;
              else waiting++;
            }
          }
          await Promise.all([redis.close(), memory.close()]);
        }),
        { numRuns: RUNS },
      );
      // A comparison of nothing would agree as well.
      expect(granted).toBeGreaterThan(100);
      expect(waiting).toBeGreaterThan(100);
    },
    TIMEOUT_MS,
  );
});
