import type { Clock } from '../clock.ts';
import type { Estimator } from '../estimate/estimator.ts';
import type { QuotaScope } from '../policy/plan.ts';
import { answerTokens, type Charge, expectedCharge, type Terms } from '../settlement/charges.ts';
import type { GateKeeper } from './gate.ts';
import type { RateHeaders } from './rate-headers.ts';
import { byGate, type QuotaShare, usedOf } from './shares.ts';
import type { QuotaTicket, Used } from './ticket.ts';
import type { Flight } from './upstream.ts';

/** Why a call ended without a usage of its own. */
export type DropReason =
  /** It was never sent. */
  | 'unsent'
  /** The API refused it: it took a request, and no tokens. */
  | 'refused'
  /** It was sent, and nobody knows what became of it: it is charged as estimated, until a response's headers say more. */
  | 'lost';

/** What an answer teaches beside its charges. */
export interface Seen {
  /** The answer came to its own end, and its length can be learned from. */
  readonly isWhole: boolean;
  /** Input tokens of the prompt itself, without what tools added during the answer; undefined where that is not known. */
  readonly promptTokens: number | undefined;
  /** False where tools of the API's may have added to that number all the same. */
  readonly isPromptSure: boolean;
}

interface LeaseParts {
  readonly scheduler: GateKeeper;
  readonly flight: Flight;
  readonly ticket: QuotaTicket;
  readonly estimator: Estimator;
  readonly clock: Clock;
  readonly lane: string;
  readonly flowKey: string;
  readonly terms: Terms;
  /** The gate of the bucket that a model draws on. */
  readonly gateOf: (model: string) => GateKeeper;
  /** What each quota is charged for an answer. */
  readonly sharesOf: (charges: readonly Charge[]) => {
    readonly usedOf: (scope: QuotaScope) => Used;
    readonly extra: readonly QuotaShare[];
  };
  /** Charges a quota that the call's own ticket does not have. */
  readonly chargeExtra: (share: QuotaShare) => void;
  readonly onClosed: (lease: Lease) => void;
  /** What the call has used, or must be taken to have used. */
  readonly onCharged: (charges: readonly Charge[]) => void;
}

const NOTHING: Used = { inputTokens: 0, outputTokens: 0, usd: 0 };
/** Answers shorter than this come in one piece and tell nothing of the pace, in tokens. */
const LEAST_FOR_SPEED = 32;

/**
 * The right to make one attempt, with all that it holds of the account and of the caller's quotas. It is closed
 * exactly once, by `settle` or by `drop`; closing it again changes nothing.
 */
export class Lease {
  readonly #parts: LeaseParts;
  #isOpen = true;

