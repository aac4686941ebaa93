interface Link<T> {
  readonly value: T;
  before: Link<T> | undefined;
  after: Link<T> | undefined;
}

/**
 * A set in order of arrival whose first entry is found at once. The first of a `Set` is not: those deleted before it
 * are passed one by one, and a queue of n that is served from its front costs n².
 */
export class LinkedSet<T> {
  readonly #links = new Map<T, Link<T>>();
  #first: Link<T> | undefined;
  #last: Link<T> | undefined;

  get size(): number {
    return this.#links.size;
  }

  get first(): T | undefined {
    return this.#first?.value;
  }

  all(): IterableIterator<T> {
    return this.#links.keys();
  }

  /** Adds it at the end, where it is not there yet. */
  add(value: T): void {
    if (this.#links.has(value)) return;
    const link: Link<T> = { value, before: this.#last, after: undefined };
    this.#links.set(value, link);
    if (this.#last === undefined) this.#first = link;
    else this.#last.after = link;
    this.#last = link;
  }

  delete(value: T): boolean {
    const link = this.#links.get(value);
    if (link === undefined) return false;
    this.#links.delete(value);
    if (link.before === undefined) this.#first = link.after;
    else link.before.after = link.after;
    if (link.after === undefined) this.#last = link.before;
    else link.after.before = link.before;
    return true;
  }
}
