import { type Bucket, fullBucket, levelAt, resize, take, waitFor } from './bucket.ts';
import { Depth } from './depth.ts';
import type { Dimension } from './rate-headers.ts';
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
 * *Other consumers.* What observations take off, again and again, somebody else takes: that rate is learned and
 * deducted from the refill. It is unlearned the same way, by observations that raise.
 */

/**
 * A request reaches the API this much later than it left, at most. A full bucket stays full until then and the refill
 * of that time is lost; so whoever takes from a full bucket takes that much more. It is paid once for each time that
 * the bucket was full, and is no loss of rate.
 */
export const ARRIVAL_JITTER_MS = 100;
/** Token counts in headers are rounded to the nearest thousand. */
const ROUNDING = 500;
/**
 * A level of nothing and a level far below it look the same in a header, so a little is left in each bucket, where it can be
 * seen: of requests, and of tokens. It too is an offset, paid once. A shallow bucket leaves less.
 */
const VISIBLE: Record<Dimension, number> = { requests: 3, inputTokens: 1_500, outputTokens: 1_500 };
const MOST_VISIBLE = 0.1;
/**
 * Refill, in milliseconds, that is left besides: what another consumer who comes may take before responses show it. A
 * fifth of the account takes it in nearly three seconds, where a response is about one second old.
 */
const SPARE_MS = 550;
/** The same where responses are older, as a share of their age: JSON answers show nothing before their end. */
const SEEN_LATE = 0.25;
const MOST_SPARE = 0.25;
/** A bucket no deeper than this, in milliseconds of refill, spares as little as can be: it has too little to lend. */
const SHALLOW_MS = 2_000;
/** How long it takes to learn what another consumer takes: three times the age of an observation keeps it from swinging. */
const DRIFT_MS = 2_500;
/** Share of the refill that can be put down to others: some is always tried, or nothing would ever be learned again. */
const MOST_DRIFT = 0.95;

/** Refill, in milliseconds, by which one response raises a level at most, and never more than of the time since the last. */
const MOST_RAISE_MS = 1_000;

/**
 * In this time at the least and at the most, and that of a response's age before, what was missing at a refusal is
 * taken to have been used by others.
 */
const LEAST_BLAMED_MS = 2_000;
const MOST_BLAMED_MS = 5_000;
/** Of the age of responses, that the last one counts for. */
const AGE_FADE = 0.1;
/** How long it is kept to. */
const TRUST_MS = 10_000;

/** In this time the most that was shown counts for half. */
const SHOWN_HALF_LIFE_MS = 10 * 60_000;

/** In this time without a response that shows anything, what others are thought to take halves. */
const UNSEEN_MS = 10_000;

export type LimitSource = 'configured' | 'learned' | 'probe';