  constructor(parts: LeaseParts) {
    this.#parts = parts;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Response headers are there. */
  responded(headroom: RateHeaders, isAnswer: boolean, sentAt: number): void {
    const { scheduler, flight, clock } = this.#parts;
    scheduler.upstream.merge(headroom, isAnswer, flight, sentAt, clock.now());
    // Limits that have just been learned may let others go.
    scheduler.wake();
  }

  /** The API told the input that it charges. */
  inputKnown(charges: readonly Charge[]): void {
    if (!this.#isOpen) return;
    const { scheduler, flight, clock } = this.#parts;
    scheduler.upstream.inputKnown(flight, usedOf(this.#own(charges)).inputTokens, clock.now());
  }

  /** The stream has shown this many output tokens in all. */
  progress(outputTokens: number): void {
    const { scheduler, flight, clock } = this.#parts;
    if (this.#isOpen) scheduler.upstream.progress(flight, outputTokens, clock.now());
  }

  /** A 429: everybody who draws on the bucket waits until `until`. `isRamp`: it was for the growth of use. */
  pause(until: number, isRamp = false): void {
    const { scheduler, flight, clock } = this.#parts;
    scheduler.upstream.pause(until, clock.now(), isRamp ? flight.startedAt : undefined);
  }

  /** The API was overloaded, or did not answer in time: fewer calls should run at once. */
  overloaded(): void {
    const { scheduler, flight, clock } = this.#parts;
    scheduler.upstream.overloaded(flight, clock.now());
  }

  /** The API refused the call without naming a time: whom that concerns. Asked before the lease is dropped. */
  congested(): ReturnType<GateKeeper['upstream']['congested']> {
    const { scheduler, flight, clock } = this.#parts;
    return scheduler.upstream.congested(flight, clock.now());
  }

  /** Whether the error that has just come showed a limit that is used up. */
  get isOfLimit(): boolean {
    return this.#parts.scheduler.upstream.isOfLimit;
  }

  /** A 429 with a time and without an empty limit, of this caller alone. */
  refusedAlone(ms: number): void {
    const { scheduler, flight, clock } = this.#parts;
    scheduler.upstream.refusedAlone(flight, ms, clock.now());
  }

  /** Closes with what the answer is billed. */
  settle(charges: readonly Charge[], seen: Seen): void {
    if (!this.#isOpen) return;
    if (this.#parts.flight.demand.chargesTokens) this.#learn(charges, seen);
    this.#charge(charges);
  }

  /**
   * Closes without a usage. Gives the charges that stand in its place where the call is lost. `shown`: output tokens of an
   * answer that came whole, without a usage that could be read.
   */
  drop(reason: DropReason, shown?: number): readonly Charge[] {
    if (!this.#isOpen) return [];
    const { flight, terms } = this.#parts;
    const { estimate, chargesTokens } = flight.demand;
    if (reason !== 'lost' || !chargesTokens) {
      this.#close(reason === 'unsent' ? 0 : 1, reason === 'lost', NOTHING, () => NOTHING);
      return [];
    }
    const { inputTokens } = estimate;
    const charges = [expectedCharge(terms, { inputTokens, outputTokens: shown ?? this.produced() })];
    this.#charge(charges);
    return charges;
  }

  /** Output tokens that the call must be taken to have produced by now, where nothing tells. */
  produced(): number {
    const { flight, estimator, clock } = this.#parts;
    const { estimate, chargesTokens } = flight.demand;
    if (!chargesTokens || !this.#isOpen) return 0;
    const seen = Math.ceil(flight.produced);
    // What a stream has shown is the better witness; a JSON answer shows nothing, and its rest was guessed now and then.
    if (flight.firstTokenAt !== undefined) return seen;
    return Math.max(seen, estimator.producedIn(estimate, clock.now() - flight.startedAt));
  }

  #learn(charges: readonly Charge[], { isWhole, promptTokens, isPromptSure }: Seen): void {
    const { estimator, flight, clock } = this.#parts;
    const { demand, firstTokenAt, startedAt } = flight;
    const { key } = demand.estimate;
    if (promptTokens !== undefined) estimator.learnInput(demand.estimate, promptTokens, isPromptSure);
    if (firstTokenAt !== undefined) estimator.learnFirstToken(key.modelClass, firstTokenAt - startedAt);
    if (!isWhole) return;
    const outputTokens = answerTokens(charges);
    estimator.learnOutput(key, outputTokens);
    // The time that others took part is no time of this model's.
    if (outputTokens < LEAST_FOR_SPEED || charges.length > 1) return;
    const from = firstTokenAt ?? startedAt + estimator.pace(key.modelClass).firstTokenMs;
    estimator.learnSpeed(key.modelClass, outputTokens / ((clock.now() - from) / 1000));
  }

  /** Of these charges, those that draw on the bucket that the call holds. */
  #own(charges: readonly Charge[]): readonly Charge[] {
    const { scheduler, gateOf, terms } = this.#parts;
    return charges.filter(({ model }) => model === terms.model || gateOf(model) === scheduler);
  }

  #charge(charges: readonly Charge[]): void {
    const { clock, gateOf, sharesOf, chargeExtra, onCharged } = this.#parts;
    onCharged(charges);
    const own = this.#own(charges);
    const shares = sharesOf(charges);
    this.#close(1, true, usedOf(own), shares.usedOf);
    const others = charges.filter((charge) => !own.includes(charge));
    for (const [gate, theirs] of byGate(others, gateOf)) {
      const { inputTokens, outputTokens } = usedOf(theirs);
      gate.upstream.charge({ requests: theirs.length, inputTokens, outputTokens }, clock.now());
    }
    for (const share of shares.extra) chargeExtra(share);
  }

  #close(
    requests: 0 | 1,
    isCounted: boolean,
    { inputTokens, outputTokens }: Used,
    usedOfQuota: (scope: QuotaScope) => Used,
  ): void {
    const { scheduler, flight, ticket, clock, lane, flowKey, onClosed } = this.#parts;
    this.#isOpen = false;
    const { upstream } = scheduler;
    const now = clock.now();
    upstream.settle(flight, { requests, inputTokens, outputTokens }, now);
    ticket.settle(isCounted, usedOfQuota);
    const cost = requests === 0 ? 0 : upstream.cost(inputTokens, outputTokens, now - flight.startedAt);
    onClosed(this);
    scheduler.settled(lane, flowKey, cost, flight);
  }
}
