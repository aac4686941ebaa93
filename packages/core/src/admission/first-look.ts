/**
 * With no limit known, calls go one at a time until a response tells the limits. A look that taught nothing, since its call
 * failed, makes way for another caller at once; its own caller waits for the rest of a second. One that goes on for longer
 * than a second is not waited for.
 */
const LOOK_MS = 1_000;

export class FirstLook {
  /** Whose look was the last. */
  caller: string | undefined;
  #at = Number.NEGATIVE_INFINITY;
  #isOver = false;

  /** Milliseconds until a call of the caller may go. */
  waitMs(caller: string, now: number): number {
    if (this.#isOver && caller !== this.caller) return 0;
    return Math.max(0, this.#at + LOOK_MS - now);
  }

  started(caller: string, now: number): void {
    this.caller = caller;
    this.#at = now;
    this.#isOver = false;
  }

  /** A call is over that was sent at `at`. `isUnsent`: the API has not seen it, and it is as if it had never been made. */
  ended(at: number, isUnsent: boolean): void {
    if (at !== this.#at) return;
    this.#isOver = true;
    if (isUnsent) this.#at = Number.NEGATIVE_INFINITY;
  }
}
