import type { Clock, Timer } from './clock.ts';

/**
 * Keeps the process alive while somebody waits for us. No timer of ours does: a script whose every call waits in a queue,
 * or for a batch, would end in the midst of it. One handle for all, however many wait.
 */
export class Alive {
  readonly #clock: Clock;
  #waiting = 0;
  #held: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Somebody waits. */
  hold(): void {
    if (this.#waiting++ === 0) this.#held = this.#clock.hold?.();
  }

  /** One of them has what they waited for. */
  release(): void {
    if (--this.#waiting > 0) return;
    this.#held?.cancel();
    this.#held = undefined;
  }
}
