import type { Limit } from './limit.ts';
import { DIMENSIONS, type Dimension, EMPTY, type RateHeaders } from './rate-headers.ts';

/** The shortest pause that is taken for a word on how fast usage grows. */
const LEAST_RAMP_MS = 500;

/** What the API's last refusal of a bucket has told: which limits were empty, or, where none was, that use grows too fast. */
export class LastRefusal {
  /** When a refusal last told of limits. */
  at = Number.NEGATIVE_INFINITY;
  #culprits: readonly Dimension[] = [];
  /** It came with plenty left of everything, or without a word: when its request was sent. */
  #rampSentAt: number | undefined;

  /** `asked`: what the refused call would have been charged at once. Gives the limits that were empty. */
  read(
    headers: RateHeaders,
    asked: Readonly<Record<Dimension, number>>,
    limits: Iterable<Limit>,
    sentAt: number,
    now: number,
  ): readonly Dimension[] {
    const culprits = DIMENSIONS.filter((dimension) => {
      const headroom = headers[dimension];
      return headroom !== undefined && headroom.remaining <= Math.max(EMPTY[dimension], asked[dimension]);
    });
    // Of a provider that tells no limits: was it a 429, as a pause will tell, how fast use may go is all there is to learn.
    this.#rampSentAt = sentAt;
    // An error that says nothing of limits is none of them.
    if (culprits.length === 0 && Object.keys(headers).length === 0) return [];
    this.#culprits = culprits;
    this.at = now;
    const isRoomy = [...limits].every(({ dimension, capacity }) => {
      const remaining = headers[dimension]?.remaining;
      return remaining !== undefined && remaining > capacity / 2;
    });
    this.#rampSentAt = isRoomy ? sentAt : undefined;
    return culprits;
  }

  /** The last refusal showed limits that were empty. */
  get isOfLimit(): boolean {
    return this.#culprits.length > 0;
  }

  /** A pause of `ms` follows: what it is for. Asked once. */
  take(ms: number): { readonly culprits: readonly Dimension[]; readonly rampSentAt: number | undefined } {
    // A pause too short to be meant for a rate of growth slows nothing down.
    const rampSentAt = ms >= LEAST_RAMP_MS ? this.#rampSentAt : undefined;
    const culprits = this.#culprits;
    this.#culprits = [];
    this.#rampSentAt = undefined;
    return { culprits, rampSentAt };
  }
}
