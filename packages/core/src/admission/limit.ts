import { type Bucket, fullBucket, levelAt, resize, take, waitFor } from './bucket.ts';
import { Depth } from './depth.ts';
import { ARRIVAL_JITTER_MS, spareOf, visibleOf } from './margins.ts';
import { Others } from './others.ts';
import type { Dimension } from './rate-headers.ts';
import { Shown } from './shown.ts';
import { Trail } from './trail.ts';

/**
 * One dimension of an upstream bucket as we believe it to be, kept true by what responses say.
 *
 * *Two ledgers.* What has been charged is off the level; what has been asked for and may turn out smaller is held
 * beside it, and only the level refills. Charging by estimate and giving back later would let the bucket refill, on our side, where the
 * real one was full and could not: each call near a full bucket would leave us a little above the truth.
 *
 * *Observations.* A response shows the level as it was at some moment between its request and its arrival. So it
 * contradicts us only where it lies outside everything that we believed in that time: if the lowest of our levels
 * then was above it, we are too high by at least the difference, and the level is lowered by that; past and
 * present alike, so that a second response of the same time finds nothing more to correct, in whichever order they come. If
 * the highest of our levels, with nothing of what is held taken, was below it, we are too low, and the level is raised;
 * but only by a response to a request that was sent after we were last found too high.
 *
 * *Other consumers.* What they take is learned (others.ts) and deducted from the refill.
 */

/** Token counts in headers are rounded to the nearest thousand. */
const ROUNDING = 500;
/** Of the age of responses, that the last one counts for. */
const AGE_FADE = 0.1;
export type LimitSource = 'configured' | 'learned' | 'probe';

export class Limit {
  readonly dimension: Dimension;
  readonly source: LimitSource;
  readonly depth: Depth;
  perMinute: number;
  #bucket: Bucket;
  #held = 0;
  readonly #trail: Trail;
  readonly #others: Others;
  /** What a depth that is tried out has added to the level, and nothing has spoken against yet. */
  #grown = 0;
  readonly #shown = new Shown();
  /** How old the requests of responses are, in milliseconds: what is known is as old as that at the most. */
  #age = 0;
  /** Requests sent before this say nothing that could raise the level. */
  #loweredAt = Number.NEGATIVE_INFINITY;

  constructor(
    dimension: Dimension,
    perMinute: number,
    source: LimitSource,
    burst: number | undefined,
    now: number,
  ) {
    this.dimension = dimension;
    this.perMinute = perMinute;
    this.source = source;
    this.depth = new Depth(burst, perMinute, now);
    this.#bucket = fullBucket(this.#capacityFor(perMinute), perMinute / 60_000, now);
    this.#trail = new Trail(this.#bucket.level, now);
    this.#others = new Others(now);
  }

