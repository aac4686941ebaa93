/**
 * How many calls an API takes at once that refuses the rest with a 429 and names no time: concurrent connections, and
 * every throttle of Bedrock and Vertex.
 *
 * *Down.* Calls that stay in flight when a refusal is back are what the API has taken; that number is the cap.
 * *Up.* After a round of calls that ended well, one call more than the cap is tried. An answer to it raises the cap, and the
 * next trial is of twice as many; a refusal leaves the cap, and the next trial comes after twice as many rounds.
 * *Rest.* An API that refuses a call which is alone is left alone, a quarter of a second at first and up to eight seconds.
 */
const MOST_ROUNDS = 16;
const FIRST_REST_MS = 250;
const LONGEST_REST_MS = 8_000;

export class RefusalCap {
  #limit = Number.POSITIVE_INFINITY;
  /** When a call was last refused: those sent before say nothing of the cap as it is now. */
  #refusedAt = Number.NEGATIVE_INFINITY;
  /** Calls above the cap that the next trial sends. */
  #step = 1;
  /** Rounds between two trials. */
  #rounds = 1;
  /** Calls that are to end before the next trial. */
  #due = 0;
  #restMs = FIRST_REST_MS;
  #restUntil = Number.NEGATIVE_INFINITY;

  /** Calls that may be in flight; infinite where nothing was refused. */
  get limit(): number {
    return this.#limit;
  }

  hasRoom(active: number): boolean {
    return active < (this.#due > 0 ? this.#limit : this.#limit + this.#step);
  }

  /** Milliseconds for which nothing is sent at all. */
  restsMs(now: number): number {
    return Math.max(0, this.#restUntil - now);
  }

  /** A call that was one of `among` in flight went above the cap to see whether the API takes more. */
  isTrial(among: number): boolean {
    return among > this.#limit;
  }

  /** A call sent at `sentAt` as one of `among` was refused; `active` others are still in flight. */
  refused(sentAt: number, among: number, active: number, now: number): void {
    const isOfKnownVolley = sentAt <= this.#refusedAt;
    if (active === 0 && !isOfKnownVolley) {
      this.#restUntil = now + this.#restMs;
      this.#restMs = Math.min(LONGEST_REST_MS, 2 * this.#restMs);
    }
    if (!isOfKnownVolley && this.isTrial(among)) {
      this.#step = 1;
      this.#rounds = Math.min(MOST_ROUNDS, 2 * this.#rounds);
    } else {
      this.#limit = Math.max(1, Math.min(this.#limit, active));
      if (!isOfKnownVolley) this.#rounds = 1;
    }
    this.#due = this.#rounds * this.#limit;
    this.#refusedAt = Math.max(this.#refusedAt, now);
  }

  /** A call sent at `sentAt` as one of `among` was answered. */
  answered(sentAt: number, among: number): void {
    this.#restMs = FIRST_REST_MS;
    if (sentAt <= this.#refusedAt || among <= this.#limit || !Number.isFinite(this.#limit)) return;
    this.#limit = among;
    this.#step = Math.max(1, Math.min(2 * this.#step, Math.floor(this.#limit / 2)));
    this.#rounds = Math.max(1, this.#rounds / 2);
    this.#due = this.#limit;
  }

  /** A call sent at `sentAt` has ended. */
  ended(sentAt: number): void {
    if (sentAt > this.#refusedAt && this.#due > 0) this.#due--;
  }

  /** As if nothing had been refused. */
  forget(): void {
    this.#limit = Number.POSITIVE_INFINITY;
    this.#refusedAt = Number.NEGATIVE_INFINITY;
    this.#step = 1;
    this.#rounds = 1;
    this.#due = 0;
    this.#restMs = FIRST_REST_MS;
    this.#restUntil = Number.NEGATIVE_INFINITY;
  }
}
