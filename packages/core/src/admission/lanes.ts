import type { LaneConfig } from '../config/schema.ts';
import { FairQueue, type Queued } from './fair-queue.ts';
import { NO_RESERVE, type Reserve } from './flight.ts';

/** A lane of one upstream bucket: its queue, and how far it has been served. */
export interface Lane<T extends Queued> {
  readonly name: string;
  order: number;
  config: LaneConfig;
  readonly queue: FairQueue<T>;
  /** Clock time by which the lane's guarantee is paid: it is owed service where this is past. */
  owedFrom: number;
  /** The same with all that it was served, by whichever tag, and with a longer memory: how late it is with its guarantee. */
  dueFrom: number;
  /** Virtual time up to which the lane has been served by weight. */
  finish: number;
  /** Calls in its queue or parked, and their bytes. */
  held: number;
  bytes: number;
  /** No longer configured: it serves what waits in it and takes no newcomers. */
  isLeaving: boolean;
}

/**
 * Sharing between lanes, by two tags each, in milliseconds of the scarcest bucket. `owedFrom` advances by cost over
 * guarantee: a lane whose tag is not ahead of the clock has had less than its guarantee and comes first. When no
 * lane is owed anything, the rest is shared by weight, and what a lane gets that way does not count against its
 * guarantee. So a lane alone may use everything, what it borrowed ends as soon as another lane asks, and none starves
 * that has a guarantee or a weight.
 */
export class Lanes<T extends Queued> {
  readonly #lanes = new Map<string, Lane<T>>();
  #time = 0;
  /** By how much reserves are larger than configured, as of `#raisedAt`. */
  #raise = 1;
  #raisedAt = 0;
  #watchedAt = Number.NEGATIVE_INFINITY;

  constructor(configs: Readonly<Record<string, LaneConfig>>) {
    this.configure(configs);
  }

