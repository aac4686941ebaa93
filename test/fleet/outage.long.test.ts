import { afterEach, describe, expect, it } from 'vitest';
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts';
import { pause } from './harness.ts';
import { expectBorne, LIGHT, suffer } from './suffer.ts';
import { startWire } from './wire.ts';

/** At twice the limit two cores bear the processes, Redis, the API and the test: the default would blame Redis for it. */
const TIMEOUT_MS = Number(process.env.FLEET_TIMEOUT_MS ?? 250);
/** The default. */
const SHORT_MS = 100;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
const start = async (options: Parameters<typeof startRedis>[0] = {}): Promise<RedisServer> => {
  const server = await startRedis({ own: true, ...options });
  cleanups.push(() => server.stop());
  return server;
};
const startWireTo = async (port: number) => {
  const wire = await startWire(port);
  cleanups.push(() => wire.stop());
  return wire;
};

describe.skipIf(noRedis())('a fleet whose Redis', () => {
  it('is killed, and started again empty', async () => {
    const redis = await start();
    const told = await suffer({ url: redis.url, timeoutMs: TIMEOUT_MS }, cleanups, async () => {
      await redis.stop();
      await pause(5_000);
      await start({ port: redis.port });
    });
    expectBorne(told, true);
  }, 120_000);

  it('stands still for three seconds', async () => {
    const redis = await start();
    const told = await suffer({ url: redis.url, timeoutMs: TIMEOUT_MS }, cleanups, async () => {
      redis.process?.kill('SIGSTOP');
      await pause(3_000);
      redis.process?.kill('SIGCONT');
    });
    expectBorne(told, true);
  }, 120_000);

  it.each(['is killed', 'stands still', 'becomes slow'] as const)(
    '%s keeps no call waiting that has room',
    async (what) => {
      const redis = await start();
      const wire = await startWireTo(redis.port);
      const told = await suffer(
        { url: wire.url },
        cleanups,
        async () => {
          if (what === 'becomes slow') wire.delayMs = 2 * SHORT_MS;
          else redis.process?.kill(what === 'is killed' ? 'SIGKILL' : 'SIGSTOP');
          await pause(5_000);
          wire.delayMs = 0;
          if (what === 'is killed') await start({ port: redis.port });
          else redis.process?.kill('SIGCONT');
        },
        LIGHT,
      );
      expect(told.seen.refusals).toBe(0);
      // The time-out, and half as much for all else.
      expect(told.slowestOnTimeMs).toBeLessThan(1.5 * SHORT_MS);
      expect(told.moves.some((move) => move.includes('is back'))).toBe(true);
      for (const { storeMoves } of told.reports) expect(storeMoves.degraded).toBeGreaterThanOrEqual(1);
    },
    120_000,
  );

  it('is slow', async () => {
    const redis = await start();
    const wire = await startWireTo(redis.port);
    const told = await suffer({ url: wire.url, timeoutMs: SHORT_MS }, cleanups, async () => {
      wire.delayMs = 200;
      await pause(5_000);
      wire.delayMs = 0;
    });
    expectBorne(told, true);
  }, 120_000);

  it('resets its connections', async () => {
    const redis = await start();
    const wire = await startWireTo(redis.port);
    const told = await suffer({ url: wire.url, timeoutMs: TIMEOUT_MS }, cleanups, async () => {
      wire.cut();
      await pause(1_000);
    });
    expectBorne(told);
  }, 120_000);

  it('forgets its scripts', async () => {
    const redis = await start();
    const told = await suffer({ url: redis.url, timeoutMs: TIMEOUT_MS }, cleanups, async () => {
      await redis.connect().script('FLUSH');
    });
    expectBorne(told);
  }, 120_000);

  it('becomes a replica that cannot be written to', async () => {
    const redis = await start();
    const other = await start();
    const told = await suffer({ url: redis.url, timeoutMs: TIMEOUT_MS }, cleanups, async () => {
      const admin = redis.connect();
      await admin.replicaof('127.0.0.1', other.port);
      await pause(4_000);
      await admin.replicaof('NO', 'ONE');
    });
    expectBorne(told, true);
  }, 120_000);
});
