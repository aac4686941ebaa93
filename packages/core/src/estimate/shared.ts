import { remember } from '../remember.ts';
import { Heard, MAX_KEYS } from './heard.ts';

/** What another process told, and our own as it was then: as our samples go on, what was told then fades. */
export interface Told<T> {
  readonly told: T;
  readonly ownThen: T;
}

/** Something learned of each class of models: by this process, and with what the others tell. */
export class Shared<T> {
  readonly #start: T;
  readonly #merge: (own: T, others: readonly Told<T>[]) => T;
  readonly #own = new Map<string, T>();
  readonly #heard = new Heard<Told<T>>();
  /** With what the others tell, where they do. */
  readonly #merged = new Map<string, T>();

  constructor(start: T, merge: (own: T, others: readonly Told<T>[]) => T) {
    this.#start = start;
    this.#merge = merge;
  }

  of(modelClass: string): T {
    const own = this.own(modelClass);
    const others = this.#heard.of(modelClass);
    if (others === undefined) return own;
    let merged = this.#merged.get(modelClass);
    if (merged === undefined) {
      merged = this.#merge(own, [...others.values()]);
      remember(this.#merged, modelClass, merged, MAX_KEYS);
    }
    return merged;
  }

  own(modelClass: string): T {
    return this.#own.get(modelClass) ?? this.#start;
  }

  learned(modelClass: string, own: T): void {
    remember(this.#own, modelClass, own, MAX_KEYS);
    this.#merged.delete(modelClass);
  }

  /** What was learned here, by hash, the latest last. */
  get told(): [string, T][] {
    return [...this.#own].map(([modelClass, own]) => [this.#heard.hashOf(modelClass), own]);
  }

  heard(process: string, told: ReadonlyMap<string, T>): void {
    if (told.size === 0) return;
    const own = new Map(this.told);
    for (const [hash, each] of told)
      this.#heard.set(hash, process, { told: each, ownThen: own.get(hash) ?? this.#start });
    this.#merged.clear();
  }
}
