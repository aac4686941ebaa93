import { endRamp, openRamp, rampWait, refusedFor, sent } from '../stores/ledger/ramp.ts';

/** How fast use of one process may grow; see stores/ledger/ramp.ts for how it is judged. */
export class Ramp {
  readonly #state = openRamp();

  /** A request leaves. */
  sent(now: number): void {
    sent(this.#state, 1, now);
  }

  /**
   * The API refused a request sent at `sentAt` for the growth of use, and asks for a pause until `until`. `limitPerMs`:
   * what the bucket allows, where that is known.
   */
  refused(sentAt: number, until: number, limitPerMs: number | undefined, now: number): void {
    refusedFor(this.#state, sentAt, until, limitPerMs ?? 0, now);
  }

  /** Milliseconds until the next request may go, as far as growth is concerned. */
  waitMs(limitPerMs: number | undefined, now: number): number {
    return rampWait(this.#state, limitPerMs ?? 0, now);
  }

  /** The pace, in requests per millisecond, where there is one. */
  get pacePerMs(): number | undefined {
    return this.#state.pace > 0 ? this.#state.pace : undefined;
  }

  /** An operator knows better. */
  reset(): void {
    endRamp(this.#state);
  }
}
