import type { Estimator } from '../estimate/estimator.ts';
import type { Demand } from './flight.ts';
import type { Limit } from './limit.ts';
import type { OutputRule } from './output-rule.ts';

/**
 * How fast calls follow each other where output is charged as it is produced.
 *
 * The path that is run forward (forecast.ts) knows of no call after the next one, and the tokens of a call come long
 * after it starts: where the path is lowest soon, a call seems to cost next to nothing, and all that wait would go at
 * once. So calls go at most at so many times the pace of the refill, beyond what the level itself could pay for, and what
 * the calls in flight leave of the refill.
 */
const PACE = 1.3;
/** In about this time a level that is not needed is drawn down. */
const DRAWN_DOWN_MS = 4_000;
/** Share of the refill that calls in flight may be brought to at once, however low the level. */
const FILLED = 0.7;
/** After a refusal what is known of the level is worth less than it seems: for this long it pays for nothing in advance. */
const WARY_MS = 60_000;

export class OutputPace {
  readonly #estimator: Estimator;
  readonly #rule: OutputRule;
  /** Up to when the calls let in are paid for by the refill. */
  #paidUntil = Number.NEGATIVE_INFINITY;

  constructor(estimator: Estimator, rule: OutputRule) {
    this.#estimator = estimator;
    this.#rule = rule;
  }

  /** Milliseconds until the next call may follow those before it. */
  waitMs(demand: Demand, limit: Limit, refusedAt: number, now: number): number {
    return Math.max(0, this.#paidUntil - this.#inAdvance(demand, limit, refusedAt, now) - now);
  }

  /** A call goes. */
  sent(demand: Demand, limit: Limit, refusedAt: number, now: number): void {
    const { key } = demand.estimate;
    // Of lengths that nobody knows, the path that is run forward expects the worst already.
    if (!this.#estimator.knows(key)) return;
    const from = Math.max(this.#paidUntil, now - this.#inAdvance(demand, limit, refusedAt, now));
    const deep = Math.max(0, limit.available(now) - limit.spare) / limit.refillPerMs;
    const pace = PACE + deep / DRAWN_DOWN_MS;
    this.#paidUntil = from + this.#estimator.rest(key, 0).mean / (pace * limit.refillPerMs);
  }

  /** Milliseconds of refill that can be paid for in advance: by the level, and by what the calls in flight leave of it. */
  #inAdvance(demand: Demand, limit: Limit, refusedAt: number, now: number): number {
    const isWary = now - refusedAt < WARY_MS;
    const level = isWary ? 0 : Math.max(0, limit.available(now) - limit.spare);
    // A full bucket bears as much as it refills, one that is used to its spare the part that never brings it down.
    const aim = FILLED + (1 - FILLED) * (level / (limit.capacity - limit.spare));
    const slack = this.#rule.slack(demand, aim * limit.refillPerMs, now);
    return (level + slack) / (PACE * limit.refillPerMs);
  }
}
