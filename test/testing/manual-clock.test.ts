import { manualClock } from '@headgate/testing';
import { expect, test } from 'vitest';

test('stands still until it is moved, and the wall with it', async () => {
  const clock = manualClock(1_000_000);
  expect([clock.now(), clock.wall()]).toEqual([0, 1_000_000]);
  await clock.advance(250);
  expect([clock.now(), clock.wall()]).toEqual([250, 1_000_250]);
});

test('runs timers in order of time, the first set first among equals, at their own time', async () => {
  const clock = manualClock();
  const ran: [string, number][] = [];
  const at = (name: string, ms: number) => clock.after(ms, () => ran.push([name, clock.now()]));
  at('late', 30);
  at('a', 20);
  at('b', 20);
  at('early', 10);
  at('never', 31);
  await clock.advance(30);
  expect(ran).toEqual([
    ['early', 10],
    ['a', 20],
    ['b', 20],
    ['late', 30],
  ]);
  expect(clock.pending()).toBe(1);
});

test('runs timers that timers set, and what promises set after them', async () => {
  const clock = manualClock();
  const ran: number[] = [];
  clock.after(10, async () => {
    clock.after(10, () => ran.push(clock.now()));
    await Promise.resolve();
    await Promise.resolve();
    clock.after(5, () => ran.push(clock.now()));
  });
  await clock.advance(20);
  expect(ran).toEqual([15, 20]);
});

test('a cancelled timer does not run, and cancelling is harmless', async () => {
  const clock = manualClock();
  const ran: string[] = [];
  const timer = clock.after(10, () => ran.push('x'));
  timer.cancel();
  timer.cancel();
  expect(clock.pending()).toBe(0);
  await clock.advance(10);
  const fired = clock.after(1, () => ran.push('y'));
  await clock.advance(1);
  fired.cancel();
  expect(ran).toEqual(['y']);
});

test('waits at least a millisecond, as the contract has it', async () => {
  const clock = manualClock();
  let ran = 0;
  clock.after(0, () => {
    ran = clock.now();
  });
  await clock.advance(0);
  expect(ran).toBe(0);
  await clock.advance(5);
  expect(ran).toBe(1);
});

test('two advances one after the other add up', async () => {
  const clock = manualClock();
  await Promise.all([clock.advance(10), clock.advance(10)]);
  expect(clock.now()).toBe(20);
});

test('an error in a timer is the advance’s own, and the clock goes on', async () => {
  const clock = manualClock();
  clock.after(5, () => {
    throw new Error('broken');
  });
  await expect(clock.advance(10)).rejects.toThrow('broken');
  await clock.advance(10);
  expect(clock.now()).toBe(15);
});
