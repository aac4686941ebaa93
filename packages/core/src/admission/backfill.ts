import type { Lanes } from './lanes.ts';
import type { UpstreamBucket } from './upstream.ts';
import type { Waiter } from './waiter.ts';

/** Users whose first call is tried when a large one stands first. */
const TRIED = 32;
/** Share of the input refill that is put by for a large call that stands first; the rest goes to those that pass it. */
const SAVING = 0.5;

/**
 * Calls that pass a large prompt which waits for input. All of the refill put by for it would be soonest for it and would leave
 * requests and output idle, since every other call takes some input too; none put by would let a stream of small calls
 * starve it. Half is put by: what has been saved is exact, nobody may draw on it, so the large call waits at
 * most twice as long as with the bucket to itself, and the others have the other half meanwhile.
 */
export class Backfill {
  #head: { waiter: Waiter; since: number; base: number } | undefined;

  /** Somebody who may pass `head` now. */
  find(head: Waiter, lanes: Lanes<Waiter>, upstream: UpstreamBucket, now: number): Waiter | undefined {
    if (this.#head?.waiter !== head)
      this.#head = { waiter: head, since: now, base: Math.max(0, upstream.inputLevel(now)) };
    const { since, base } = this.#head;
    const saved = base + SAVING * upstream.inputRefill(now - since);
    let tried = 0;
    for (const lane of lanes.turn(now)) {
      for (const candidate of lane.queue.peekFlows(TRIED - tried)) {
        tried++;
        if (candidate === head || candidate.arrival.ticket.ready() !== undefined) continue;
        const { demand } = candidate.arrival;
        if (upstream.shortage(demand, lanes.reserveOf(lane, now), saved, now) === undefined) return candidate;
      }
    }
    return undefined;
  }

  left(waiter: Waiter): void {
    if (this.#head?.waiter === waiter) this.#head = undefined;
  }
}
