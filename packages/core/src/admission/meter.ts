import type { Clock } from '../clock.ts';
import type { Rate } from '../config/units.ts';
import { type Bucket, fullBucket, levelAt, resize, take, waitFor } from './bucket.ts';
import { calendarWindow, type Window } from './calendar.ts';

/**
 * One quota of one key: what may still be used, and what is spoken for. A hold is what a waiting call is going to
 * take: releasing it leaves no trace, so a refusal consumes nothing. A charge is corrected when the truth is known.
 */
export interface Meter {
  /** Milliseconds until `amount` fits: 0 now, Infinity never. */
  waitMs(amount: number): number;
  hold(amount: number): void;
  release(amount: number): void;
  /** Takes `amount`, and gives what a correction of that very charge needs. */
  charge(amount: number): Charge;
  /** Adds `delta` to a charge; one of a window that is over changes nothing. */
  correct(charge: Charge, delta: number): void;
  /** True where dropping the meter grants nothing: it is as good as new. */
  readonly isIdle: boolean;
  readonly remaining: number;
  readonly quota: number;
  /** Milliseconds until everything is there again. */
  readonly resetMs: number;
  configure(rate: Rate, burst: number, timeZone: string): void;
}

/** The window that a charge belongs to. */
export interface Charge {
  readonly windowStart: number;
}

const UNIT_MS = { second: 1_000, minute: 60_000, hour: 3_600_000 } as const;

export function createMeter(rate: Rate, burst: number, timeZone: string, clock: Clock): Meter {
  return rate.per === 'day' || rate.per === 'month'
    ? new CalendarMeter(rate, timeZone, clock)
    : new ContinuousMeter(rate, burst, clock);
}

/** Windows up to an hour refill continuously: never more than `burst + rate·T + in flight` in any time T. */
class ContinuousMeter implements Meter {
  readonly #clock: Clock;
  #quota: number;
  #bucket: Bucket;
  #held = 0;

  constructor(rate: Rate, burst: number, clock: Clock) {
    this.#clock = clock;
    this.#quota = rate.amount;
    const { capacity, ratePerMs } = shape(rate, burst);
    this.#bucket = fullBucket(capacity, ratePerMs, clock.now());
  }

  get quota(): number {
    return this.#quota;
  }

  get remaining(): number {
    return levelAt(this.#bucket, this.#clock.now()) - this.#held;
  }

  get resetMs(): number {
    return Math.max(
      0,
      (this.#bucket.capacity - levelAt(this.#bucket, this.#clock.now())) / this.#bucket.ratePerMs,
    );
  }

  get isIdle(): boolean {
    return this.#held === 0 && levelAt(this.#bucket, this.#clock.now()) >= this.#bucket.capacity;
  }

  waitMs(amount: number): number {
    if (amount > Math.max(this.#quota, this.#bucket.capacity)) return Number.POSITIVE_INFINITY;
    return waitFor(this.#bucket, amount, this.#held, this.#clock.now());
  }

  hold(amount: number): void {
    this.#held += amount;
  }

  release(amount: number): void {
    // Sums of many small amounts leave rounding dust, which would keep the meter from ever being idle.
    this.#held = this.#held - amount < 1e-9 ? 0 : this.#held - amount;
  }

  charge(amount: number): Charge {
    this.#bucket = take(this.#bucket, amount, this.#clock.now());
    return { windowStart: 0 };
  }

  correct(_charge: Charge, delta: number): void {
    this.#bucket = take(this.#bucket, delta, this.#clock.now());
  }

  configure(rate: Rate, burst: number): void {
    const { capacity, ratePerMs } = shape(rate, burst);
    this.#quota = rate.amount;
    this.#bucket = resize(this.#bucket, capacity, ratePerMs, this.#clock.now());
  }
}

function shape(rate: Rate, burst: number): { capacity: number; ratePerMs: number } {
  const ms = UNIT_MS[rate.per as keyof typeof UNIT_MS];
  // A bucket that cannot hold one request would never let any pass.
  return {
    capacity: Math.max(Math.min(1, rate.amount), rate.amount * burst),
    ratePerMs: rate.amount / ms,
  };
}

/** Days and months: never more than the quota and what was in flight, within one window of the calendar. */
class CalendarMeter implements Meter {
  readonly #clock: Clock;
  #unit: 'day' | 'month';
  #timeZone: string;
  #quota: number;
  #window: Window;
  #used = 0;
  #held = 0;

  constructor(rate: Rate, timeZone: string, clock: Clock) {
    this.#clock = clock;
    this.#unit = rate.per === 'month' ? 'month' : 'day';
    this.#timeZone = timeZone;
    this.#quota = rate.amount;
    this.#window = calendarWindow(clock.wall(), this.#unit, timeZone);
  }

  #turn(): void {
    const wall = this.#clock.wall();
    // A wall clock that is set back stays in its window: the quota must not be had twice.
    if (wall < this.#window.end) return;
    this.#window = calendarWindow(wall, this.#unit, this.#timeZone);
    this.#used = 0;
  }

  get quota(): number {
    return this.#quota;
  }

  get remaining(): number {
    this.#turn();
    return this.#quota - this.#used - this.#held;
  }

  get resetMs(): number {
    this.#turn();
    return this.#window.end - this.#clock.wall();
  }

  get isIdle(): boolean {
    this.#turn();
    return this.#used <= 0 && this.#held === 0;
  }

  waitMs(amount: number): number {
    this.#turn();
    if (amount > this.#quota) return Number.POSITIVE_INFINITY;
    return amount <= this.#quota - this.#used - this.#held + 1e-9 ? 0 : this.#window.end - this.#clock.wall();
  }

  hold(amount: number): void {
    this.#held += amount;
  }

  release(amount: number): void {
    this.#held = this.#held - amount < 1e-9 ? 0 : this.#held - amount;
  }

  charge(amount: number): Charge {
    this.#turn();
    this.#used += amount;
    return { windowStart: this.#window.start };
  }

  correct(charge: Charge, delta: number): void {
    this.#turn();
    if (charge.windowStart === this.#window.start) this.#used += delta;
  }

  configure(rate: Rate, _burst: number, timeZone: string): void {
    this.#turn();
    this.#quota = rate.amount;
    this.#timeZone = timeZone;
  }
}
