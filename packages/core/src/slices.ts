import { setImmediate } from 'node:timers';

/** Calls that come or go in one slice. Each costs some 100 to 300 µs with all that its promise sets off: 10 ms at most. */
const PER_SLICE = 32;

/**
 * Work of any number of calls that comes at one moment, as when a signal ends twenty thousand of them: as much as fits one
 * slice is done at once, the rest in order, a slice with each turn of the event loop. What is done in a slice is counted
 * and not timed: most of what a call costs is done by the promises that its work settles.
 */
export class Slices {
  readonly #perSlice: number;
  readonly #nextTurn: (fn: () => void) => void;
  /** `#first` goes before all that is in `#works`. */
  #first: (() => void)[] = [];
  #works: (() => void)[] = [];
  #at = 0;
  /** Of the present slice. */
  #used = 0;
  #isOpen = false;
  #isWorking = false;

  /** Left out, a slice has no end, as in a simulation: all is done at once. */
  constructor(perSlice = Number.POSITIVE_INFINITY, nextTurn: (fn: () => void) => void = setImmediate) {
    this.#perSlice = perSlice;
    this.#nextTurn = nextTurn;
  }

  /** Slices of this process's event loop. */
  static ofEventLoop(): Slices {
    return new Slices(PER_SLICE);
  }

  /** Works that wait for a later slice. */
  get size(): number {
    return this.#first.length + this.#works.length - this.#at;
  }

  /** Whether the present slice has room for one call more, which it then takes. */
  take(): boolean {
    if (this.#used >= this.#perSlice) return false;
    this.#open();
    this.#used++;
    return true;
  }

  /** Does `work` at once, or in a later slice where this one is full or others wait. */
  run(work: () => void): void {
    this.#works.push(work);
    this.#work();
  }

  /** Does `work` first thing in the next slice. */
  next(work: () => void): void {
    this.#first.push(work);
    this.#open();
  }

  /** Does `work` with each of `items`, in order. Resolves when it is done. */
  each<T>(items: readonly T[], work: (item: T) => void): Promise<void> {
    return new Promise((resolve) => {
      let at = 0;
      const step = () => {
        const item = items[at++];
        if (at > items.length) return resolve();
        work(item as T);
        this.run(step);
      };
      step();
    });
  }

  /** Resolves in a later slice; undefined where this one has room, which is taken. */
  room(): Promise<void> | undefined {
    if (this.size === 0 && this.take()) return undefined;
    return new Promise((resolve) => this.run(resolve));
  }

  /** The slice ends with this turn of the event loop. */
  #open(): void {
    if (this.#isOpen || this.#perSlice === Number.POSITIVE_INFINITY) return;
    this.#isOpen = true;
    this.#nextTurn(() => {
      this.#isOpen = false;
      this.#used = 0;
      const first = this.#first;
      this.#first = [];
      for (const work of first) work();
      this.#work();
    });
  }

  #work(): void {
    if (this.#isWorking) return;
    this.#isWorking = true;
    try {
      for (
        let work = this.#works[this.#at];
        work !== undefined && this.take();
        work = this.#works[this.#at]
      ) {
        this.#at++;
        work();
      }
    } finally {
      this.#isWorking = false;
      this.#compact();
      if (this.size > 0) this.#open();
    }
  }

  /** What is done is let go of, in steps that cost no more than was done. */
  #compact(): void {
    if (this.#at === this.#works.length) this.#works = [];
    else if (2 * this.#at > this.#works.length) this.#works = this.#works.slice(this.#at);
    else return;
    this.#at = 0;
  }
}
