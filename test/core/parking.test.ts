import { expect, it } from 'vitest';
import { gate } from '../support/gate.ts';

it('serves calls that a quota has parked first come, first served', async () => {
  const { ask, done, clock } = gate({
    account: [{ name: 's', models: ['*'], requestsPerMinute: 60_000 }],
    lanes: { only: { maxWait: '10m' } },
    quotas: [{ name: 'slot', concurrency: 1, onExceed: 'wait' }],
  });
  const order: number[] = [];
  const running = [await ask('ada')];
  for (let i = 0; i < 50; i++)
    void ask('ada').then((granted) => {
      order.push(i);
      running.push(granted);
    });
  for (let i = 0; i < 60; i++) {
    const granted = running.shift();
    if (granted !== undefined) done(granted);
    await clock.advance(10);
  }
  expect(order).toEqual(Array.from({ length: 50 }, (_, i) => i));
});
