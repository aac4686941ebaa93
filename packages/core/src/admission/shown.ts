/** In this time the most that was shown counts for half. */
const HALF_LIFE_MS = 10 * 60_000;

/** What responses have shown to remain of a limit: the most, what was shown long ago counting for less. */
export class Shown {
  #most = 0;
  #at = 0;

  get most(): number {
    return this.#most;
  }

  /** When something was last shown. */
  get at(): number {
    return this.#at;
  }

  /** Notes what is shown now. True where it is as much as ever, but for `slack`. */
  note(remaining: number, slack: number, now: number): boolean {
    const isAsMuchAsEver = remaining >= this.#most - slack;
    this.#most = Math.max(remaining, this.#most * 0.5 ** ((now - this.#at) / HALF_LIFE_MS));
    this.#at = now;
    return isAsMuchAsEver;
  }

  /** What was shown of another bucket says nothing of this one. */
  forget(): void {
    this.#most = 0;
  }
}
