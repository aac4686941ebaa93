/**
 * The pauses that 429s ask for: one for everybody who draws on a bucket.
 *
 * Where the bucket was empty, the first call after a pause goes alone for as long as a refusal takes to come back: was
 * the pause too short, one call learns it for all, and the next pause is twice as long as asked for, then four times,
 * then eight.
 */
const ALONE_MS = 250;
const MOST_STRIKES = 3;

export class Pauses {
  #until = Number.NEGATIVE_INFINITY;
  /** Set when a pause begins: the next call is the first after it. */
  #isFirst = false;
  #aloneUntil = Number.NEGATIVE_INFINITY;
  /** Pauses that were found too short, one after the other. */
  #strikes = 0;

  get until(): number {
    return this.#until;
  }

  /** Milliseconds until a call may go, as far as pauses are concerned. */
  waitMs(now: number): number {
    return Math.max(0, (now < this.#until ? this.#until : this.#aloneUntil) - now);
  }

  /** A call goes. */
  sent(now: number): void {
    if (!this.#isFirst) return;
    this.#isFirst = false;
    this.#aloneUntil = now + ALONE_MS;
  }

  /** The API asks for a pause until `until`; a later word never shortens an earlier one. `isEmpty`: a bucket was. */
  begin(until: number, isEmpty: boolean, now: number): void {
    // Refusals of a volley that was under way say nothing of the pause, nor does one that shows room.
    if (isEmpty && now < this.#aloneUntil) this.#strikes = Math.min(MOST_STRIKES, this.#strikes + 1);
    else if (now >= this.#until) this.#strikes = 0;
    this.#until = Math.max(this.#until, now + (until - now) * 2 ** this.#strikes);
    this.#isFirst ||= isEmpty;
    this.#aloneUntil = Number.NEGATIVE_INFINITY;
  }

  /** An operator knows better. */
  end(): void {
    this.#until = Number.NEGATIVE_INFINITY;
    this.#isFirst = false;
    this.#aloneUntil = Number.NEGATIVE_INFINITY;
    this.#strikes = 0;
  }
}
