import type { Clock, Timer } from './clock.ts';
import { Heap, type HeapEntry, NOT_IN_HEAP } from './heap.ts';

/** One of them; every call that waits has one, so it is its own timer and holds no more than it must. */
class Alarm implements HeapEntry, Timer {
  readonly at: number;
  readonly order: number;
  readonly ring: () => void;
  readonly isAwaited: boolean;
  heapIndex = NOT_IN_HEAP;
  readonly #owner: Alarms;

  constructor(owner: Alarms, at: number, order: number, ring: () => void, isAwaited: boolean) {
    this.#owner = owner;
    this.isAwaited = isAwaited;
    this.at = at;
    this.order = order;
    this.ring = ring;
  }

  cancel(): void {
    this.#owner.remove(this);
  }
}

/**
 * Any number of wake-ups on one timer: queue deadlines, stream deadlines, the head of each queue. Setting and
 * cancelling are O(log n), and a cancelled alarm leaves nothing behind.
 */
export class Alarms {
  readonly #clock: Clock;
  readonly #heap = new Heap<Alarm>((a, b) => a.at < b.at || (a.at === b.at && a.order < b.order));
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #order = 0;
  /** Alarms that somebody's call waits for. */
  #awaited = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Alarms that have not rung. */
  get size(): number {
    return this.#heap.size;
  }

  /**
   * Rings once at `at` on the clock, or as soon as the event loop is free where that is past. `isAwaited`: somebody's
   * call waits for it with no connection open, so the process must not end meanwhile.
   */
  set(at: number, ring: () => void, isAwaited = false): Timer {
    const alarm = new Alarm(this, at, this.#order++, ring, isAwaited);
    this.#heap.push(alarm);
    if (isAwaited && ++this.#awaited === 1) this.#timer?.keepAlive?.(true);
    this.#arm();
    return alarm;
  }

  remove(alarm: Alarm): void {
    if (alarm.heapIndex === NOT_IN_HEAP) return;
    this.#heap.remove(alarm);
    if (alarm.isAwaited && --this.#awaited === 0) this.#timer?.keepAlive?.(false);
    // A timer for nobody would hold on to everything its owner holds.
    if (this.#heap.size === 0) this.#disarm();
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  #arm(): void {
    const first = this.#heap.peek();
    if (first === undefined || first.at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = first.at;
    this.#timer = this.#clock.after(Math.max(0, first.at - this.#clock.now()), () => this.#ring());
    if (this.#awaited > 0) this.#timer.keepAlive?.(true);
  }

  #ring(): void {
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
    const now = this.#clock.now();
    for (let first = this.#heap.peek(); first !== undefined && first.at <= now; first = this.#heap.peek()) {
      this.#heap.pop();
      if (first.isAwaited) this.#awaited--;
      first.ring();
    }
    this.#arm();
  }
}
