import { hashOfName } from '../hash.ts';

/** Bound of what is remembered: past it the least recently used is forgotten, and learned again if need be. */
export const MAX_KEYS = 2_048;
/** Processes of which it is remembered what they told, at most. */
export const MAX_PROCESSES = 64;

/** Sets and moves to the newest place; the oldest goes where the bound is passed. */
export function remember<T>(map: Map<string, T>, key: string, value: T, most = MAX_KEYS): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > most) {
    const oldest = map.keys().next().value;
    if (oldest !== undefined) map.delete(oldest);
  }
}

/** What other processes tell that they have learned, by name; they tell hashes. What one tells takes the place of what it told before. */
export class Heard<T> {
  readonly #byHash = new Map<string, Map<string, T>>();
  readonly #hashes = new Map<string, string>();

  set(hash: string, process: string, told: T): void {
    const byProcess = this.#byHash.get(hash) ?? new Map<string, T>();
    remember(byProcess, process, told, MAX_PROCESSES);
    remember(this.#byHash, hash, byProcess);
  }

  /** By process; nothing where nobody has told. */
  of(name: string): ReadonlyMap<string, T> | undefined {
    return this.#byHash.size === 0 ? undefined : this.#byHash.get(this.hashOf(name));
  }

  hashOf(name: string): string {
    let hash = this.#hashes.get(name);
    if (hash === undefined) {
      hash = hashOfName(name);
      remember(this.#hashes, name, hash);
    }
    return hash;
  }
}
