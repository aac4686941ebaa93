/**
 * How fast use may grow. The API has a limit of that too, says nowhere what it is, and refuses with plenty left in every
 * bucket. So nothing is held back until it has done so once. Then:
 *
 * *Halve, and grow by a little.* What was let through in the second before the refusal is as much as was borne: the
 * requests sent, less those refused. Half of that is the pace, and a tenth of the limit at the first refusal at the
 * least: of a service with little to do it says nothing that it sent little. After the pause that the API asks for,
 * calls go at the pace, evenly; and it grows by a twentieth of the limit in ten seconds, for as long as it is all that
 * holds calls up. It does not end at the limit: what a deep bucket has saved up would go at once then, and that is
 * growth too. It ends when it has not been felt for a minute.
 *
 * *Start slowly.* From then on a start out of the cold is held to twice the most of any second of the last minute, and
 * to a tenth of the limit where that is more: full speed is four doublings away.
 *
 * A refusal of a request that was sent before the last slowing-down slows nothing further: it only corrects how many
 * were borne.
 */
const DECREASE = 0.5;
const GROWTH = 0.05;
const GROWTH_MS = 10_000;
const COLD_SHARE = 0.1;
const COLD_FACTOR = 2;
/** What was sent is counted by slices of so long, over a minute. */
const SLICE_MS = 1_000;
const SLICES = 60;
/** The pace binds that has held a call up so lately. */
const BINDS_MS = 1_000;
/** One that has held nobody up for so long is no more. */
const UNFELT_MS = 60_000;
/** What may go at once, in milliseconds of the pace. */
const BURST_MS = 100;
/** The slowest pace, in requests per millisecond: one a second, so that something is always tried. */
const LEAST_PACE = 1 / 1_000;

export class Ramp {
  /** Requests of each second of the last minute, by its number. */
  readonly #sent = new Map<number, number>();
  /** The most of a second in the last minute, as of that second. */
  #peak = { slice: Number.NaN, count: 0 };
  #pace = Number.POSITIVE_INFINITY;
  #isTripped = false;
  /** Of the second before the refusal that slowed us down: requests that were borne, as far as is known. */
  #borne = 0;
  /** No slower than this, whatever was borne. */
  #floor = 0;
  #slowedAt = Number.NEGATIVE_INFINITY;
  #level = 0;
  #at = 0;
  /** When calls were last held up by nothing but the pace. */
  #boundAt = Number.NEGATIVE_INFINITY;

  /** A request leaves. */
  sent(now: number): void {
    const slice = Math.floor(now / SLICE_MS);
    const count = (this.#sent.get(slice) ?? 0) + 1;
    this.#sent.set(slice, count);
    this.#peak.count = Math.max(this.#peak.count, count);
    if (this.#sent.size > SLICES) this.#forget(slice);
    // Who passes without asking, as in shadow, must not hold up for long who asks.
    if (this.#isTripped) this.#level = Math.max(-1, this.#level - 1);
  }

  /**
   * The API refused a request sent at `sentAt` for the growth of use, and asks for a pause until `until`. `limitPerMs`:
   * what the bucket allows, where that is known.
   */
  refused(sentAt: number, until: number, limitPerMs: number | undefined, now: number): void {
    const slice = Math.floor(sentAt / SLICE_MS);
    this.#sent.set(slice, Math.max(0, (this.#sent.get(slice) ?? 0) - 1));
    this.#peak.slice = Number.NaN;
    if (sentAt <= this.#slowedAt) {
      this.#borne = Math.max(0, this.#borne - 1);
      this.#slowTo(limitPerMs);
      return;
    }
    this.#borne = this.#lastSecond(now);
    this.#floor = Number.isFinite(this.#pace) ? DECREASE * this.#pace : COLD_SHARE * (limitPerMs ?? 0);
    this.#isTripped = true;
    this.#slowedAt = now;
    this.#slowTo(limitPerMs);
    this.#level = 0;
    this.#at = until;
  }

  #slowTo(limitPerMs: number | undefined): void {
    const pace = DECREASE * Math.min(this.#borne / SLICE_MS, limitPerMs ?? Number.POSITIVE_INFINITY);
    this.#pace = Math.max(LEAST_PACE, this.#floor, pace);
  }

  /** Milliseconds until the next request may go, as far as growth is concerned. */
  waitMs(limitPerMs: number | undefined, now: number): number {
    if (!this.#isTripped) return 0;
    const pace = this.#refill(limitPerMs, now);
    if (this.#level >= 1 || pace === Number.POSITIVE_INFINITY) return 0;
    this.#boundAt = now;
    return (1 - this.#level) / pace + Math.max(0, this.#at - now);
  }

  /** Brings the level up to now, and gives the pace. */
  #refill(limitPerMs: number | undefined, now: number): number {
    const limit = limitPerMs ?? Number.POSITIVE_INFINITY;
    const ms = Math.max(0, now - this.#at);
    if (now - this.#boundAt < BINDS_MS && Number.isFinite(this.#pace)) {
      const by = Number.isFinite(limit) ? limit : this.#pace;
      this.#pace += (GROWTH * by * ms) / GROWTH_MS;
    }
    if (this.#pace >= limit && now - this.#boundAt > UNFELT_MS) this.#pace = Number.POSITIVE_INFINITY;
    const pace = Math.min(this.#pace, this.#coldPace(limit, now));
    this.#at = Math.max(this.#at, now);
    const most = Math.max(1, pace * BURST_MS);
    this.#level = pace === Number.POSITIVE_INFINITY ? most : Math.min(most, this.#level + pace * ms);
    return pace;
  }

  #coldPace(limit: number, now: number): number {
    if (!Number.isFinite(limit)) return Number.POSITIVE_INFINITY;
    const slice = Math.floor(now / SLICE_MS);
    if (slice !== this.#peak.slice) {
      this.#forget(slice);
      this.#peak = { slice, count: Math.max(0, ...this.#sent.values()) };
    }
    return Math.max(COLD_SHARE * limit, (COLD_FACTOR * this.#peak.count) / SLICE_MS);
  }

  /** Requests of the second that ends now: of the slice before the share that it still covers. */
  #lastSecond(now: number): number {
    const slice = Math.floor(now / SLICE_MS);
    const share = 1 - (now / SLICE_MS - slice);
    return (this.#sent.get(slice) ?? 0) + share * (this.#sent.get(slice - 1) ?? 0);
  }

  #forget(slice: number): void {
    for (const old of this.#sent.keys()) {
      if (old > slice - SLICES) break;
      this.#sent.delete(old);
    }
  }

  /** The pace, in requests per millisecond, where there is one. */
  get pacePerMs(): number | undefined {
    return Number.isFinite(this.#pace) ? this.#pace : undefined;
  }

  /** An operator knows better. */
  reset(): void {
    this.#pace = Number.POSITIVE_INFINITY;
    this.#isTripped = false;
  }
}
