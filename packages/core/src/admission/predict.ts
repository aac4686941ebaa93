import type { Demand, Reserve, Shortage } from './flight.ts';
import type { Lane, Lanes } from './lanes.ts';
import type { Arrival, Waiter } from './waiter.ts';

/**
 * How long a newcomer is going to wait.
 *
 * What stands before it now is known: of each other user as many calls as it has itself before this one. Who comes
 * later and still goes before it is not: in a fair queue a user's second call is passed by the first calls of everybody who comes
 * before the lane's time has got to its turn. Two bounds hold, and the smaller is taken:
 * - In each round every user who waits gets one call's worth. A call that is r rounds behind the lane's time has
 *   (1 + r) rounds of as many calls as there are users to wait for, as long as their number stays.
 * - No more can go before it than is there and comes meanwhile, at the rate at which calls have lately been let into the queue.
 * What is left of error (costs that are thought too large, a share that other lanes do not use) is learned as the ratio of
 * what came to what was foretold; one that is not renewed fades back, or a wait once thought too long would be
 * refused for ever and nothing be learned of it.
 */
const FADE = 0.02;
const LEAST = 0.3;
const MOST = 2;
/** Time in which a ratio that nobody renews goes half of the way back. */
const HALF_LIFE_MS = 120_000;
/** Shorter waits are noise. */
const LEAST_SAMPLE_MS = 200;
/** Time over which arrivals are averaged. */
const ARRIVALS_MS = 5_000;
/** Of the calls that are let in, the share that may wait longer than was foretold for the worst of them. */
const MISSED = 0.02;
/** Step of the ratio that is not passed but by that share. */
const STEP = 0.005;
const HIGH_MOST = 1.4;
const START_HIGH = 1.15;

/** What a prediction looks at of a bucket. */
export interface Foreseen {
  /** Of the scarcest limit, the share that is ours to use. */
  readonly share: number;
  /** Its limits are a placeholder: what a wait comes to by them is no reason to refuse anybody. */
  readonly isUnknown: boolean;
  shortage(demand: Demand, reserve: Reserve, saved: number, now: number): Shortage | undefined;
  /** Milliseconds that so many calls take which were thought to take `thoughtMs`. Left out: as thought. */
  queueMs?(demand: Demand, calls: number, thoughtMs: number): number;
}

export interface Prediction {
  /** From now to its turn, as is to be expected. */
  readonly waitMs: number;
  /** The same, as it is not to be passed but by one call in fifty. */
  readonly mostMs: number;
  /** Of that, what the queue before it was thought to take, before any correction: what is learned from. */
  readonly queueMs: number;
}

export class Predictor {
  #ratio = 1;
  #ratioAt = 0;
  /** Of what came to what was to be expected: passed by few. */
  #high = START_HIGH;
  /** Work that came into each lane's queue, in milliseconds of the scarcest bucket a millisecond. */
  readonly #arriving = new WeakMap<Lane<Waiter>, { rate: number; at: number }>();

  predict(
    upstream: Foreseen,
    lanes: Lanes<Waiter>,
    lane: Lane<Waiter>,
    arrival: Pick<Arrival, 'demand' | 'flowKey'>,
    now: number,
  ): Prediction {
    const shortage = upstream.shortage(arrival.demand, lanes.reserveOf(lane, now), 0, now);
    const { queue } = lane;
    const own = shortage?.waitMs ?? 0;
    // The first response teaches: until then the only wait that is known is that of a pause.
    if (upstream.isUnknown) {
      const waitMs = shortage?.reason === 'upstream_paused' ? own : 0;
      return { waitMs, mostMs: waitMs, queueMs: 0 };
    }
    // With nobody before it the wait is known exactly.
    if (queue.size === 0) return { waitMs: own, mostMs: own, queueMs: 0 };
    const { ahead, rounds } = queue.placeOf(arrival.flowKey);
    const share = lanes.shareOf(lane) * upstream.share;
    const byRounds = queue.users * (1 + rounds);
    const idle = 1 - this.#arrivingAt(lane, now) / share;
    const byArrivals = idle > 0 ? ahead / idle : Number.POSITIVE_INFINITY;
    const calls = Math.max(ahead, Math.min(byRounds, byArrivals)) / share;
    const thoughtMs = calls * queue.meanCost;
    const queueMs = upstream.queueMs?.(arrival.demand, calls, thoughtMs) ?? thoughtMs;
    const waitMs = own + queueMs * this.#ratioAtNow(now);
    return { waitMs, mostMs: waitMs * this.#high, queueMs };
  }

  #ratioAtNow(now: number): number {
    return 1 + (this.#ratio - 1) * 0.5 ** ((now - this.#ratioAt) / HALF_LIFE_MS);
  }

  #arrivingAt(lane: Lane<Waiter>, now: number): number {
    const arriving = this.#arriving.get(lane);
    return arriving === undefined ? 0 : arriving.rate * Math.exp((arriving.at - now) / ARRIVALS_MS);
  }

  /** A call has come into a lane's queue. */
  joined(lane: Lane<Waiter>, cost: number, now: number): void {
    this.#arriving.set(lane, { rate: this.#arrivingAt(lane, now) + cost / ARRIVALS_MS, at: now });
  }

  /** A call has waited for `waitedMs`; one that gave up would have waited longer. */
  learn({ predictedMs }: Waiter, waitedMs: number, gaveUp: boolean, now: number): void {
    if (predictedMs < LEAST_SAMPLE_MS) return;
    const known = this.#ratioAtNow(now);
    const sample = Math.min(MOST, Math.max(LEAST, waitedMs / predictedMs));
    const isPassed = sample > known * this.#high;
    const step = isPassed || gaveUp ? STEP * (1 - MISSED) : -STEP * MISSED;
    this.#high = Math.min(HIGH_MOST, Math.max(1, this.#high + step));
    if (gaveUp && sample < known) return;
    this.#ratio = known + FADE * (sample - known);
    this.#ratioAt = now;
  }
}
