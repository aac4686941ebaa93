import type { Alarms } from '../alarms.ts';
import type { Clock, Timer } from '../clock.ts';
import type { BatchOutcome } from './outcome.ts';

interface Waiter {
  readonly promise: Promise<BatchOutcome>;
  resolve(outcome: BatchOutcome): void;
  reject(error: unknown): void;
}

/** How often an alarm rings that does nothing but keep the process alive. */
const ALIVE_MS = 60_000;

/** Those who wait for results, by request. Only who waits costs memory: results nobody waits for are in the journal. */
export class Waiters {
  readonly #waiters = new Map<string, Waiter>();
  readonly #alarms: Alarms;
  readonly #clock: Clock;
  /** A process whose only work is to wait for a batch must not end meanwhile. */
  #alive: Timer | undefined;

  constructor(alarms: Alarms, clock: Clock) {
    this.#alarms = alarms;
    this.#clock = clock;
  }

  #stayAlive(): void {
    this.#alive = this.#alarms.set(this.#clock.now() + ALIVE_MS, () => this.#stayAlive(), true);
  }

  get size(): number {
    return this.#waiters.size;
  }

  /** The outcome of a request, once. `begin` is called for the first who waits. */
  of(id: string, begin: () => void): Promise<BatchOutcome> {
    let waiter = this.#waiters.get(id);
    if (waiter === undefined) {
      waiter = createWaiter();
      // Whoever asked has a promise of their own; this one may be left alone when the governor is closed.
      waiter.promise.catch(() => undefined);
      this.#waiters.set(id, waiter);
      if (this.#waiters.size === 1) this.#stayAlive();
      begin();
    }
    return waiter.promise;
  }

  /** True where somebody waited. */
  resolve(id: string, outcome: BatchOutcome): boolean {
    const waiter = this.#take(id);
    waiter?.resolve(outcome);
    return waiter !== undefined;
  }

  reject(id: string, error: unknown): void {
    this.#take(id)?.reject(error);
  }

  #take(id: string): Waiter | undefined {
    const waiter = this.#waiters.get(id);
    this.#waiters.delete(id);
    if (this.#waiters.size === 0) this.#alive?.cancel();
    return waiter;
  }

  rejectAll(error: unknown): void {
    for (const id of [...this.#waiters.keys()]) this.reject(id, error);
  }
}

function createWaiter(): Waiter {
  let resolve: Waiter['resolve'] = () => {};
  let reject: Waiter['reject'] = () => {};
  const promise = new Promise<BatchOutcome>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
