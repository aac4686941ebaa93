/**
 * Share of every quota that this process gives while buckets are without their ledger. Quotas span buckets: the
 * smallest share of any degraded bucket holds, until the last of them is shared again or gone.
 */
export class DegradedShare {
  readonly #shares = new Map<string, number>();
  readonly #onChange: (share: number) => void;

  constructor(onChange: (share: number) => void) {
    this.#onChange = onChange;
  }

  degraded(bucket: string, share: number): void {
    this.#shares.set(bucket, share);
    this.#onChange(Math.min(...this.#shares.values()));
  }

  /** The bucket is shared again, or is no longer configured. */
  ended(bucket: string): void {
    if (!this.#shares.delete(bucket)) return;
    this.#onChange(Math.min(1, ...this.#shares.values()));
  }
}
