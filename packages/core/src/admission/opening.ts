/**
 * How many calls may be in flight before the API has shown what it bears: slow start. A bucket that nobody has used lets
 * 16 calls out at once. It lets out twice as many once 300 ms have passed without a refusal, and twice as many
 * as were in flight when an answered call was sent. So an API that takes four calls at once refuses twelve of a cold burst and not
 * hundreds, and an API that takes all of them has a burst of 500 within 1.5 s.
 */
const FIRST = 16;
/** A refusal comes back sooner than this, in milliseconds. */
const WIDEN_MS = 300;
/** The window is widened by this factor. */
const FACTOR = 2;
/** A window so wide limits nothing any more. */
const OPEN = 1_024;

export class Opening {
  #window = FIRST;
  /** When the window was first full since it was widened. */
  #fullAt: number | undefined;

  /** Milliseconds until one more call may go; 0 where it may go now. */
  waitMs(active: number, now: number): number {
    while (active >= this.#window) {
      this.#fullAt ??= now;
      const leftMs = this.#fullAt + WIDEN_MS - now;
      if (leftMs > 0) return leftMs;
      this.#widen(FACTOR * this.#window);
    }
    return 0;
  }

  /** A call was answered that was one of `among` in flight when it was sent. */
  answered(among: number): void {
    if (FACTOR * among > this.#window) this.#widen(FACTOR * among);
  }

  #widen(window: number): void {
    this.#window = window >= OPEN ? Number.POSITIVE_INFINITY : window;
    this.#fullAt = undefined;
  }

  /** What was borne long ago says nothing of now. */
  restart(): void {
    this.#widen(FIRST);
  }
}
