import type { Alarms } from '../alarms.ts';
import type { Timer } from '../clock.ts';
import { LinkedSet } from '../linked-set.ts';
import type { QuotaState } from './quota-state.ts';
import type { Waiter } from './waiter.ts';

/** Calls that wait for one quota of one key, in order of arrival. */
interface Lot {
  readonly state: QuotaState;
  /** Woken in vain: it is the first again. */
  returned: Waiter | undefined;
  readonly waiting: LinkedSet<Waiter>;
  /** Back in the queue and not yet admitted: one at a time, since the room that woke it may be all there is. */
  released: Waiter | undefined;
  /** Woken while a call of it was back in the queue: should that call be held back again, it was asked about too early. */
  hasMissed: boolean;
  timer: Timer | undefined;
  readonly wake: () => void;
}

/**
 * Where calls wait that a quota of their own holds back: outside the queue, so that they delay nobody. Each quota of each key has
 * a lot of its own, first come first served. Only the first of a lot has a timer and only the first is woken; when it has been
 * admitted the next is looked at. So however many wait, an event costs one look, and nobody is passed by those that came later.
 */
export class Parking {
  readonly #lots = new Map<QuotaState, Lot>();
  readonly #lotOf = new Map<Waiter, Lot>();
  readonly #alarms: Alarms;
  readonly #release: (waiter: Waiter) => void;
  readonly #now: () => number;

  constructor(alarms: Alarms, now: () => number, release: (waiter: Waiter) => void) {
    this.#alarms = alarms;
    this.#now = now;
    this.#release = release;
  }

  /** Calls parked. */
  get size(): number {
    let size = 0;
    for (const lot of this.#lots.values()) size += sizeOf(lot);
    return size;
  }

  all(): Waiter[] {
    return [...this.#lotOf].filter(([waiter, lot]) => lot.released !== waiter).map(([waiter]) => waiter);
  }

  /** Calls that wait for this quota. */
  sizeOf(state: QuotaState): number {
    const lot = this.#lots.get(state);
    return lot === undefined ? 0 : sizeOf(lot);
  }

  /** The call waits for `state`, which has room in `waitMs` if that is known. */
  park(waiter: Waiter, state: QuotaState, waitMs: number | undefined): void {
    const before = this.#lotOf.get(waiter);
    let lot = this.#lots.get(state);
    if (lot === undefined) {
      const made: Lot = {
        state,
        returned: undefined,
        waiting: new LinkedSet(),
        released: undefined,
        hasMissed: false,
        timer: undefined,
        wake: () => this.#wake(made),
      };
      lot = made;
      this.#lots.set(state, lot);
      state.parked.add(lot.wake);
    }
    if (before === lot) {
      lot.returned = waiter;
    } else {
      lot.waiting.add(waiter);
      this.#lotOf.set(waiter, lot);
    }
    if (lot.released === waiter) lot.released = undefined;
    if (lot.released === undefined && firstOf(lot) === waiter) this.#arm(lot, lot.hasMissed ? 0 : waitMs);
    // Held back elsewhere now: the next one of the lot that let it go may have its turn.
    if (before !== undefined && before !== lot) this.#moveOn(before, waiter);
  }

  /** The call is admitted, or gone: it leaves its lot for good, and the next one is looked at. */
  leave(waiter: Waiter): void {
    const lot = this.#lotOf.get(waiter);
    if (lot === undefined) return;
    this.#lotOf.delete(waiter);
    this.#moveOn(lot, waiter);
  }

  #moveOn(lot: Lot, waiter: Waiter): void {
    const wasFirst = firstOf(lot) === waiter;
    remove(lot, waiter);
    const wasReleased = lot.released === waiter;
    if (wasReleased) lot.released = undefined;
    if (sizeOf(lot) === 0 && lot.released === undefined) this.#close(lot);
    else if ((wasReleased || wasFirst) && lot.released === undefined) this.#wakeSoon(lot);
  }

  /** As soon as whatever goes on now is done: the room is measured when its taker has taken it. */
  #wakeSoon(lot: Lot): void {
    lot.timer?.cancel();
    lot.timer = undefined;
    const next = firstOf(lot);
    if (next === undefined) return;
    const held = next.arrival.ticket.ready();
    if (held === undefined || held.state !== lot.state) this.#let(lot, next);
    else this.#arm(lot, held.binding.waitMs);
  }

  #arm(lot: Lot, waitMs: number | undefined): void {
    lot.timer?.cancel();
    lot.timer =
      waitMs === undefined || !Number.isFinite(waitMs)
        ? undefined
        : this.#alarms.set(this.#now() + Math.max(1, waitMs), lot.wake);
  }

  #wake(lot: Lot): void {
    const next = firstOf(lot);
    if (lot.released !== undefined) lot.hasMissed = true;
    if (lot.released !== undefined || next === undefined) return;
    // Other gates that wait for the same quota have their turn before this one has another.
    lot.state.parked.delete(lot.wake);
    lot.state.parked.add(lot.wake);
    this.#let(lot, next);
  }

  #let(lot: Lot, waiter: Waiter): void {
    lot.timer?.cancel();
    lot.timer = undefined;
    remove(lot, waiter);
    lot.hasMissed = false;
    lot.released = waiter;
    this.#release(waiter);
  }

  #close(lot: Lot): void {
    lot.timer?.cancel();
    lot.state.parked.delete(lot.wake);
    this.#lots.delete(lot.state);
  }
}

const sizeOf = (lot: Lot) => lot.waiting.size + (lot.returned === undefined ? 0 : 1);
const firstOf = (lot: Lot): Waiter | undefined => lot.returned ?? lot.waiting.first;

function remove(lot: Lot, waiter: Waiter): void {
  if (lot.returned === waiter) lot.returned = undefined;
  lot.waiting.delete(waiter);
}