export class Limit {
  readonly dimension: Dimension;
  readonly source: LimitSource;
  readonly depth: Depth;
  perMinute: number;
  #bucket: Bucket;
  #held = 0;
  readonly #trail: Trail;
  /** Tokens a millisecond that others take. */
  #drift = 0;
  #observedAt: number;
  /** What a depth that is tried out has added to the level, and nothing has spoken against yet. */
  #grown = 0;
  /** The most that responses have shown to remain, what was shown long ago counting for less. */
  #shownMost = 0;
  #shownAt = 0;
  #fadedAt = 0;
  /** How old the requests of responses are, in milliseconds: what is known is as old as that at the most. */
  #age = 0;
  /** Requests sent before this say nothing that could raise the level. */
  #loweredAt = Number.NEGATIVE_INFINITY;
  #blamedAt = Number.NEGATIVE_INFINITY;

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
    this.#observedAt = now;
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
    return Math.min(VISIBLE[this.dimension], MOST_VISIBLE * this.capacity);
  }

  /** Left in the bucket for what has not been seen yet. */
  get spare(): number {
    const unseen = Math.max(SPARE_MS, SEEN_LATE * this.#age);
    const { capacity, ratePerMs } = this;
    const most = Math.max(
      MOST_VISIBLE * capacity,
      Math.min(MOST_SPARE * capacity, capacity - SHALLOW_MS * ratePerMs),
    );
    return Math.min(Math.max(VISIBLE[this.dimension], ratePerMs * unseen), most);
  }

  get capacity(): number {
    return this.#bucket.capacity;
  }

  /** What can be taken. */
  available(now: number): number {
    this.#fade(now);
    return levelAt(this.#bucket, now) - this.#held;
  }

  /** Where nothing is shown, what others take is no longer known: some of it is tried. */
  #fade(now: number): void {
    const since = Math.max(this.#shownAt, this.#fadedAt);
    if (this.#drift === 0 || now - since < UNSEEN_MS) return;
    const drift = this.#drift * 0.5 ** ((now - since) / UNSEEN_MS);
    this.#fadedAt = now;
    this.#deduct(drift < 1e-3 * this.ratePerMs ? 0 : drift, now);
  }

  /** From now on others are thought to take `drift`; what has refilled until now stays. */
  #deduct(drift: number, now: number): void {
    this.#drift = drift;
    this.#bucket = {
      ...this.#bucket,
      level: levelAt(this.#bucket, now),
      at: Math.max(now, this.#bucket.at),
      ratePerMs: this.ratePerMs - this.#drift,
    };
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
    const level = levelAt(this.#bucket, now) + Math.max(0, capacity - before);
    this.#bucket = {
      ...this.#bucket,
      capacity,
      level: Math.min(capacity, level),
      at: Math.max(now, this.#bucket.at),
    };
    this.#trail.shift(Math.max(0, capacity - before));
    this.#grown += Math.max(0, capacity - before);
  }

  /** Another limit, with what is used now staying used: one lowered below its use is a debt. */
  resize(perMinute: number, burst: number | undefined, now: number): void {
    this.perMinute = perMinute;
    this.depth.configure(burst);
    const rate = perMinute / 60_000;
    this.#drift = Math.min(this.#drift, rate * MOST_DRIFT);
    this.#bucket = resize(this.#bucket, this.#capacityFor(perMinute), rate - this.#drift, now);
    // What was remembered of the old bucket says nothing of the new one.
    this.#loweredAt = now;
    this.#shownMost = 0;
    this.#grown = 0;
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
    const isAsFullAsEver = remaining >= this.#shownMost - slack;
    this.#shownMost = Math.max(
      remaining,
      this.#shownMost * 0.5 ** ((now - this.#shownAt) / SHOWN_HALF_LIFE_MS),
    );
    this.#shownAt = now;
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
      // Bit by bit, or everything that waits would go at once.
      const most = this.ratePerMs * Math.min(MOST_RAISE_MS, now - this.#observedAt);
      this.#shift(Math.min(tooLow, most), now);
    }
  }

  /** The depth is not what it was taken for; the level stays, as far as it fits. */
  #recap(now: number): void {
    const capacity = this.#capacityFor(this.perMinute);
    const level = levelAt(this.#bucket, now);
    this.#bucket = {
      ...this.#bucket,
      capacity,
      level: Math.min(capacity, level),
      at: Math.max(now, this.#bucket.at),
    };
  }

  /** `own`: as much of it as nobody else has taken. */
  #shift(amount: number, now: number, own = 0): void {
    const level = levelAt(this.#bucket, now);
    const shifted = Math.min(this.#bucket.capacity, level + amount);
    this.#trail.shift(shifted - level);
    // A jump has a cause of its own; what others take comes in bit by bit.
    const most = this.ratePerMs * Math.min(1_000, now - this.#observedAt);
    this.#observedAt = now;
    // After a refusal the level is set low on purpose: raising it says nothing of the others.
    const isOwnDoing = amount > 0 && now - this.#blamedAt < TRUST_MS;
    const step = isOwnDoing ? 0 : Math.max(-most, Math.min(most, level - shifted - own)) / DRIFT_MS;
    this.#drift = Math.max(0, Math.min(this.ratePerMs * MOST_DRIFT, this.#drift + step));
    this.#bucket = {
      ...this.#bucket,
      ratePerMs: this.ratePerMs - this.#drift,
      level: shifted,
      at: Math.max(now, this.#bucket.at),
    };
  }

  /**
   * The API refused a request sent at `sentAt` for want of this dimension. Had we thought that there was room, and
   * been full since not long ago, the bucket is less deep than we took it for, by what we thought was left.
   */
  refused(sentAt: number, now: number): void {
    const left = this.available(now);
    this.#blameOthers(left, sentAt, now);
    const slack = (this.dimension === 'requests' ? 2 : 2 * ROUNDING) + this.behind;
    const used = this.capacity - left;
    // What has been shown to remain was there: then somebody has taken it.
    if (left <= slack || this.#trail.highest < used || used <= this.#shownMost) return;
    if (!this.depth.refused(used / this.perMinute, sentAt, now)) return;
    const capacity = this.#capacityFor(this.perMinute);
    const level = Math.min(capacity, levelAt(this.#bucket, now) - (this.capacity - capacity));
    this.#trail.shift(level - levelAt(this.#bucket, now));
    this.#bucket = { ...this.#bucket, capacity, level, at: Math.max(now, this.#bucket.at) };
  }

  /** What was thought to be left has been taken by somebody: how fast, is told by how long we have been right before. */
  #blameOthers(left: number, sentAt: number, now: number): void {
    if (left <= 0 || sentAt <= this.#blamedAt) return;
    const ms = this.#age + Math.min(MOST_BLAMED_MS, Math.max(LEAST_BLAMED_MS, now - this.#blamedAt));
    this.#blamedAt = now;
    this.#deduct(Math.min(this.ratePerMs * MOST_DRIFT, this.#drift + left / ms), now);
  }

  /** Nothing fits before `until`: at that time there is just nothing missing, and what waits goes at the pace of the refill. */
  emptyUntil(until: number, now: number): void {
    const bound = this.#held - this.#bucket.ratePerMs * Math.max(0, until - now);
    const level = levelAt(this.#bucket, now);
    if (level <= bound) return;
    this.#trail.shift(bound - level);
    this.#loweredAt = now;
    this.#bucket = { ...this.#bucket, level: bound, at: Math.max(now, this.#bucket.at) };
  }

  /** The level is known to be no higher than `level`, of which nothing is held. */
  lowerTo(level: number, now: number): void {
    const bound = level + this.#held;
    const before = levelAt(this.#bucket, now);
    if (before <= bound) return;
    this.#trail.shift(bound - before);
    this.#bucket = { ...this.#bucket, level: bound, at: Math.max(now, this.#bucket.at) };
  }

  snapshot(now: number) {
    return {
      perMinute: this.perMinute,
      source: this.source,
      capacity: Math.round(this.capacity),
      level: Math.round(this.available(now)),
      othersPerMinute: Math.round(this.#drift * 60_000),
    };
  }
}
