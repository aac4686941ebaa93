import { type ConfigInput, createGovernor } from '@headgate/core';
import { redisStore } from '@headgate/redis';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts';
import {
  aloneGovernor,
  expectUnmoved,
  playTrouble,
  TROUBLE_SCENES,
  type TroubleScene,
} from '../support/trouble-scenes.ts';

const PROCESSES = 4;

/** The same scene without A and with it. */
async function playBoth(scene: TroubleScene, options: Parameters<typeof playTrouble>[1]): Promise<void> {
  const withoutA = await playTrouble(scene, { ...options, isWithoutA: true });
  const { ends } = await playTrouble(scene, options);
  expectUnmoved(scene, ends, withoutA.ends);
}

describe.each([
  ['JSON', false],
  ['streams', true],
] as const)('one caller moves nobody else by %s', (_, isStream) => {
  it.each(TROUBLE_SCENES)('in one process: $what', async (scene) => {
    await playBoth(scene, { isStream, makeGovernors: aloneGovernor });
  });

  describe.skipIf(noRedis())('in a fleet', () => {
    let redis: RedisServer;
    let fleets = 0;
    beforeAll(async () => {
      redis = await startRedis({ own: true });
    });
    afterAll(() => redis.stop());

    it.each(TROUBLE_SCENES)('of four: $what', async (scene) => {
      const makeGovernors = (config: ConfigInput) => {
        const prefix = `fleet ${fleets++}`;
        return Array.from({ length: PROCESSES }, () =>
          createGovernor({
            config,
            store: redisStore({ client: redis.connect(), prefix, timeoutMs: 1_000 }),
            logger: { info() {}, warn() {}, error() {} },
          }),
        );
      };
      await playBoth(scene, { isStream, makeGovernors });
    });
  });
});
