import type { Store } from '../../stores/store.ts';
import type { QuotaState } from '../quota-state.ts';
import type { Waiter } from '../waiter.ts';

/** Quotas that are listened to with no call parked any more: the next call of a busy user need not subscribe anew. */
const MAX_IDLE = 100;

interface Listened {
  waiters: number;
  readonly stop: () => void;
}

/**
 * Listens for free slots of the quotas that calls of this process are parked for: another process may hold them all.
 * A quota is listened to while a call is parked for it, and afterwards as one of the last hundred.
 */
export class SlotListeners {
  readonly #process: string;
  readonly #listen: Store['listenSlot'];
  readonly #listened = new Map<QuotaState, Listened>();
  readonly #idle = new Set<QuotaState>();
  readonly #stateOf = new Map<Waiter, QuotaState>();

  /** @param process This one: what came free here is known already. */
  constructor(store: Store, process: string) {
    this.#process = process;
    this.#listen = store.listenSlot?.bind(store);
  }

  /** Quotas that are listened to. */
  get size(): number {
    return this.#listened.size;
  }

  /** The call is parked for a slot of `state`. */
  parked(waiter: Waiter, state: QuotaState): void {
    if (this.#listen === undefined || this.#stateOf.get(waiter) === state) return;
    this.left(waiter);
    this.#stateOf.set(waiter, state);
    this.#idle.delete(state);
    const known = this.#listened.get(state);
    if (known !== undefined) {
      known.waiters++;
      return;
    }
    const stop = this.#listen(state.hash, (process) => {
      if (process !== this.#process) state.wake();
    });
    this.#listened.set(state, { waiters: 1, stop });
  }

  /** The call has left, whichever way. */
  left(waiter: Waiter): void {
    const state = this.#stateOf.get(waiter);
    const listened = state && this.#listened.get(state);
    this.#stateOf.delete(waiter);
    if (state === undefined || listened === undefined || --listened.waiters > 0) return;
    this.#idle.add(state);
    if (this.#idle.size <= MAX_IDLE) return;
    const [oldest] = this.#idle;
    if (oldest !== undefined) this.#stop(oldest);
  }

  /** Listens to nothing any more. */
  close(): void {
    for (const state of [...this.#listened.keys()]) this.#stop(state);
    this.#stateOf.clear();
  }

  #stop(state: QuotaState): void {
    this.#listened.get(state)?.stop();
    this.#listened.delete(state);
    this.#idle.delete(state);
  }
}
