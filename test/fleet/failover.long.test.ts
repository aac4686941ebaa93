import { afterEach, describe, expect, it } from 'vitest';
import { noRedis } from '../support/redis.ts';
import { pause } from './harness.ts';
import { infoOf, MASTER, startReplicaOf, startSentinelOf, startServer, untilIs } from './replicas.ts';
import { expectBorne, suffer } from './suffer.ts';
import { startWire, type Wire } from './wire.ts';

const TIMEOUT_MS = Number(process.env.FLEET_TIMEOUT_MS ?? 250);

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const startWireTo = async (port: number): Promise<Wire> => {
  const wire = await startWire(port);
  cleanups.push(() => wire.stop());
  return wire;
};

describe.skipIf(noRedis())('a fleet whose Redis fails over', () => {
  it('to a replica that has lost the last second', async () => {
    const master = await startServer(cleanups);
    const between = await startWireTo(master.port);
    const replica = await startReplicaOf(between.port, cleanups);
    const wire = await startWireTo(master.port);
    const [masterClient, replicaClient] = [master.connect(), replica.connect()];
    const told = await suffer({ url: wire.url, timeoutMs: TIMEOUT_MS }, cleanups, async () => {
      between.isBlocked = true;
      await pause(1_000);
      const [written, had] = await Promise.all([
        infoOf(masterClient, 'master_repl_offset'),
        infoOf(replicaClient, 'master_repl_offset'),
      ]);
      // Else it would be a test of nothing lost.
      expect(Number(had)).toBeLessThan(Number(written));
      console.log({ bytesLost: Number(written) - Number(had) });
      await master.stop();
      await replicaClient.replicaof('NO', 'ONE');
      wire.target = replica.port;
      wire.cut();
    });
    expectBorne(told);
  }, 120_000);

  it.each(['ends', 'stands still'] as const)(
    'as a sentinel says, when its master %s',
    async (what) => {
      const master = await startServer(cleanups);
      const replica = await startReplicaOf(master.port, cleanups);
      const sentinel = await startSentinelOf(master.port, replica.port, cleanups);
      const told = await suffer(
        {
          url: '',
          timeoutMs: TIMEOUT_MS,
          sentinels: {
            sentinels: [{ host: '127.0.0.1', port: sentinel.port }],
            name: MASTER,
            // A connection to a master that stands still is given up.
            socketTimeout: 1_000,
          },
        },
        cleanups,
        async () => {
          if (what === 'ends') await master.stop();
          else master.process?.kill('SIGSTOP');
          await untilIs(replica, 'role', 'master');
        },
      );
      expectBorne(told, true);
    },
    120_000,
  );
});
