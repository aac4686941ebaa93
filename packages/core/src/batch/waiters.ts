import type { Alive } from '../alive.ts';
import type { BatchOutcome } from './outcome.ts';

interface Waiter {
  readonly promise: Promise<BatchOutcome>;
  resolve(outcome: BatchOutcome): void;
  reject(error: unknown): void;
}

/** Those who wait for results, by request. Only who waits costs memory: results nobody waits for are in the journal. */
export class Waiters {
  readonly #waiters = new Map<string, Waiter>();
  readonly #alive: Alive;

  constructor(alive: Alive) {
    this.#alive = alive;
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
      this.#alive.hold();
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
    if (this.#waiters.delete(id)) this.#alive.release();
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
