/** How long it takes to learn what another consumer takes: three times the age of an observation keeps it from swinging. */
const DRIFT_MS = 2_500;
/** Share of the refill that can be put down to others: some is always tried, or nothing would ever be learned again. */
const MOST_SHARE = 0.95;
/** Refill, in milliseconds, by which one response moves a belief at most, and never more than of the time since the last. */
const MOST_AT_ONCE_MS = 1_000;
/**
 * In this time at the least and at the most, and that of a response's age before, what was missing at a refusal is
 * taken to have been used by others.
 */
const LEAST_BLAMED_MS = 2_000;
const MOST_BLAMED_MS = 5_000;
/** How long what was learned from a refusal is kept to. */
const TRUST_MS = 10_000;
/** In this time without a response that shows anything, what others are thought to take halves. */
const UNSEEN_MS = 10_000;
/** Share of the rate that is nothing. */
const DUST = 1e-3;

/**
 * What other consumers of the account take of one limit, in tokens a millisecond: what observations take off, again and
 * again, somebody else takes. It is unlearned the same way, by observations that raise, and where nothing is seen.
 * `ratePerMs` is the refill of the whole limit.
 */
export class Others {
  #perMs = 0;
  #observedAt: number;
  #blamedAt = Number.NEGATIVE_INFINITY;
  #fadedAt = 0;

  constructor(now: number) {
    this.#observedAt = now;
  }

  get perMs(): number {
    return this.#perMs;
  }

  /** The most that a response at `now` moves a belief by: bit by bit, or everything that waits would go at once. */
  mostAtOnce(ratePerMs: number, now: number): number {
    return ratePerMs * Math.min(MOST_AT_ONCE_MS, now - this.#observedAt);
  }

  /** A response has shown `missing` less than was thought, that nobody is known to have taken: less than nothing where it `isMore`. */
  observed(missing: number, isMore: boolean, ratePerMs: number, now: number): void {
    // A jump has a cause of its own; what others take comes in bit by bit.
    const most = this.mostAtOnce(ratePerMs, now);
    this.#observedAt = now;
    // After a refusal the level is set low on purpose: raising it says nothing of the others.
    if (isMore && now - this.#blamedAt < TRUST_MS) return;
    const step = Math.max(-most, Math.min(most, missing)) / DRIFT_MS;
    this.#perMs = Math.max(0, Math.min(ratePerMs * MOST_SHARE, this.#perMs + step));
  }

  /**
   * A request sent at `sentAt` was refused where `left` was thought to be: somebody has taken it, how fast is told by how
   * long we have been right before. False where this says nothing new. `age`: of what responses show, in milliseconds.
   */
  blamed(left: number, sentAt: number, age: number, ratePerMs: number, now: number): boolean {
    if (left <= 0 || sentAt <= this.#blamedAt) return false;
    const ms = age + Math.min(MOST_BLAMED_MS, Math.max(LEAST_BLAMED_MS, now - this.#blamedAt));
    this.#blamedAt = now;
    this.#perMs = Math.min(ratePerMs * MOST_SHARE, this.#perMs + left / ms);
    return true;
  }

  /** Where nothing is shown, what others take is no longer known: some of it is tried. False where nothing has changed. */
  fade(shownAt: number, ratePerMs: number, now: number): boolean {
    const since = Math.max(shownAt, this.#fadedAt);
    if (this.#perMs === 0 || now - since < UNSEEN_MS) return false;
    const rest = this.#perMs * 0.5 ** ((now - since) / UNSEEN_MS);
    this.#fadedAt = now;
    this.#perMs = rest < DUST * ratePerMs ? 0 : rest;
    return true;
  }

  /** Of a limit that is another now. */
  boundBy(ratePerMs: number): void {
    this.#perMs = Math.min(this.#perMs, ratePerMs * MOST_SHARE);
  }
}
