import { createHmac, randomBytes } from 'node:crypto';

/** What a label value becomes when too many different ones have been seen. */
export const OTHER = '_OTHER';

/** Values of one metric label: the first so many are kept, and all others share one series. */
export class BoundedLabel {
  readonly #seen = new Set<string>();
  readonly #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  of(value: string | undefined): string | undefined {
    if (value === undefined || this.#seen.has(value)) return value;
    if (this.#seen.size >= this.#limit) return OTHER;
    this.#seen.add(value);
    return value;
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
