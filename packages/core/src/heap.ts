/** What a heap holds: it keeps its own place, so that any entry can be moved or taken out in O(log n). */
export interface HeapEntry {
  heapIndex: number;
}

/** Where an entry is that stands in no heap. */
export const NOT_IN_HEAP = -1;

/** A binary heap with the smallest entry at its top. Entries of equal rank come out in no set order. */
export class Heap<T extends HeapEntry> {
  readonly #entries: T[] = [];
  readonly #before: (a: T, b: T) => boolean;

  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#entries.length;
  }

  peek(): T | undefined {
    return this.#entries[0];
  }

  push(entry: T): void {
    entry.heapIndex = this.#entries.length;
    this.#entries.push(entry);
    this.#up(entry.heapIndex);
  }

  pop(): T | undefined {
    const top = this.#entries[0];
    if (top !== undefined) this.remove(top);
    return top;
  }

  /** Takes an entry out. One that is not here is left alone. */
  remove(entry: T): void {
    const at = entry.heapIndex;
    if (at === NOT_IN_HEAP || this.#entries[at] !== entry) return;
    entry.heapIndex = NOT_IN_HEAP;
    const last = this.#entries.pop();
    if (last === undefined || last === entry) return;
    this.#place(last, at);
    this.update(last);
  }

  /** Puts an entry whose rank has changed where it belongs. */
  update(entry: T): void {
    if (entry.heapIndex === NOT_IN_HEAP) return;
    this.#up(entry.heapIndex);
    this.#down(entry.heapIndex);
  }

  #place(entry: T, at: number): void {
    this.#entries[at] = entry;
    entry.heapIndex = at;
  }

  #up(from: number): void {
    const entry = this.#entries[from];
    if (entry === undefined) return;
    let at = from;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = this.#entries[parentAt];
      if (parent === undefined || !this.#before(entry, parent)) break;
      this.#place(parent, at);
      at = parentAt;
    }
    this.#place(entry, at);
  }

  #down(from: number): void {
    const entry = this.#entries[from];
    if (entry === undefined) return;
    let at = from;
    for (;;) {
      let childAt = 2 * at + 1;
      let child = this.#entries[childAt];
      if (child === undefined) break;
      const right = this.#entries[childAt + 1];
      if (right !== undefined && this.#before(right, child)) {
        childAt++;
        child = right;
      }
      if (!this.#before(child, entry)) break;
      this.#place(child, at);
      at = childAt;
    }
    this.#place(entry, at);
  }
}
