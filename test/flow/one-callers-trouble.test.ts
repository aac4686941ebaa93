import { describe, it } from 'vitest';
import { aloneGovernor, expectUnmoved, playTrouble, TROUBLE_SCENES } from '../support/trouble-scenes.ts';

/** Scenes of the table; the others, all of both kinds, and a fleet are in fleet/one-callers-trouble.long.test.ts. */
const TABLE = 13;

describe('one caller moves nobody else, before an API that answers everybody else well', () => {
  // JSON and streams take turns.
  it.each(TROUBLE_SCENES.slice(0, TABLE).map((scene, n) => ({ ...scene, isStream: n % 2 === 1 })))(
    'by $what',
    async (scene) => {
      const { ends } = await playTrouble(scene, { ...scene, makeGovernors: aloneGovernor });
      expectUnmoved(scene, ends);
    },
  );
});
