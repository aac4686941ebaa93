import type { ConfiguredLimits, Store } from '@headgate/core';
import type { SetClock } from '../clocked.ts';
import { LANES } from '../commands.ts';
import type { Action } from './actions.ts';
import type { Said } from './history.ts';
import { HonestProcess } from './honest.ts';
import { judge } from './judge.ts';

/** A fleet of honest processes on one store: each answer is held against all that was said before. */
export class Fleet {
  readonly history: Said[] = [];
  readonly processes: readonly HonestProcess[];
  readonly #clock: SetClock;
  readonly #store: Store;

  constructor(store: Store, clock: SetClock, configured: readonly ConfiguredLimits[]) {
    this.#store = store;
    this.#clock = clock;
    this.processes = configured.map((limits, n) => new HonestProcess(`process-${n}`, limits));
  }

  async act(next: Action): Promise<void> {
    const now = this.#clock.at;
    if (next.type === 'pass') {
      this.#clock.at += next.ms;
      return;
    }
    const process = this.processes[next.process];
    if (process === undefined) return;
    if (next.type === 'again') return this.#again(process);
    if (next.type === 'come') for (const call of next.calls) process.come(call, now);
    if (next.type === 'end')
      for (let ended = 0; ended < next.calls; ended++) process.end(next.nth, next.share);
    if (next.type === 'leave') process.leave(next.nth, now);
    if (next.type === 'pause') process.event({ type: 'pause', ms: next.ms });
    if (next.type === 'endPause') process.event({ type: 'endPause' });
    if (next.type === 'configure') process.configure(next.limits);
    await this.ask(process);
  }

  async ask(process: HonestProcess): Promise<void> {
    const exchange = process.say(this.#clock.at, LANES);
    const answer = await this.#store.exchange('bucket', exchange);
    this.history.push({ at: this.#clock.at, exchange, answer });
    judge(this.history);
    process.heard(answer, exchange);
  }

  /** What was said is said again: the answer is the same, and whatever comes after is as if it had not been. */
  async #again({ said, name }: HonestProcess): Promise<void> {
    if (said === undefined) return;
    const first = this.history.findLast(({ exchange }) => exchange === said)?.answer;
    const answer = await this.#store.exchange('bucket', said);
    if (JSON.stringify(answer) !== JSON.stringify(first))
      throw new Error(`${name} is told otherwise when it says it again`);
  }
}
