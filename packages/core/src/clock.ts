/** A pending wake-up. Cancelling one that has fired, or twice, is harmless. */
export interface Timer {
  cancel(): void;
  /** Whether the process stays alive for it; a clock that is not the process's own may do without. */
  keepAlive?(isKept: boolean): void;
}

/** Time, passed in so that the whole core runs on a manual clock in tests and simulations. */
export interface Clock {
  /** Monotonic milliseconds. Only differences mean anything; it never goes back. */
  now(): number;
  /** Milliseconds since the Unix epoch. For calendars and HTTP dates only, never for waits. */
  wall(): number;
  /** Calls `fn` once after `ms` (at least 1 ms). A pending timer keeps the process alive only where it is told to. */
  after(ms: number, fn: () => void): Timer;
}

/** A number in [0, 1). */
export type Random = () => number;

/** The longest delay one Node timer can hold; a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The process's own clock. By the globals, asked anew each time: fake timers of test frameworks replace those. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, fn) {
    const handle = setTimeout(fn, Math.min(Math.max(1, Math.ceil(ms)), MAX_TIMER_MS));
    handle.unref();
    return {
      cancel: () => clearTimeout(handle),
      keepAlive: (isKept) => void (isKept ? handle.ref() : handle.unref()),
    };
  },
};
