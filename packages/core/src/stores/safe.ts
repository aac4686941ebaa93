import type { Alarms } from '../alarms.ts';
import type { Clock, Timer } from '../clock.ts';
import type { CounterStore, SavedCounter } from './counters.ts';

/** How long writes are gathered, in milliseconds. */
const FLUSH_MS = 500;
/** How soon a store that could not be written is tried again, in milliseconds. */
const RETRY_MS = 5_000;

/** A counter store that never fails a call: it flushes by itself, and tells once what goes wrong. */
export class SafeCounters {
  readonly #store: CounterStore;
  readonly #alarms: Alarms;
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  #timer: Timer | undefined;

  constructor(store: CounterStore, alarms: Alarms, clock: Clock, onError: (error: unknown) => void) {
    this.#store = store;
    this.#alarms = alarms;
    this.#clock = clock;
    this.#onError = onError;
  }

  get(key: string): SavedCounter | undefined {
    return this.#safely(() => this.#store.get(key));
  }

  set(key: string, counter: SavedCounter): void {
    this.#safely(() => this.#store.set(key, counter));
    this.#flushIn(FLUSH_MS);
  }

  #flushIn(ms: number): void {
    this.#timer ??= this.#alarms.set(this.#clock.now() + ms, () => {
      this.#timer = undefined;
      // What could not be written is written when there is room again, whether calls come or not.
      const isDone = this.#safely(() => {
        this.#store.flush();
        return true;
      });
      if (isDone !== true) this.#flushIn(RETRY_MS);
    });
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#safely(() => this.#store.close());
  }

  #safely<T>(fn: () => T): T | undefined {
    try {
      return fn();
    } catch (error) {
      this.#onError(error);
      return undefined;
    }
  }
}
