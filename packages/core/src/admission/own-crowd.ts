import { OverloadCap } from './overload-cap.ts';
import { RefusalCap } from './refusal-cap.ts';

/** A call that waits for a place among the calls of its caller: called when it has one. */
export type Waiting = () => void;

/** A call's place among those of its caller in flight. */
export interface OwnPlace {
  readonly crowd: OwnCrowd;
  /** Calls of the caller in flight when it was sent, itself included. */
  readonly among: number;
}

/**
 * Calls of one caller that may be in flight at once, where the API refuses that caller and answers others: a limit of a
 * key, of a workspace, or of a proxy. Calls wait here outside every queue, first come first served, and delay nobody else.
 */
export class OwnCrowd {
  readonly refusals: RefusalCap;
  readonly overload: OverloadCap;
  /** Calls of the caller that are in flight. */
  #active = 0;
  /** Calls that have left here and are not in flight yet. */
  #entering = 0;
  readonly #waiting = new Set<Waiting>();
  /** Calls that wait, and were in flight before: they go first. */
  readonly #returned = new Set<Waiting>();
  /** When the cap was last as good as used up. */
  pressedAt: number;

  constructor(now: number, refusals = new RefusalCap(), overload = new OverloadCap()) {
    this.pressedAt = now;
    this.refusals = refusals;
    this.overload = overload;
  }

  /** Calls that wait. */
  get size(): number {
    return this.#waiting.size + this.#returned.size;
  }

  /** Calls that may be in flight; infinite where nothing binds any more. */
  get limit(): number {
    return Math.min(this.refusals.limit, this.overload.limit);
  }

  /** Calls of the caller in flight. */
  get active(): number {
    return this.#active;
  }

  get #hasRoom(): boolean {
    const used = this.#active + this.#entering;
    return used < this.overload.limit && this.refusals.hasRoom(used);
  }

  /** More calls are in flight than may be: the last of them is not to be sent. */
  get isOverfull(): boolean {
    const before = this.#active + this.#entering - 1;
    return before >= this.overload.limit || !this.refusals.hasRoom(before);
  }

  /** Takes a place if there is one and nobody waits for it. `left` is to be called once the call is in flight, or refused. */
  tryEnter(now: number, isReturned: boolean): boolean {
    const isAhead = this.#returned.size > 0 || (!isReturned && this.#waiting.size > 0);
    if (isAhead || !this.#hasRoom) return false;
    this.#take(now);
    return true;
  }

  #take(now: number): void {
    this.#entering++;
    if (this.#active + this.#entering >= this.limit) this.pressedAt = now;
  }

  /** The call that took a place is in flight by now, or never will be. */
  left(now: number): void {
    this.#entering--;
    this.wake(now);
  }

  wait(waiting: Waiting, isReturned: boolean, now: number): void {
    this.pressedAt = now;
    (isReturned ? this.#returned : this.#waiting).add(waiting);
  }

  leave(waiting: Waiting): void {
    this.#waiting.delete(waiting);
    this.#returned.delete(waiting);
  }

  /** Lets as many go as there is room for. */
  wake(now: number): void {
    for (const queue of [this.#returned, this.#waiting])
      for (const waiting of queue) {
        if (!this.#hasRoom) return;
        queue.delete(waiting);
        this.#take(now);
        waiting();
      }
  }

  /** A call is in flight. */
  started(): OwnPlace {
    return { crowd: this, among: ++this.#active };
  }

  /** A call that was one of `among` was answered. */
  answered(startedAt: number, among: number): void {
    this.refusals.answered(startedAt, among);
  }

  /** A call that was one of `among` was refused; it is still counted. */
  refused(startedAt: number, among: number, now: number): void {
    this.pressedAt = now;
    this.refusals.refused(startedAt, among, this.#active - 1, now);
  }

  overloaded(startedAt: number, now: number): void {
    this.pressedAt = now;
    this.overload.overloaded(startedAt, this.#active, now);
  }

  /** A call is in flight no more. */
  ended(startedAt: number, now: number): void {
    this.#active--;
    this.refusals.ended(startedAt);
    this.overload.ended(startedAt, this.#active);
    this.wake(now);
  }

  /** The cap is no more: whoever waits goes. */
  dissolve(now: number): void {
    this.refusals.forget();
    this.overload.forget();
    this.wake(now);
  }
}
