/**
 * How deep a bucket is, as a share of its limit per minute. It is not documented, and it decides how much may go at once.
 *
 * A depth that is configured is taken at its word. One that is not is found out from below: it starts at a
 * second's refill, the shallowest that the documentation speaks of, and grows while the bucket holds calls up. The
 * growth is itself a bit more than the refill let through, so where the true depth is passed the excess is a
 * few calls in a hundred, and the first refusal comes before many of them are on their way; a guess from above
 * would be found wrong by a volley of refusals. After a refusal the depth is what had been used when it came, and is
 * tried again later and more seldom each time.
 */
const SHALLOWEST = 1 / 60;
/** Growth, as a share of a minute for each millisecond under pressure: a quarter of the refill on top of it. */
const SLOW = 0.25 / 60_000;
/** The same where headers show more than we believe in. */
const FAST = 0.5 / 60_000;
/** Longest time between two looks that counts as pressure all the while. */
const PRESSED_MS = 1_000;
/** A refusal ends growth for this long, and twice as long each time after it. */
const RETRY_MS = 10 * 60_000;
const MOST_RETRY_MS = 24 * 3_600_000;
/** Growth that was found to be none rests for this long. */
const REST_MS = 10_000;
/** How long a header that shows more than we believe in is news. */
const NEWS_MS = 2_000;
/** Of the depth that was found too large: what is kept clear of it. */
const CLEAR = 0.9;

export class Depth {
  #share: number;
  #configured: number | undefined;
  readonly #least: number;
  #pressedAt = Number.NEGATIVE_INFINITY;
  #deeperAt = Number.NEGATIVE_INFINITY;
  #growsFrom: number;
  #retryMs = RETRY_MS;
  #refusedAt = Number.NEGATIVE_INFINITY;

  constructor(configured: number | undefined, perMinute: number, now: number) {
    // A bucket that cannot hold one request would let none through.
    this.#least = Math.min(1, 1 / perMinute);
    this.#configured = configured;
    this.#share = Math.max(this.#least, configured ?? SHALLOWEST);
    this.#growsFrom = now;
  }

  get share(): number {
    return this.#share;
  }

  configure(configured: number | undefined): void {
    if (configured === this.#configured) return;
    this.#configured = configured;
    if (configured !== undefined) this.#share = Math.max(this.#least, configured);
  }

  /** A call is held up. The share by which the depth has grown. */
  pressed(now: number): number {
    const ms = now - this.#pressedAt;
    const most = this.#configured ?? 1;
    if (ms < 10 && ms >= 0) return 0;
    this.#pressedAt = now;
    if (now < this.#growsFrom || this.#share >= most || ms > PRESSED_MS) return 0;
    const before = this.#share;
    const speed = now - this.#deeperAt < NEWS_MS ? FAST : SLOW;
    this.#share = Math.min(most, before + speed * ms);
    return this.#share - before;
  }

  /** A full bucket showed this share. True where that is less than it was taken for. */
  isAtMost(share: number): boolean {
    if (share >= this.#share) return false;
    this.#share = Math.max(this.#least, share);
    return true;
  }

  /** A depth that was tried out was not there. True where it is given up by as much. */
  tookTooMuch(share: number, now: number): boolean {
    this.#growsFrom = Math.max(this.#growsFrom, now + REST_MS);
    if (this.#configured !== undefined) return false;
    this.#share = Math.max(this.#least, SHALLOWEST, this.#share - share);
    return true;
  }

  /** A response showed that so much remained. True where the depth was taken for less. */
  isAtLeast(share: number): boolean {
    const depth = Math.min(share, this.#configured ?? 1);
    if (depth <= this.#share) return false;
    this.#share = depth;
    return true;
  }

  seenDeeper(now: number): void {
    this.#deeperAt = now;
  }

  /** The bucket was empty after `used` of a minute's limit. False where the refusal is one of a volley that is known. */
  refused(used: number, sentAt: number, now: number): boolean {
    const isKnown = sentAt <= this.#refusedAt;
    this.#refusedAt = now;
    if (isKnown) return false;
    this.#share = Math.max(this.#least, Math.min(this.#share, used * CLEAR));
    this.#growsFrom = now + this.#retryMs;
    this.#retryMs = Math.min(MOST_RETRY_MS, this.#retryMs * 2);
    return true;
  }
}