  #capacityFor(perMinute: number): number {
    return perMinute * this.depth.share;
  }

  /** Per millisecond, as the API allows it. */
  get ratePerMs(): number {
    return this.perMinute / 60_000;
  }

  /** Per millisecond, less what others take. */
  get refillPerMs(): number {
    return this.#bucket.ratePerMs;
  }

  /** Refill of the time that a request or a token is on its way. */
  get behind(): number {
    return this.ratePerMs * ARRIVAL_JITTER_MS;
  }

  /** Left in the bucket, so that its level can be seen. */
  get visible(): number {
    return visibleOf(this.dimension, this.capacity);
  }

  /** Left in the bucket for what has not been seen yet. */
  get spare(): number {
    return spareOf(this.dimension, this.capacity, this.ratePerMs, this.#age);
  }

  get capacity(): number {
    return this.#bucket.capacity;
  }

  /** What can be taken. */
  available(now: number): number {
    if (this.#others.fade(this.#shown.at, this.ratePerMs, now)) this.#put(levelAt(this.#bucket, now), now);
    return levelAt(this.#bucket, now) - this.#held;
  }

  /** The level from now on, less from now on what others take; what has refilled until now stays. */
  #put(level: number, now: number, capacity = this.#bucket.capacity): void {
    const ratePerMs = this.ratePerMs - this.#others.perMs;
    this.#bucket = { level, at: Math.max(now, this.#bucket.at), ratePerMs, capacity };
  }

  take(amount: number, now: number): void {
    if (amount === 0) return;
    this.#note(now);
    this.#bucket = take(this.#bucket, amount, now);
    this.#note(now);
  }

  /** A request is on its way that takes `amount` for certain, and perhaps `held` more. */
  send(amount: number, held: number, now: number): void {
    this.#note(now);
    const missing = this.capacity - this.behind - levelAt(this.#bucket, now);
    this.#bucket = take(this.#bucket, amount + Math.max(0, -missing), now);
    this.#held += held;
    this.#note(now);
  }

  release(held: number, now: number): void {
    if (held === 0) return;
    this.#note(now);
    // Sums of many holds leave dust.
    this.#held = Math.max(0, this.#held - held);
    if (this.#held < 1e-6) this.#held = 0;
    this.#note(now);
  }

  #note(now: number): void {
    const level = levelAt(this.#bucket, now);
    this.#trail.note(level - this.#held, level, now);
  }

  /**
   * Milliseconds until `amount` fits, with `reserved` of the level left for others. A call deeper than what it may
   * draw on waits until all of that is there.
   */
  waitMs(amount: number, reserved: number, now: number): number {
    const needed = Math.min(amount + this.spare, this.capacity - reserved);
    const waitMs = waitFor(this.#bucket, needed, reserved + this.#held, now);
    if (waitMs > 0) this.grow(now);
    return waitMs;
  }

  /** This dimension has held a call up: a depth that is still being found out may be larger. */
  grow(now: number): void {
    const share = this.depth.pressed(now);
    if (share <= 0) return;
    const before = this.#bucket.capacity;
    const capacity = this.#capacityFor(this.perMinute);
    const added = Math.max(0, capacity - before);
    this.#put(Math.min(capacity, levelAt(this.#bucket, now) + added), now, capacity);
    this.#trail.shift(added);
    this.#grown += added;
  }

  /** Another limit, with what is used now staying used: one lowered below its use is a debt. */
  resize(perMinute: number, burst: number | undefined, now: number): void {
    this.perMinute = perMinute;
    this.depth.configure(burst);
    this.#others.boundBy(this.ratePerMs);
    const refill = this.ratePerMs - this.#others.perMs;
    this.#bucket = resize(this.#bucket, this.#capacityFor(perMinute), refill, now);
    // What was remembered of the old bucket says nothing of the new one.
    this.#loweredAt = now;
    this.#shown.forget();
    this.#grown = 0;
    this.#note(now);
  }

  /**
   * The API's limit is another than it was taken for. What was used, or charged, of a limit that was thought larger is no
   * debt of this one: the level stays between empty and full, and a debt that there was is as many milliseconds of refill.
   */
  resizeAsTold(perMinute: number, burst: number | undefined, now: number): void {
    const share = Math.min(1, perMinute / this.perMinute);
    const least = share * Math.min(0, levelAt(this.#bucket, now));
    this.resize(perMinute, burst, now);
    if (levelAt(this.#bucket, now) >= least) return;
    this.#put(least, now);
    this.#note(now);
  }

  /**
   * A response to a request sent at `sentAt` showed `remaining`. `unsure`: tokens that may not have been charged
   * though we have taken them, or the other way round. `told`: the limit that it showed it of; it may be larger than ours.
   */
  observe(remaining: number, sentAt: number, unsure: number, now: number, told = this.perMinute): void {
    this.#note(now);
    const seen = this.#trail.since(sentAt - ARRIVAL_JITTER_MS);
    if (seen === undefined) return;
    this.#age += AGE_FADE * (now - sentAt - this.#age);
    const slack = (this.dimension === 'requests' ? 1 : ROUNDING) + unsure;
    if (told > this.perMinute) {
      // Of a larger limit than we are to keep to: it bounds us where less remains than we think, and says nothing else.
      const over = seen.low - (remaining + slack);
      if (over > 0) this.#shift(-over, now, over);
      return;
    }
    const isAsFullAsEver = this.#shown.note(remaining, slack, now);
    if (remaining > this.capacity && this.depth.isAtLeast(remaining / this.perMinute)) this.#recap(now);
    const tooHigh = seen.low - (remaining + slack);
    // A level below zero shows as nothing remaining. What was on its way is taken here and not there, and so is what a
    // full bucket was charged for that.
    const tooLow = remaining - slack - 2 * this.behind - Math.max(0, seen.high);
    if (tooHigh > 0) {
      // A bucket that shows as much as it ever did is full, and less deep than we take it for: nobody else is to blame.
      // Nor for what a depth that is tried out has added of itself.
      const grown = Math.min(tooHigh, this.#grown);
      this.#shift(-tooHigh, now, isAsFullAsEver ? tooHigh : grown);
      this.#grown -= grown;
      if (grown > 0 && this.depth.tookTooMuch(grown / this.perMinute, now)) this.#recap(now);
      // What is there now stays, or the order in which responses come would matter.
      const most = Math.max(remaining + slack, levelAt(this.#bucket, now));
      if (isAsFullAsEver && this.depth.isAtMost(most / this.perMinute)) this.#recap(now);
      this.#loweredAt = now;
    } else if (tooLow > 0 && remaining > slack && sentAt > this.#loweredAt) {
      this.depth.seenDeeper(now);
      this.#shift(Math.min(tooLow, this.#others.mostAtOnce(this.ratePerMs, now)), now);
    }
  }

  /** The depth is not what it was taken for; the level stays, as far as it fits. */
  #recap(now: number): void {
    const capacity = this.#capacityFor(this.perMinute);
    this.#put(Math.min(capacity, levelAt(this.#bucket, now)), now, capacity);
  }

  /** `own`: as much of it as nobody else has taken. */
  #shift(amount: number, now: number, own = 0): void {
    const level = levelAt(this.#bucket, now);
    const shifted = Math.min(this.#bucket.capacity, level + amount);
    this.#trail.shift(shifted - level);
    this.#others.observed(level - shifted - own, amount > 0, this.ratePerMs, now);
    this.#put(shifted, now);
  }

  /**
   * The API refused a request sent at `sentAt` for want of this dimension. Had we thought that there was room, and
   * been full since not long ago, the bucket is less deep than we took it for, by what we thought was left.
   */
  refused(sentAt: number, now: number): void {
    const left = this.available(now);
    if (this.#others.blamed(left, sentAt, this.#age, this.ratePerMs, now))
      this.#put(levelAt(this.#bucket, now), now);
    const slack = (this.dimension === 'requests' ? 2 : 2 * ROUNDING) + this.behind;
    const used = this.capacity - left;
    // What has been shown to remain was there: then somebody has taken it.
    if (left <= slack || this.#trail.highest < used || used <= this.#shown.most) return;
    if (!this.depth.refused(used / this.perMinute, sentAt, now)) return;
    const capacity = this.#capacityFor(this.perMinute);
    const level = Math.min(capacity, levelAt(this.#bucket, now) - (this.capacity - capacity));
    this.#trail.shift(level - levelAt(this.#bucket, now));
    this.#put(level, now, capacity);
  }

  /** Nothing fits before `until`: at that time there is just nothing missing, and what waits goes at the pace of the refill. */
  emptyUntil(until: number, now: number): void {
    const bound = this.#held - this.#bucket.ratePerMs * Math.max(0, until - now);
    const level = levelAt(this.#bucket, now);
    if (level <= bound) return;
    this.#trail.shift(bound - level);
    this.#loweredAt = now;
    this.#put(bound, now);
  }

  /** The level is known to be no higher than `level`, of which nothing is held. */
  lowerTo(level: number, now: number): void {
    const bound = level + this.#held;
    const before = levelAt(this.#bucket, now);
    if (before <= bound) return;
    this.#trail.shift(bound - before);
    this.#put(bound, now);
  }

  snapshot(now: number) {
    return {
      perMinute: this.perMinute,
      source: this.source,
      capacity: Math.round(this.capacity),
      level: Math.round(this.available(now)),
      othersPerMinute: Math.round(this.#others.perMs * 60_000),
    };
  }
}
