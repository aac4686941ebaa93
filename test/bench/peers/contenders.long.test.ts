import { expect, it } from 'vitest';
import { CONTENDERS } from './contenders/index.ts';
import { runContender, UNLIMITED } from './main.ts';

/** So short that the depth of the bucket carries nearly all of it: what fails here is the contender's own set-up. */
const SECONDS = 3;

it.each([...CONTENDERS.map(({ name }) => name), UNLIMITED])(
  '%s answers, within the limits or without',
  async (name) => {
    const { classes, status429, cpuMsPerAnswer, rss } = await runContender(name, SECONDS);
    for (const [callClass, { calls, answered }] of Object.entries(classes)) {
      expect(calls, callClass).toBeGreaterThan(5);
      if (callClass !== 'flooding') expect(answered / calls, callClass).toBeGreaterThan(0.9);
    }
    expect(status429).toBeLessThan(50);
    expect(cpuMsPerAnswer).toBeGreaterThan(0);
    expect(rss).toBeGreaterThan(10_000_000);
  },
  60_000,
);
