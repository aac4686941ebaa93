/** Something kept per key that may be dropped when it is as good as new. */
export interface Keyed {
  readonly isIdle: boolean;
}

/** Entries that are looked at whenever a new one is made. */
const SWEEP = 3;
/** Keys beyond the bound share this many entries. */
const SHARED = 1_024;

/**
 * State per key in bounded memory, whatever keys a client makes up. Idle entries are dropped as new ones come, so
 * a million users cost what the active ones cost. Past the bound, new keys share entries by their hash: then a
 * stranger's use can count against them, but no key ever gets a fresh quota because another was forgotten.
 */
export class KeyedStates<T extends Keyed> {
  readonly #entries = new Map<string, T>();
  readonly #shared = new Map<number, T>();
  readonly #create: (key: string) => T;
  readonly #limit: number;
  #cursor: MapIterator<[string, T]>;

  constructor(create: (key: string) => T, limit: number) {
    this.#create = create;
    this.#limit = limit;
    this.#cursor = this.#entries.entries();
  }

  get size(): number {
    return this.#entries.size + this.#shared.size;
  }

  get(key: string): T {
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    this.#sweep();
    if (this.#entries.size >= this.#limit) return this.#share(key);
    const made = this.#create(key);
    this.#entries.set(key, made);
    return made;
  }

  /** Looks at the next few entries, round and round: the idle ones go. */
  #sweep(): void {
    for (let looked = 0; looked < SWEEP; looked++) {
      const next = this.#cursor.next();
      if (next.done === true) {
        // A map's own iterator bears that entries come and go under it, so one round needs no copy of anything.
        this.#cursor = this.#entries.entries();
        return;
      }
      const [key, entry] = next.value;
      if (entry.isIdle) this.#entries.delete(key);
    }
  }

  #share(key: string): T {
    const slot = hash(key) % SHARED;
    let entry = this.#shared.get(slot);
    if (entry === undefined) {
      entry = this.#create(`shared ${slot}`);
      this.#shared.set(slot, entry);
    }
    return entry;
  }
}

/** FNV-1a, 32 bits: it spreads keys, it hides nothing. */
function hash(key: string): number {
  let value = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) value = Math.imul(value ^ key.charCodeAt(at), 0x01000193);
  return value >>> 0;
}
