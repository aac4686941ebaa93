import { setImmediate } from 'node:timers/promises';
import type { Clock } from '@headgate/core';

/** A clock that stands still until it is told to go on. */
export interface ManualClock extends Clock {
  /**
   * Moves on by `ms`, running what falls due on the way: in order of time, first come first served at the
   * same instant, timers set meanwhile included. Pending promises and I/O callbacks get a turn of the event
   * loop before and after each. Rejects with the error of a timer that throws. A call made while another is
   * under way starts when that has finished.
   */
  advance(ms: number): Promise<void>;
  /** Timers neither fired nor cancelled. */
  pending(): number;
}

interface Waiting {
  readonly dueAt: number;
  readonly fn: () => void;
}

/** 2026-01-01T00:00:00Z */
const START_WALL = 1_767_225_600_000;

export interface ManualClockOptions {
  /**
   * Turns of the event loop after each timer, before time goes on. One is enough for promises. A call over
   * loopback takes about four: with 12, a call that a timer makes is answered at the time of that timer.
   * @default 1
   */
  readonly turns?: number;
}

/** @param startWall what `wall()` says at first, in ms since the epoch. `now()` begins at 0. */
export function manualClock(startWall: number = START_WALL, options: ManualClockOptions = {}): ManualClock {
  const { turns = 1 } = options;
  let now = 0;
  let last: Promise<void> = Promise.resolve();
  /** By due time; equal times in the order in which they were set. */
  const waiting: Waiting[] = [];

  async function settle(): Promise<void> {
    for (let turn = 0; turn < turns; turn += 1) await setImmediate();
  }

  async function run(until: number): Promise<void> {
    await settle();
    for (let next = waiting[0]; next !== undefined && next.dueAt <= until; next = waiting[0]) {
      waiting.shift();
      now = next.dueAt;
      next.fn();
      await settle();
    }
    now = until;
  }

  return {
    now: () => now,
    wall: () => startWall + now,
    after(ms, fn) {
      const timer: Waiting = { dueAt: now + Math.max(1, ms), fn };
      waiting.splice(placeFor(waiting, timer.dueAt), 0, timer);
      return {
        cancel() {
          const index = waiting.indexOf(timer);
          if (index >= 0) waiting.splice(index, 1);
        },
      };
    },
    advance(ms) {
      const turn = last.then(() => run(now + Math.max(0, ms)));
      last = turn.catch(() => undefined);
      return turn;
    },
    pending: () => waiting.length,
  };
}

/** Where a timer goes: behind every one that is due no later. */
function placeFor(waiting: readonly Waiting[], dueAt: number): number {
  let low = 0;
  let high = waiting.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((waiting[middle]?.dueAt ?? 0) <= dueAt) low = middle + 1;
    else high = middle;
  }
  return low;
}
