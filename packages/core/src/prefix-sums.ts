/** Counts by index whose sums from the start are found, and changed, in O(log n): a Fenwick tree that grows. */
export class PrefixSums {
  #tree = new Float64Array(16);

  /** Adds `delta` to the count at `index`. */
  add(index: number, delta: number): void {
    while (index >= this.#tree.length) this.#grow();
    for (let at = index; at < this.#tree.length; at |= at + 1) this.#tree[at] = (this.#tree[at] ?? 0) + delta;
  }

  /** The sum of the counts at 0 to `index`. */
  upTo(index: number): number {
    let sum = 0;
    for (let at = Math.min(index, this.#tree.length - 1); at >= 0; at = (at & (at + 1)) - 1)
      sum += this.#tree[at] ?? 0;
    return sum;
  }

  /** Twice as many: the last entry then stands for all of the first half. */
  #grow(): void {
    const { length } = this.#tree;
    const all = this.upTo(length - 1);
    const tree = new Float64Array(2 * length);
    tree.set(this.#tree);
    tree[2 * length - 1] = all;
    this.#tree = tree;
  }
}
