import { hashOfName } from '../hash.ts';
import { MAX_NOTICES } from '../notice.ts';
import { remember } from '../remember.ts';

/** Bound of what is remembered: past it the least recently used is forgotten, and learned again if need be. */
export const MAX_KEYS = 2_048;

/** What other processes tell that they have learned, by name; they tell hashes. What one tells takes the place of what it told before. */
export class Heard<T> {
  readonly #byHash = new Map<string, Map<string, T>>();
  readonly #hashes = new Map<string, string>();

  set(hash: string, process: string, told: T): void {
    const byProcess = this.#byHash.get(hash) ?? new Map<string, T>();
    remember(byProcess, process, told, MAX_NOTICES);
    remember(this.#byHash, hash, byProcess, MAX_KEYS);
  }

  /** By process; nothing where nobody has told. */
  of(name: string): ReadonlyMap<string, T> | undefined {
    return this.#byHash.size === 0 ? undefined : this.#byHash.get(this.hashOf(name));
  }

  hashOf(name: string): string {
    let hash = this.#hashes.get(name);
    if (hash === undefined) {
      hash = hashOfName(name);
      remember(this.#hashes, name, hash, MAX_KEYS);
    }
    return hash;
  }
}