  /**
   * Other weights and guarantees from now on; queues and tags live on. A lane that is gone serves what waits in it,
   * behind the others, and is forgotten when that is done: `get` does not know it any more.
   */
  configure(configs: Readonly<Record<string, LaneConfig>>): void {
    const names = Object.keys(configs);
    for (const lane of this.#lanes.values()) {
      const order = names.indexOf(lane.name);
      lane.order = order < 0 ? names.length : order;
      lane.isLeaving = order < 0;
    }
    for (const [order, [name, config]] of Object.entries(configs).entries()) {
      const known = this.#lanes.get(name);
      if (known !== undefined) known.config = config;
      else
        this.#lanes.set(name, {
          name,
          order,
          config,
          queue: new FairQueue(),
          owedFrom: Number.NEGATIVE_INFINITY,
          dueFrom: Number.NEGATIVE_INFINITY,
          finish: this.#time,
          held: 0,
          bytes: 0,
          isLeaving: false,
        });
    }
    this.#forgetLeft();
  }

  #forgetLeft(): void {
    for (const lane of this.#lanes.values())
      if (lane.isLeaving && lane.held === 0) this.#lanes.delete(lane.name);
  }

  get(name: string): Lane<T> | undefined {
    return this.#lanes.get(name);
  }

  /** The lane for a call whose own is not configured any more: the least urgent. */
  get last(): Lane<T> | undefined {
    let last: Lane<T> | undefined;
    for (const lane of this.#lanes.values()) if (!lane.isLeaving) last = lane;
    return last;
  }

  /** A call has come to the lane, or has left it for good. */
  count(lane: Lane<T>, calls: 1 | -1, bytes: number): void {
    lane.held += calls;
    lane.bytes = lane.held === 0 ? 0 : lane.bytes + calls * bytes;
    if (lane.isLeaving) this.#forgetLeft();
  }

  all(): IterableIterator<Lane<T>> {
    return this.#lanes.values();
  }

  /** Calls waiting in all lanes. */
  get size(): number {
    let size = 0;
    for (const { queue } of this.#lanes.values()) size += queue.size;
    return size;
  }

  /**
   * Share of each bucket that a lane may not draw on. What lanes of a larger reserve leave is an offset, paid once, and
   * no loss of rate; so where calls of lanes without it have had to wait, and from then on where they have used up half
   * of it, it grows up to four fifths of the bucket, and shrinks again by and by. A lane that has had less than its
   * guarantee for a minute may draw on all of it: where more urgent lanes ask for more than there is, the bucket is
   * never filled beyond a reserve.
   */
  reserveOf({ config, dueFrom, queue }: Lane<T>, now: number): Reserve {
    const { reserve, guarantee } = config;
    const isLate = guarantee > 0 && queue.size > 0 && dueFrom < now - LATE_MS;
    if (reserve === 0 || isLate) return NO_RESERVE;
    return { least: reserve, most: Math.min(MOST_RESERVE, reserve * this.#raiseAt(now)) };
  }

  #raiseAt(now: number): number {
    return 1 + (this.#raise - 1) * 0.5 ** ((now - this.#raisedAt) / RAISE_HALF_LIFE_MS);
  }

  /**
   * What is to be left in the bucket when a call of this lane goes that has waited for `waitedMs`, as a share; nothing where it
   * was looked at just now, nobody waits whose reserve is kept for it, or nobody has had to wait in spite of it yet.
   */
  keptFor(lane: Lane<T>, waitedMs: number, now: number): Reserve | undefined {
    if (now - this.#watchedAt < WATCH_MS) return undefined;
    if (waitedMs < FELT_MS && this.#raiseAt(now) < WARY) return undefined;
    let least: Lane<T> | undefined;
    for (const other of this.#lanes.values()) {
      const { config, queue } = other;
      if (config.reserve <= lane.config.reserve || queue.size === 0) continue;
      if (least === undefined || config.reserve < least.config.reserve) least = other;
    }
    if (least === undefined) return undefined;
    this.#watchedAt = now;
    const { most } = this.reserveOf(least, now);
    return { least: KEPT * most, most: KEPT * most };
  }

  /** That was not left. */
  raise(now: number): void {
    this.#raise = Math.min(MOST_RAISE, this.#raiseAt(now) * RAISE);
    this.#raisedAt = now;
  }

  /** A lane that gets its first waiting call starts at the present: time that it did not ask for is not saved up. */
  joined(lane: Lane<T>, now: number): void {
    lane.finish = Math.max(lane.finish, this.#time);
    lane.owedFrom = Math.max(lane.owedFrom, now);
    lane.dueFrom = Math.max(lane.dueFrom, now);
  }

  /** The lanes with calls waiting, in the order of their turn. */
  turn(now: number): Lane<T>[] {
    const waiting = [...this.#lanes.values()].filter(({ queue }) => queue.size > 0);
    return waiting.sort((a, b) => {
      const owedA = isOwed(a, now);
      const owedB = isOwed(b, now);
      if (owedA !== owedB) return owedA ? -1 : 1;
      const difference = owedA ? a.owedFrom - b.owedFrom : a.finish - b.finish;
      return difference !== 0 ? difference : a.order - b.order;
    });
  }

  /** Charges a lane for its turn; true where its guarantee paid. */
  served(lane: Lane<T>, cost: number, now: number): boolean {
    const { guarantee } = lane.config;
    if (guarantee > 0) lane.dueFrom = Math.max(lane.dueFrom, now - LATE_MEMORY_MS) + cost / guarantee;
    if (isOwed(lane, now)) {
      lane.owedFrom = Math.max(lane.owedFrom, now - PATIENCE_MS) + cost / guarantee;
      return true;
    }
    this.#time = Math.max(this.#time, lane.finish);
    lane.finish += cost / lane.config.weight;
    return false;
  }

  /** A call has cost `delta` more than its lane was charged. */
  correct(lane: Lane<T>, delta: number, isOwed: boolean): void {
    const { weight, guarantee } = lane.config;
    if (guarantee > 0) lane.dueFrom += delta / guarantee;
    if (!isOwed) lane.finish += delta / weight;
    else if (guarantee > 0) lane.owedFrom += delta / guarantee;
  }

  /** The share of the bucket that a lane can count on while the lanes that wait now go on waiting. */
  shareOf(lane: Lane<T>): number {
    let weights = lane.config.weight;
    let guarantees = lane.config.guarantee;
    for (const other of this.#lanes.values()) {
      if (other === lane || other.queue.size === 0) continue;
      weights += other.config.weight;
      guarantees += other.config.guarantee;
    }
    const rest = Math.max(0, 1 - guarantees);
    return Math.min(1, lane.config.guarantee + (rest * lane.config.weight) / weights);
  }
}

/** Looked at so often at the most, reserves grow by so much, up to this share of the bucket; in ten minutes what they grew by halves. */
const WATCH_MS = 250;
const RAISE = 2;
const MOST_RAISE = 100;
const MOST_RESERVE = 0.8;
const RAISE_HALF_LIFE_MS = 600_000;
/** Of a reserve this share should be left when a call goes that it is kept for: a burst is over before it is known to be one. */
const KEPT = 0.5;
/** A wait that is worth to be spared. After one, reserves are watched as long as they have not shrunk to about what they were. */
const FELT_MS = 100;
const WARY = 1.1;
/** A guarantee goes before a reserve that has kept a lane from it for a minute, the time that limits are told of. */
const LATE_MS = 60_000;
/** So much of the past is remembered for it: enough to go on being late while it is paid. */
const LATE_MEMORY_MS = LATE_MS + 1_000;
/** A lane that was kept waiting is owed at most this much of the past. */
const PATIENCE_MS = 1_000;

function isOwed<T extends Queued>(lane: Lane<T>, now: number): boolean {
  return lane.config.guarantee > 0 && lane.owedFrom <= now;
}
