/** Something kept per key that may be dropped when it is as good as new, or kept elsewhere. */
export interface Keyed {
  /** Dropping it grants nothing: it is as good as new. */
  readonly isIdle: boolean;
  /** Calls run or wait on it: it must stay. */
  readonly isBusy: boolean;
  /** All that was used of it is kept elsewhere, and is found there when it is made again. */
  readonly isSaved: boolean;
  /** Share of it that is used: who has used least is forgotten first. */
  readonly usedShare: number;
  /** On the governor's clock. */
  lastUsedAt: number;
}

export interface KeyedOptions<T> {
  readonly create: (key: string) => T;
  readonly now: () => number;
  /** Keys kept, at most, but for those on which calls run. */
  readonly limit: number;
  /** A key was forgotten that had used something. */
  readonly onForgotten: () => void;
}

/** Entries that are looked at whenever a new one is made. */
const SWEEP = 3;
/** Of so many the one that has used least goes, where there are too many. */
const SAMPLE = 16;
/** What is kept elsewhere too stays here for so long after its last use, in milliseconds. */
const RECENT_MS = 300_000;

/**
 * State per key in bounded memory, whatever keys a client makes up. Idle entries are dropped as new ones come, and so
 * are those that are saved and were not used for minutes: a million users cost what the active ones cost. Past the
 * limit the one goes that has used least of a few, so a key that has used up its quota outlasts those made up to
 * push it out; what was used of a key that goes is forgotten, in its favour.
 */
export class KeyedStates<T extends Keyed> {
  readonly #entries = new Map<string, T>();
  readonly #options: KeyedOptions<T>;
  #limit: number;
  #cursor: MapIterator<[string, T]>;

  constructor(options: KeyedOptions<T>) {
    this.#options = options;
    this.#limit = options.limit;
    this.#cursor = this.#entries.entries();
  }

  get size(): number {
    return this.#entries.size;
  }

  set limit(limit: number) {
    this.#limit = limit;
  }

  get(key: string): T {
    const now = this.#options.now();
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      this.#sweep(now);
      if (this.#entries.size >= this.#limit) this.#forgetOne();
      entry = this.#options.create(key);
      this.#entries.set(key, entry);
    }
    entry.lastUsedAt = now;
    return entry;
  }

  /** Looks at the next few entries, round and round: the idle ones go, and those that are saved. */
  #sweep(now: number): void {
    for (let looked = 0; looked < SWEEP; looked++) {
      const next = this.#next();
      if (next === undefined) return;
      const [key, entry] = next;
      if (entry.isBusy) continue;
      if (entry.isIdle || (entry.isSaved && entry.lastUsedAt < now - RECENT_MS)) this.#entries.delete(key);
    }
  }

  #forgetOne(): void {
    let least: [string, T] | undefined;
    for (let looked = 0; looked < SAMPLE; looked++) {
      const next = this.#next() ?? this.#next();
      if (next === undefined) break;
      if (next[1].isBusy || (least !== undefined && next[1].usedShare >= least[1].usedShare)) continue;
      least = next;
    }
    if (least === undefined) return;
    const [key, entry] = least;
    this.#entries.delete(key);
    if (!entry.isIdle && !entry.isSaved) this.#options.onForgotten();
  }

  /** A map's own iterator bears that entries come and go under it: a round needs no copy of anything. */
  #next(): [string, T] | undefined {
    const next = this.#cursor.next();
    if (next.done !== true) return next.value;
    this.#cursor = this.#entries.entries();
    return undefined;
  }
}
