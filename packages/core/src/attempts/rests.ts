import type { Alarms } from '../alarms.ts';
import type { Clock } from '../clock.ts';
import type { Slices } from '../slices.ts';
import { sleep } from './signals.ts';

/**
 * Calls that wait outside every queue: for their next attempt, or for the end of their caller's pause. A governor that closes ends
 * all waits, since there is no next attempt: the gate refuses it.
 */
export class Rests {
  readonly #alarms: Alarms;
  readonly #clock: Clock;
  readonly #slices: Slices;
  readonly #wakes = new Set<() => void>();
  #isClosed = false;

  constructor(alarms: Alarms, clock: Clock, slices: Slices) {
    this.#alarms = alarms;
    this.#clock = clock;
    this.#slices = slices;
  }

  /** Resolves after `ms`, or as soon as one of the signals is aborted or the governor is closed. */
  async rest(ms: number, signals: readonly AbortSignal[]): Promise<void> {
    if (this.#isClosed) return;
    await sleep(
      this.#slices,
      (wake) => {
        this.#wakes.add(wake);
        const timer = this.#alarms.set(this.#clock.now() + ms, wake, true);
        return {
          cancel: () => {
            this.#wakes.delete(wake);
            timer.cancel();
          },
        };
      },
      signals,
    );
  }

  close(): void {
    this.#isClosed = true;
    for (const wake of [...this.#wakes]) wake();
  }
}
