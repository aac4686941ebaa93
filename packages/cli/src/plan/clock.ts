import type { Clock, Timer } from '@headgate/core';
import { Heap, type HeapEntry, NOT_IN_HEAP } from '@headgate/core/simulation';

interface Event extends HeapEntry {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
  /** Whether promises may be settled by it. */
  readonly settles: boolean;
}

/** Hops that the longest chain of promises in admission takes, and some to spare. */
const HOPS = 8;

/**
 * A clock of events for simulations: time jumps from one to the next. Unlike a clock that gives the event loop a turn
 * for each timer, it only lets microtasks run, and only after what may have settled a promise, so that an hour of a busy account
 * passes in seconds.
 */
export class EventClock implements Clock {
  #now = 0;
  #order = 0;
  readonly #events = new Heap<Event>((a, b) => a.at < b.at || (a.at === b.at && a.order < b.order));
  readonly #startsAt: number;

  /** `startsAt`: milliseconds of the epoch at time zero, for calendars. */
  constructor(startsAt = 1_767_225_600_000) {
    this.#startsAt = startsAt;
  }

  now(): number {
    return this.#now;
  }

  wall(): number {
    return this.#startsAt + this.#now;
  }

  after(ms: number, fn: () => void): Timer {
    // Node's timers are whole milliseconds, and never early.
    return this.at(this.#now + Math.max(1, Math.ceil(ms)), fn);
  }

  /** Runs `fn` at `at`, before anything set later for the same instant. */
  at(at: number, fn: () => void, settles = true): Timer {
    const event: Event = {
      at: Math.max(at, this.#now),
      order: this.#order++,
      run: fn,
      settles,
      heapIndex: NOT_IN_HEAP,
    };
    this.#events.push(event);
    return { cancel: () => this.#events.remove(event) };
  }

  get pending(): number {
    return this.#events.size;
  }

  async run(until: number): Promise<void> {
    await hop();
    for (let next = this.#events.peek(); next !== undefined && next.at <= until; next = this.#events.peek()) {
      this.#events.pop();
      this.#now = next.at;
      next.run();
      if (next.settles) await hop();
    }
    this.#now = until;
  }
}

async function hop(): Promise<void> {
  for (let i = 0; i < HOPS; i++) await undefined;
}
