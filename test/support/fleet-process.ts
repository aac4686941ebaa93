import { type Board, memoryStore } from '@headgate/core';
import { type ManualClock, manualClock } from '@headgate/testing';
import { Alarms } from '../../packages/core/src/alarms.ts';
import { Breakers } from '../../packages/core/src/attempts/breakers.ts';
import { openTopics } from '../../packages/core/src/attempts/topics.ts';
import { Estimator } from '../../packages/core/src/estimate/estimator.ts';

export interface FleetProcess {
  readonly name: string;
  readonly breakers: Breakers;
  readonly estimator: Estimator;
  readonly alarms: Alarms;
  /** How its breakers moved. */
  readonly moves: string[];
  close(): Promise<void>;
}

export interface Fleet {
  readonly clock: ManualClock;
  readonly board: Board;
  /** All notices, as they were put up. */
  readonly notices: { readonly topic: string; readonly process: string; readonly notice: string }[];
  /** A further process. */
  join(options?: { name?: string; accounts?: readonly string[] }): Promise<FleetProcess>;
}

/** Processes that share a notice board and nothing else, on one manual clock. */
export function startFleet(): Fleet {
  const clock = manualClock();
  const memory = memoryStore({ clock }).board as Board;
  const notices: { topic: string; process: string; notice: string }[] = [];
  const board: Board = {
    ...memory,
    async post(topic, process, notice, ttlMs) {
      notices.push({ topic, process, notice });
      await memory.post(topic, process, notice, ttlMs);
    },
  };
  let count = 0;
  return {
    clock,
    board,
    notices,
    async join({ name = `process ${count++}`, accounts = ['default'] } = {}) {
      const moves: string[] = [];
      const alarms = new Alarms(clock);
      const estimator = new Estimator(() => clock.now());
      const breakers = new Breakers(
        clock,
        () => 1 - 1e-9,
        (_, state) => void moves.push(state),
      );
      const topics = openTopics({
        board,
        process: name,
        alarms,
        clock,
        breakers,
        estimator,
        accounts: () => accounts,
      });
      await clock.advance(1);
      return { name, breakers, estimator, alarms, moves, close: () => topics.close() };
    },
  };
}
