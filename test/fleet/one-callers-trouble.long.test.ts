import { type ConfigInput, createGovernor } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts';
import { aloneGovernor, expectUnmoved, playTrouble, TROUBLE_SCENES } from '../support/trouble-scenes.ts';

const PROCESSES = 4;

describe.each([
  ['JSON', false],
  ['streams', true],
] as const)('one caller moves nobody else by %s', (_, isStream) => {
  it.each(TROUBLE_SCENES)('in one process: $what', async (scene) => {
    const { ends } = await playTrouble(scene, { isStream, makeGovernors: aloneGovernor });
    expectUnmoved(scene, ends);
  });

  describe.skipIf(noRedis())('in a fleet', () => {
    let redis: RedisServer;
    let fleets = 0;
    beforeAll(async () => {
      redis = await startRedis({ own: true });
    });
    afterAll(() => redis.stop());

    it.each(TROUBLE_SCENES)('of four: $what', async (scene) => {
      const prefix = `fleet ${fleets++}`;
      const makeGovernors = (config: ConfigInput) =>
        Array.from({ length: PROCESSES }, () =>
          createGovernor({
            config,
            store: redisStore({ client: redis.connect(), prefix, timeoutMs: 1_000 }),
            logger: { info() {}, warn() {}, error() {} },
          }),
        );
      const { ends } = await playTrouble(scene, { isStream, makeGovernors });
      expectUnmoved(scene, ends, scene.fleetLooks);
    });
  });
});
