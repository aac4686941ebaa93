import { remember } from '../remember.ts';

/**
 * Pauses of single callers: a 429 with plenty left in every bucket, or without a word of them, may be about its caller
 * alone (fast mode, a beta, a key, a proxy). It holds back that caller. When a second caller is refused the same way while
 * the first pause lasts, and nobody else has been answered since, it holds back everybody.
 */
const MAX_PLACES = 1_024;
const MAX_CALLERS = 16;

interface Place {
  /** By caller: until when it is held back, and when it was told so. */
  readonly callers: Map<string, { readonly until: number; readonly at: number }>;
  /** When a call of somebody else was answered. */
  answeredAt: number;
}

export class OwnPauses {
  readonly #places = new Map<string, Place>();

  /** Calls that wait, by caller. */
  readonly #waiting = new Map<string, number>();

  get size(): number {
    return this.#places.size;
  }

  waiting(caller: string): number {
    return this.#waiting.get(caller) ?? 0;
  }

  /** A call of the caller begins to wait; to be told when it does no more. */
  wait(caller: string): () => void {
    this.#waiting.set(caller, this.waiting(caller) + 1);
    return () => {
      const left = this.waiting(caller) - 1;
      if (left > 0) this.#waiting.set(caller, left);
      else this.#waiting.delete(caller);
    };
  }

  /** Milliseconds for which the caller is held back at this place: a bucket of an account. */
  waitMs(place: string, caller: string, now: number): number {
    if (this.#places.size === 0) return 0;
    return Math.max(0, (this.#places.get(place)?.callers.get(caller)?.until ?? now) - now);
  }

  /** A caller was refused until `until`. True where the refusals of several callers concern everybody. */
  refused(place: string, caller: string, until: number, sentAt: number, now: number): boolean {
    const known: Place = this.#places.get(place) ?? {
      callers: new Map(),
      answeredAt: Number.NEGATIVE_INFINITY,
    };
    for (const [other, pause] of known.callers) if (pause.until <= now) known.callers.delete(other);
    remember(known.callers, caller, { until, at: now }, MAX_CALLERS);
    remember(this.#places, place, known, MAX_PLACES);
    if (known.answeredAt >= sentAt) return false;
    let told = 0;
    for (const { at } of known.callers.values()) if (at > known.answeredAt) told++;
    return told > 1;
  }

  /** A call of `caller` that was sent at `sentAt` was answered. */
  answered(place: string, caller: string, sentAt: number): void {
    if (this.#places.size === 0) return;
    const known = this.#places.get(place);
    if (known === undefined) return;
    const own = known.callers.get(caller);
    if (own !== undefined && own.at < sentAt) known.callers.delete(caller);
    known.answeredAt = Math.max(known.answeredAt, sentAt);
    if (known.callers.size === 0) this.#places.delete(place);
  }

  /** Pauses end: an operator knows better, or they became everybody's. */
  end(place?: string): void {
    if (place === undefined) this.#places.clear();
    else this.#places.delete(place);
  }
}
