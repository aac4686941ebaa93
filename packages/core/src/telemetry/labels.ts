import { createHmac, randomBytes } from 'node:crypto';
import type { Attributes } from '@opentelemetry/api';
import { shortModel } from '../policy/model-name.ts';
import { NO_MODEL } from '../request/read.ts';
import { OTHER } from './values.ts';

/** Values of one metric label: the first so many are kept, and all others share one series. */
export class BoundedLabel {
  readonly #seen = new Set<string>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  has(value: string): boolean {
    return this.#seen.has(value);
  }

  of(value: string): string {
    if (this.#seen.has(value)) return value;
    if (this.#seen.size >= this.#limit) return OTHER;
    this.#seen.add(value);
    return value;
  }
}

/**
 * Models as a metric's label. A model that the configuration or the price table names always has its name. Any other one
 * has it once the API has answered for it, so that what callers make up takes no place; of those the first so many.
 */
export class ModelLabels {
  readonly #answered: BoundedLabel;
  #named: ReadonlySet<string> = new Set();

  constructor(limit: number) {
    this.#answered = new BoundedLabel(limit);
  }

  /** Other names in the configuration and the price table from now on. */
  configure(named: Iterable<string>): void {
    this.#named = new Set([NO_MODEL, ...[...named].map(shortModel)]);
  }

  /** The API has answered for the model: there is one of this name. */
  exists(model: string): void {
    const name = shortModel(model);
    if (!this.#named.has(name)) this.#answered.of(name);
  }

  of(model: string): string {
    const name = shortModel(model);
    return this.#named.has(name) || this.#answered.has(name) ? name : OTHER;
  }
}

/**
 * Labels whose values come from callers or from the API, bounded together: an OpenTelemetry SDK keeps 2,000 series of
 * an instrument, and two labels of fifty values each would be more. The first so many combinations are kept; in every
 * other one those labels say `_OTHER`.
 */
export class BoundedLabels {
  readonly #known = new Map<string, Attributes>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * `open` is bounded; `closed` is of few values by itself, as lanes and `ModelLabels` are, and always says what it is. What
   * is undefined is left out.
   */
  of(
    open: Readonly<Record<string, string | number | undefined>>,
    closed: Readonly<Record<string, string | undefined>> = {},
  ): Attributes {
    const key = JSON.stringify([open, closed]);
    let labels = this.#known.get(key);
    if (labels === undefined) {
      const isFull = this.#known.size >= this.#limit;
      labels = {};
      for (const [name, value] of Object.entries(closed)) if (value !== undefined) labels[name] = value;
      for (const [name, value] of Object.entries(open)) {
        if (value !== undefined) labels[name] = isFull ? OTHER : value;
      }
      if (!isFull) this.#known.set(key, labels);
    }
    return labels;
  }
}

/** Hashes remembered, so that a busy user is hashed once. */
const REMEMBERED = 2_048;

/** User ids as they stand on spans: told apart, not told. Without a key of the app's own it differs by process. */
export class UserHash {
  readonly #key: string | Buffer;
  readonly #known = new Map<string, string>();

  constructor(key: string | undefined) {
    this.#key = key ?? randomBytes(32);
  }

  of(user: string): string {
    const known = this.#known.get(user);
    if (known !== undefined) return known;
    const hash = createHmac('sha256', this.#key).update(user).digest('hex').slice(0, 16);
    if (this.#known.size >= REMEMBERED) this.#known.clear();
    this.#known.set(user, hash);
    return hash;
  }
}
