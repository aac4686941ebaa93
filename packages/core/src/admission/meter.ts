import type { Clock } from '../clock.ts';
import type { Rate } from '../config/units.ts';
import type { SavedCounter } from '../stores/counters.ts';
import { type Bucket, fullBucket, levelAt, resize, take, waitFor } from './bucket.ts';
import { calendarWindow, type Window } from './calendar.ts';

/**
 * One quota of one key: what may still be used, and what is spoken for. A hold is what a waiting call is going to
 * take: releasing it leaves no trace, so a refusal consumes nothing. A charge is corrected when the truth is known.
 */
export interface Meter {
  readonly kind: MeterKind;
  /**
   * Milliseconds until `amount` fits: 0 now, Infinity never. An amount above all that there ever is waits until all of it is
   * there, and is then taken into debt; only `least`, what it is for certain (left out: all of it), can be too much for good.
   * `back` is counted as there.
   */
  waitMs(amount: number, least?: number, back?: number): number;
  hold(amount: number): void;
  release(amount: number): void;
  /** Takes `amount`, and gives what a correction of that very charge needs. */
  charge(amount: number): Booking;
  /** Adds `delta` to a charge; one of a window that is over changes nothing. */
  correct(charge: Booking, delta: number): void;
  /** True where dropping the meter grants nothing: it is as good as new. */
  readonly isIdle: boolean;
  readonly remaining: number;
  readonly quota: number;
  /** The most that there ever is: what takes more for certain never fits. */
  readonly most: number;
  /** Milliseconds until everything is there again. */
  readonly resetMs: number;
  configure(rate: Rate, burst: number, timeZone: string): void;
}

/** The window that a charge belongs to. */
export interface Booking {
  readonly windowStart: number;
}

export type MeterKind = 'continuous' | 'day' | 'month';

/** Which kind of meter a rate needs. */
export const meterKind = ({ per }: Rate): MeterKind =>
  per === 'day' || per === 'month' ? per : 'continuous';

/** Where a calendar meter is kept beyond the life of the process. */
export interface SavedMeter {
  load(): SavedCounter | undefined;
  save(counter: SavedCounter): void;
}

const UNIT_MS = { second: 1_000, minute: 60_000, hour: 3_600_000 } as const;

/** `unit`: the least that the meter has to hold to let anything through: 1 for requests, which come whole. */
export function createMeter(
  rate: Rate,
  burst: number,
  timeZone: string,
  clock: Clock,
  saved?: SavedMeter,
  unit = 0,
): Meter {
  const kind = meterKind(rate);
  return kind === 'continuous'
    ? new ContinuousMeter(rate, burst, unit, clock)
    : new CalendarMeter(kind, rate, timeZone, clock, saved);
}

/** Windows up to an hour refill continuously: never more than `burst + rate·T + in flight` in any time T. */
class ContinuousMeter implements Meter {
  readonly kind = 'continuous';
  readonly #clock: Clock;
  readonly #unit: number;
  #quota: number;
  #bucket: Bucket;
  #held = 0;

  constructor(rate: Rate, burst: number, unit: number, clock: Clock) {
    this.#clock = clock;
    this.#unit = unit;
    this.#quota = rate.amount;
    const { capacity, ratePerMs } = shape(rate, burst, unit);
    this.#bucket = fullBucket(capacity, ratePerMs, clock.now());
  }

  get quota(): number {
    return this.#quota;
  }

  get most(): number {
    return Math.max(this.#quota, this.#bucket.capacity);
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

  waitMs(amount: number, least = amount, back = 0): number {
    if (least > this.most) return Number.POSITIVE_INFINITY;
    return waitFor(this.#bucket, amount, this.#held - back, this.#clock.now());
  }

  hold(amount: number): void {
    this.#held += amount;
  }

  release(amount: number): void {
    // Sums of many small amounts leave rounding dust, which would keep the meter from ever being idle.
    this.#held = this.#held - amount < 1e-9 ? 0 : this.#held - amount;
  }

  charge(amount: number): Booking {
    this.#bucket = take(this.#bucket, amount, this.#clock.now());
    return { windowStart: 0 };
  }

  correct(_charge: Booking, delta: number): void {
    this.#bucket = take(this.#bucket, delta, this.#clock.now());
  }

  configure(rate: Rate, burst: number): void {
    const { capacity, ratePerMs } = shape(rate, burst, this.#unit);
    this.#quota = rate.amount;
    this.#bucket = resize(this.#bucket, capacity, ratePerMs, this.#clock.now());
  }
}

/** Depth and refill of a rate. A bucket that cannot hold one `unit` would never let any pass: half a request a minute is one in two. */
export function shape(rate: Rate, burst: number, unit = 0): { capacity: number; ratePerMs: number } {
  const ms = UNIT_MS[rate.per as keyof typeof UNIT_MS];
  return {
    capacity: Math.max(unit, Math.min(1, rate.amount), rate.amount * burst),
    ratePerMs: rate.amount / ms,
  };
}

/** Days and months: never more than the quota and what was in flight, within one window of the calendar. */
class CalendarMeter implements Meter {
  readonly kind: 'day' | 'month';
  readonly #clock: Clock;
  readonly #saved: SavedMeter | undefined;
  #timeZone: string;
  #quota: number;
  #window: Window;
  #used = 0;
  #held = 0;

  constructor(
    kind: 'day' | 'month',
    rate: Rate,
    timeZone: string,
    clock: Clock,
    saved: SavedMeter | undefined,
  ) {
    this.kind = kind;
    this.#clock = clock;
    this.#saved = saved;
    this.#timeZone = timeZone;
    this.#quota = rate.amount;
    this.#window = calendarWindow(clock.wall(), kind, timeZone);
    const before = saved?.load();
    // A window that reaches into this one was used by the same caller: also where the time zone has changed since.
    if (before !== undefined && before.windowEnd > this.#window.start) this.#used = Math.max(0, before.used);
  }

  #turn(): void {
    const wall = this.#clock.wall();
    // A wall clock that is set back stays in its window: the quota must not be had twice.
    if (wall < this.#window.end) return;
    this.#window = calendarWindow(wall, this.kind, this.#timeZone);
    this.#used = 0;
  }

  #use(amount: number): void {
    this.#used += amount;
    this.#saved?.save({ windowStart: this.#window.start, windowEnd: this.#window.end, used: this.#used });
  }

  get quota(): number {
    return this.#quota;
  }

  get most(): number {
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

  waitMs(amount: number, least = amount, back = 0): number {
    this.#turn();
    if (least > this.#quota) return Number.POSITIVE_INFINITY;
    const left = this.#quota - this.#used - this.#held + back;
    return Math.min(amount, this.#quota) <= left + 1e-9 ? 0 : this.#window.end - this.#clock.wall();
  }

  hold(amount: number): void {
    this.#held += amount;
  }

  release(amount: number): void {
    this.#held = this.#held - amount < 1e-9 ? 0 : this.#held - amount;
  }

  charge(amount: number): Booking {
    this.#turn();
    this.#use(amount);
    return { windowStart: this.#window.start };
  }

  correct(charge: Booking, delta: number): void {
    this.#turn();
    if (charge.windowStart === this.#window.start && delta !== 0) this.#use(delta);
  }

  configure(rate: Rate, _burst: number, timeZone: string): void {
    this.#turn();
    this.#quota = rate.amount;
    if (timeZone === this.#timeZone) return;
    this.#timeZone = timeZone;
    this.#window = calendarWindow(this.#clock.wall(), this.kind, timeZone);
  }
}
