import type { Clock } from '../clock.ts';
import type { Estimator } from '../estimate/estimator.ts';
import type { PriceTag } from '../policy/price-book.ts';
import { cost } from '../settlement/cost.ts';
import { chargedInput, NO_USAGE, totalInput, type Usage } from '../settlement/usage.ts';
import type { GateKeeper } from './gate.ts';
import type { RateHeaders } from './rate-headers.ts';
import type { QuotaTicket } from './ticket.ts';
import type { Flight } from './upstream.ts';

/** Why a call ended without a usage of its own. */
export type DropReason =
  /** It was never sent. */
  | 'unsent'
  /** The API refused it: it took a request, and no tokens. */
  | 'refused'
  /** It was sent, and nobody knows what became of it: it is charged as estimated. */
  | 'lost';

/**
 * The right to make one attempt, with all that it holds of the account and of the caller's quotas. It is closed
 * exactly once, by `settle` or by `drop`; closing it again changes nothing.
 */
export class Lease {
  readonly #scheduler: GateKeeper;
  readonly #flight: Flight;
  readonly #ticket: QuotaTicket;
  readonly #estimator: Estimator;
  readonly #clock: Clock;
  readonly #lane: string;
  readonly #flowKey: string;
  readonly #price: PriceTag | undefined;
  readonly #onClosed: (lease: Lease) => void;
  readonly #onUsage: (usage: Usage, usd: number | undefined) => void;
  #isOpen = true;

  constructor(parts: {
    scheduler: GateKeeper;
    flight: Flight;
    ticket: QuotaTicket;
    estimator: Estimator;
    clock: Clock;
    lane: string;
    flowKey: string;
    price: PriceTag | undefined;
    onClosed: (lease: Lease) => void;
    /** What the call has used, or must be taken to have used. */
    onUsage: (usage: Usage, usd: number | undefined) => void;
  }) {
    this.#scheduler = parts.scheduler;
    this.#flight = parts.flight;
    this.#ticket = parts.ticket;
    this.#estimator = parts.estimator;
    this.#clock = parts.clock;
    this.#lane = parts.lane;
    this.#flowKey = parts.flowKey;
    this.#price = parts.price;
    this.#onClosed = parts.onClosed;
    this.#onUsage = parts.onUsage;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Response headers are there. */
  responded(headroom: RateHeaders, isAnswer: boolean, sentAt: number): void {
    this.#scheduler.upstream.merge(headroom, isAnswer, this.#flight, sentAt, this.#clock.now());
    // Limits that have just been learned may let others go.
    this.#scheduler.wake();
  }

  /** The API told the input that it charges. */
  inputKnown(usage: Usage): void {
    if (!this.#isOpen) return;
    this.#scheduler.upstream.inputKnown(this.#flight, chargedInput(usage), this.#clock.now());
  }

  /** The stream has shown this many output tokens in all. */
  progress(outputTokens: number): void {
    if (this.#isOpen) this.#scheduler.upstream.progress(this.#flight, outputTokens, this.#clock.now());
  }

  /** A 429: everybody who draws on the bucket waits until `until`. `isRamp`: it was for the growth of use. */
  pause(until: number, isRamp = false): void {
    const sentAt = isRamp ? this.#flight.startedAt : undefined;
    this.#scheduler.upstream.pause(until, this.#clock.now(), sentAt);
  }

  /** The API was overloaded, or did not answer in time: fewer calls should run at once. */
  overloaded(): void {
    this.#scheduler.upstream.overloaded(this.#flight.startedAt, this.#clock.now());
  }

  /** The API refused the call without naming a time: whom that concerns. Asked before the lease is dropped. */
  congested(): ReturnType<GateKeeper['upstream']['congested']> {
    return this.#scheduler.upstream.congested(this.#flight, this.#clock.now());
  }

  /** Closes with what the call has used. `isWhole` says that the answer came to its own end, and can be learned from. */
  settle(usage: Usage, isWhole: boolean): void {
    if (!this.#isOpen) return;
    const { demand, firstTokenAt, startedAt } = this.#flight;
    const { key } = demand.estimate;
    const now = this.#clock.now();
    if (demand.chargesTokens) {
      this.#estimator.learnInput(demand.estimate, totalInput(usage));
      if (isWhole) this.#estimator.learnOutput(key, usage.outputTokens);
      if (firstTokenAt !== undefined)
        this.#estimator.learnFirstToken(key.modelClass, firstTokenAt - startedAt);
      // Short answers come in one piece and tell nothing of the pace.
      if (isWhole && usage.outputTokens >= 32) {
        const from = firstTokenAt ?? startedAt + this.#estimator.pace(key.modelClass).firstTokenMs;
        this.#estimator.learnSpeed(key.modelClass, usage.outputTokens / ((now - from) / 1000));
      }
    }
    const usd = cost(this.#price, usage);
    this.#onUsage(usage, usd);
    this.#close(1, true, {
      inputTokens: chargedInput(usage),
      outputTokens: usage.outputTokens,
      usd: usd ?? 0,
    });
  }

  /** Closes without a usage. */
  drop(reason: DropReason): void {
    if (!this.#isOpen) return;
    if (reason !== 'lost') {
      this.#close(reason === 'unsent' ? 0 : 1, false, {
        inputTokens: 0,
        outputTokens: 0,
        usd: 0,
      });
      return;
    }
    const { estimate, chargesTokens } = this.#flight.demand;
    const inputTokens = chargesTokens ? estimate.inputTokens : 0;
    const outputTokens = Math.ceil(this.#flight.produced);
    const usage = { ...NO_USAGE, inputTokens, outputTokens };
    const usd = cost(this.#price, usage);
    if (chargesTokens) this.#onUsage(usage, usd);
    this.#close(1, true, { inputTokens, outputTokens, usd: usd ?? 0 });
  }

  #close(
    requests: 0 | 1,
    isCounted: boolean,
    truth: { inputTokens: number; outputTokens: number; usd: number },
  ): void {
    this.#isOpen = false;
    const { upstream } = this.#scheduler;
    const { startedAt } = this.#flight;
    const now = this.#clock.now();
    upstream.settle(this.#flight, { requests, ...truth }, now);
    this.#ticket.settle(isCounted, truth);
    const cost = requests === 0 ? 0 : upstream.cost(truth.inputTokens, truth.outputTokens, now - startedAt);
    this.#onClosed(this);
    this.#scheduler.settled(this.#lane, this.#flowKey, cost, this.#flight);
  }
}
