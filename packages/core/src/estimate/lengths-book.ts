import { remember } from '../remember.ts';
import type { EstimateKey } from './estimator.ts';
import { Heard, MAX_KEYS } from './heard.ts';
import { Lengths, type LengthsTold } from './lengths.ts';

/** With fewer answers than this a purpose is taken to answer like the others of its models. */
const ENOUGH = 8;
/** Keys that are told of, at most: those that were lately learned. */
const MAX_TOLD = 64;

/** Nothing is known. */
export const EMPTY = new Lengths();

/** The lengths of answers by what shapes them: models, purpose, ceiling. */
export class LengthsBook {
  readonly #byName = new Map<string, Lengths>();
  readonly #heard = new Heard<LengthsTold>();
  /** Names of those that are known, by hash. */
  readonly #names = new Map<string, string>();
  /** Running calls are looked up several times a second. */
  readonly #nameOfKey = new WeakMap<EstimateKey, string>();

  of(key: EstimateKey): Lengths {
    const own = this.#find(this.#nameOf(key));
    if (own !== undefined && own.samples >= ENOUGH) return own;
    // A purpose not seen yet is taken to answer like the others of its models.
    return this.#find(classKey(key)) ?? EMPTY;
  }

  /** All that an answer is an example of. */
  learning(key: EstimateKey): Lengths[] {
    return [this.#nameOf(key), classKey(key)].map((name) => {
      const lengths = this.#find(name) ?? this.#open(name);
      remember(this.#byName, name, lengths, MAX_KEYS);
      return lengths;
    });
  }

  #find(name: string): Lengths | undefined {
    const known = this.#byName.get(name);
    if (known !== undefined) return known;
    return this.#heard.of(name) === undefined ? undefined : this.#open(name);
  }

  /** With all that is known of it elsewhere. */
  #open(name: string): Lengths {
    const lengths = new Lengths();
    for (const [process, told] of this.#heard.of(name) ?? []) lengths.heard(process, told);
    remember(this.#byName, name, lengths, MAX_KEYS);
    remember(this.#names, this.#heard.hashOf(name), name, MAX_KEYS);
    return lengths;
  }

  #nameOf(key: EstimateKey): string {
    let name = this.#nameOfKey.get(key);
    if (name === undefined) {
      name = lengthKey(key);
      this.#nameOfKey.set(key, name);
    }
    return name;
  }

  /** What was learned here, by hash, the latest last. */
  get told(): [string, LengthsTold][] {
    return [...this.#byName]
      .filter(([, { ownSamples }]) => ownSamples > 0)
      .slice(-MAX_TOLD)
      .map(([name, lengths]) => [this.#heard.hashOf(name), lengths.told]);
  }

  heard(process: string, told: ReadonlyMap<string, LengthsTold>): void {
    for (const [hash, lengths] of told) {
      this.#heard.set(hash, process, lengths);
      const name = this.#names.get(hash);
      if (name !== undefined) this.#byName.get(name)?.heard(process, lengths);
    }
  }
}

/** Ceilings of one power of two answer alike. */
const lengthKey = (key: EstimateKey) =>
  `${key.modelClass}\n${key.purpose}\n${Math.floor(Math.log2(Math.max(1, key.maxTokens)))}`;
const classKey = (key: EstimateKey) => key.modelClass;
