import type { BucketConfig } from '../config/schema.ts';
import type { Reason } from '../errors.ts';
import type { Estimator } from '../estimate/estimator.ts';
import { Concurrency, type Congestion } from './concurrency.ts';
import { FirstLook } from './first-look.ts';
import type { Demand, Flight, Reserve, Shortage } from './flight.ts';
import { Flights } from './flights.ts';
import { LastRefusal } from './last-refusal.ts';
import type { Limit } from './limit.ts';
import { Limits } from './limits.ts';
import { MovingMean, shareAt } from './moving-mean.ts';
import { OutputPace } from './output-pace.ts';
import { type OutputRule, type OutputRuleMaker, Projection } from './output-rule.ts';
import type { OwnCrowd } from './own-crowd.ts';
import { Pauses } from './pauses.ts';
import { Ramp } from './ramp.ts';
import type { Dimension, RateHeaders } from './rate-headers.ts';

export type { Demand, Flight, Shortage } from './flight.ts';

/**
 * A call of a lane with a reserve that has grown goes at this level at the latest, as a share of the depth: waiting for a fuller
 * bucket, it would find it full now and then, and the refill of that time lost.
 */
const MOST_LEVEL = 0.8;
/** Calls are looked at again at least this much later: a forecast that moves would spin the timer. */
const RECHECK_MS = 15;
/** What is kept free for what JSON answers may have produced more than was guessed, in standard deviations. */
const GUESS_MARGIN = 1.5;
const REASON: Record<Dimension, Reason> = {
  requests: 'requests_per_minute',
  inputTokens: 'input_tokens_per_minute',
  outputTokens: 'output_tokens_per_minute',
};

/** One bucket of an account, as the API is believed to keep it: three limits that admit together or not at all. */
export class UpstreamBucket {
  readonly name: string;
  readonly account: string;
  #config: Partial<BucketConfig>;
  readonly #estimator: Estimator;
  readonly #limits: Limits;
  readonly #flights: Flights;
  readonly #output: OutputRule;
  readonly #pace: OutputPace;
  readonly #concurrency: Concurrency;
  readonly #pauses = new Pauses();
  readonly #look = new FirstLook();
  readonly #refusal = new LastRefusal();
  readonly #ramp = new Ramp();
  /** The caller who was the only one there when a pace was learned of a refusal that may be about that caller. */
  #pacedFor: string | undefined;
  /** What a call costs, on average, while there is a pace. */
  readonly #meanCost = new MovingMean();
  /** Milliseconds that a call keeps its slot, on average; 0 until a first one has ended. */
  readonly #meanSlotMs = new MovingMean();
  #wholeInput = 0;

  constructor(
    account: string,
    name: string,
    config: Partial<BucketConfig>,
    estimator: Estimator,
    now: number,
    makeRule: OutputRuleMaker = (of) => new Projection(of),
    isShared = false,
  ) {
    this.account = account;
    this.name = name;
    this.#config = config;
    this.#estimator = estimator;
    this.#output = makeRule(estimator);
    this.#flights = new Flights(estimator, this.#output);
    this.#pace = new OutputPace(estimator, this.#output);
    this.#concurrency = new Concurrency(config.concurrency, isShared);
    this.#limits = new Limits(config, now);
  }

  get active(): number {
    return this.#flights.size;
  }

  get pausedUntil(): number {
    return this.#pauses.until;
  }

  /** Share of the scarcest limit that is ours to use: others may take the rest. */
  get share(): number {
    return this.#limits.share(shareAt(this.#ramp.pacePerMs, this.#meanCost.value));
  }

  /** No limit is configured, and none was told yet. */
  get isUnknown(): boolean {
    return this.#limits.isUnknown;
  }

  /** Whose call was the last that was sent to learn the limits. */
  get lookedBy(): string | undefined {
    return this.#look.caller;
  }

  get #isRealtime(): boolean {
    return this.#config.outputCharging !== 'reserve-max';
  }

  /**
   * Other limits from now on. What is used stays used, so a limit lowered below its use is a debt that refill pays;
   * calls in flight, what was learned and a pause under way live on.
   */
  configure(config: Partial<BucketConfig>, now: number): void {
    this.#refresh(now);
    const wasRealtime = this.#isRealtime;
    this.#config = config;
    this.#concurrency.configure(config.concurrency);
    this.#limits.configure(config, now);
    if (wasRealtime && !this.#isRealtime) this.#flights.chargeInAdvance(this.#limits.output, now);
    this.#flights.stale();
  }

  /** These are a share of the limits of a bucket that takes so much input in a minute: one call may have more than the share. */
  isShareOf(inputTokensPerMinute: number): void {
    this.#wholeInput = inputTokensPerMinute;
  }

  /**
   * Milliseconds of the scarcest dimension that one request with these tokens takes: the measure of fair sharing. Where the
   * number of calls at once is limited, `slotMs` in one of the slots counts as well; left out, the mean of the calls so far.
   */
  cost(inputTokens: number, outputTokens: number, slotMs = this.#meanSlotMs.value): number {
    const cost = this.#limits.cost(inputTokens, outputTokens);
    const { limit } = this.#concurrency;
    return limit === undefined ? cost : Math.max(cost, slotMs / limit);
  }

  /** The same for a call, with its output as it would be estimated now. */
  costOf({ chargesTokens, estimate }: Demand): number {
    if (!chargesTokens) return this.cost(0, 0);
    return this.cost(estimate.inputTokens, this.#estimator.rest(estimate.key, 0).mean);
  }

  /**
   * Milliseconds that `calls` like this one take which were thought to take `thoughtMs`, at what the API bears now: a cap set
   * by overload grows again while they are served.
   */
  queueMs({ estimate }: Demand, calls: number, thoughtMs: number): number {
    const rounds = this.#concurrency.roundsOf(calls);
    if (rounds === undefined) return thoughtMs;
    const { mean } = this.#estimator.rest(estimate.key, 0);
    const byLimits = calls * this.#limits.cost(estimate.inputTokens, mean);
    return Math.min(thoughtMs, Math.max(byLimits, rounds * this.#meanSlotMs.value));
  }

  /** The dimension and limit that a demand is above of for certain, whatever the wait: such a call can never be admitted. */
  tooLarge(demand: Demand): { dimension: Dimension; limit: number } | undefined {
    if (this.#limits.input === undefined) return undefined;
    const limit = Math.max(this.#limits.input.perMinute, this.#wholeInput);
    if (amountOf(demand, 'inputTokens') <= limit) return undefined;
    return demand.estimate.bound.chargedTokens <= limit ? undefined : { dimension: 'inputTokens', limit };
  }

  /**
   * What stands in the way of a call, or nothing. `reserve` is what of each bucket the call's lane may not draw on; `saved` is the input put by for a large call that stands first.
   */
  shortage(demand: Demand, reserve: Reserve, saved: number, now: number): Shortage | undefined {
    const pausedMs = this.#pauses.waitMs(now);
    if (pausedMs > 0) return { reason: 'upstream_paused', waitMs: pausedMs };
    const crowd = this.#concurrency.shortage(this.#flights.size, reserve.least, now);
    if (crowd !== undefined) return { reason: 'concurrency', waitMs: crowd.waitMs };
    const rampMs = this.#ramp.waitMs(this.#limits.requestsPerMs, now);
    let worst: Shortage | undefined = rampMs > 0 ? { reason: 'upstream_paused', waitMs: rampMs } : undefined;
    for (const limit of this.#limits) {
      const { dimension } = limit;
      const reserved =
        limit.capacity * shareFor(reserve, limit, demand) + (dimension === 'inputTokens' ? saved : 0);
      const waitMs =
        limit.source === 'probe'
          ? this.#look.waitMs(demand.caller ?? '', now)
          : dimension === 'outputTokens' && this.#isRealtime
            ? this.#outputWait(limit, demand, reserved, now)
            : this.#amountWait(limit, amountOf(demand, dimension), reserved, now);
      if (waitMs > 0 && waitMs > (worst?.waitMs ?? 0)) worst = { reason: REASON[dimension], waitMs };
    }
    return worst;
  }

  #amountWait(limit: Limit, amount: number, reserved: number, now: number): number {
    return amount <= 0 ? 0 : limit.waitMs(amount, reserved, now);
  }

  #outputWait(limit: Limit, demand: Demand, reserved: number, now: number): number {
    if (!demand.chargesTokens) return 0;
    this.#refresh(now);
    const unsure = GUESS_MARGIN * this.#flights.unsure;
    const level = limit.available(now) - reserved - limit.behind - unsure;
    const capacity = limit.capacity - reserved - limit.spare - unsure;
    const missing = Math.max(
      limit.visible - level,
      this.#output.missing(demand, level - limit.spare, capacity, limit.refillPerMs, now),
    );
    // An idle bucket takes any call: one that is longer than the bucket is deep goes into debt.
    const isIdle = this.#flights.size === 0 && level >= capacity - 1;
    if (isIdle) return 0;
    if (missing <= 0) return this.#pace.waitMs(demand, limit, this.#refusal.at, now);
    limit.grow(now);
    return Math.max(RECHECK_MS, missing / limit.refillPerMs);
  }

  /** Takes what a call asks for. The caller has seen that nothing is short. */
  admit(demand: Demand, now: number): Flight {
    const flight = this.#flights.start(demand, now);
    this.#concurrency.own.started(flight);
    this.#limits.requests?.send(1, 0, now);
    if (this.isUnknown) this.#look.started(flight.caller, now);
    this.#ramp.sent(now);
    if (this.#ramp.pacePerMs !== undefined) this.#meanCost.add(this.costOf(demand));
    if (demand.chargesTokens) {
      const { inputTokens, leastInputTokens } = demand.estimate;
      // What is as good as certain is charged, as the API charges it; what is not is held.
      flight.inputCharged = Math.min(leastInputTokens, inputTokens);
      flight.inputHeld = inputTokens - flight.inputCharged;
      this.#limits.input?.send(flight.inputCharged, flight.inputHeld, now);
      if (this.#isRealtime) {
        const output = this.#limits.output;
        if (output !== undefined) this.#pace.sent(demand, output, this.#refusal.at, now);
        this.#output.started(flight, now);
      } else {
        flight.outputCharged = demand.estimate.maxOutputTokens;
        this.#limits.output?.send(flight.outputCharged, 0, now);
      }
    }
    this.#pauses.sent(now);
    return flight;
  }

  /** The API has told the input that it charges. */
  inputKnown(flight: Flight, tokens: number, now: number): void {
    this.#flights.inputKnown(flight, tokens, this.#limits.input, now);
  }

  /** The stream has shown `produced` tokens in all. */
  progress(flight: Flight, produced: number, now: number): void {
    flight.firstTokenAt ??= now;
    flight.produced = Math.max(flight.produced, produced);
  }

  /** Ends a flight: what was charged by estimate is put right. `requests: 0` gives a request back that was never sent. */
  settle(
    flight: Flight,
    truth: { requests: 0 | 1; inputTokens: number; outputTokens: number },
    now: number,
  ): void {
    if (!this.#flights.end(flight)) return;
    this.#concurrency.ended(flight, this.#flights.size, now);
    this.#look.ended(flight.startedAt, truth.requests === 0);
    if (truth.requests === 0) this.#limits.requests?.take(-1, now);
    else this.#meanSlotMs.add(now - flight.startedAt);
    if (!flight.demand.chargesTokens) return;
    this.inputKnown(flight, truth.inputTokens, now);
    this.#limits.output?.take(truth.outputTokens - flight.outputCharged, now);
    if (this.#isRealtime) this.#output.ended(flight, now);
  }

  /** Takes what another bucket's call has used of this one: its advisor's tokens, or those of a fallback. */
  charge(
    amounts: { readonly requests: number; readonly inputTokens: number; readonly outputTokens: number },
    now: number,
  ): void {
    const { requests, input, output } = this.#limits;
    // A placeholder counts the requests of a first look, and these are none.
    if (requests?.source !== 'probe') requests?.take(amounts.requests, now);
    input?.take(amounts.inputTokens, now);
    output?.take(amounts.outputTokens, now);
  }

  /**
   * Everybody waits until `until`. A later word never shortens an earlier one. `rampSentAt`: the API has said that use
   * grows too fast, to a request sent then; where it does not say so, plenty left of everything says it. Gives when that
   * request was sent, where growth is slowed.
   */
  pause(until: number, now: number, rampSentAt?: number): number | undefined {
    const { culprits, rampSentAt: guessed } = this.#refusal.take(until - now);
    this.#pauses.begin(until, culprits.length > 0, now);
    // What waits then goes at the pace of the refill, and not all at once.
    for (const dimension of culprits)
      this.#limits.get(dimension)?.emptyUntil(this.#pauses.until, this.#refusal.at);
    const sentAt = rampSentAt ?? guessed;
    if (sentAt === undefined) return undefined;
    this.#ramp.refused(sentAt, this.#pauses.until, this.#limits.requestsPerMs, now);
    this.#pacedFor = undefined;
    return sentAt;
  }

  /** An operator knows better than the last refusal. */
  endPause(now: number): void {
    this.#pauses.end();
    this.#refusal.at = Number.NEGATIVE_INFINITY;
    this.#ramp.reset();
    this.#concurrency.forget(now);
  }

  /** The API was overloaded, or did not answer in time: fewer calls at once for a while. */
  overloaded(flight: Flight, now: number): boolean {
    return this.#concurrency.overloaded(flight, this.#flights, now);
  }

  /** The last error showed a limit that is used up. */
  get isOfLimit(): boolean {
    return this.#refusal.isOfLimit;
  }

  /**
   * The API refused the call for `ms`, and showed no empty limit. Where nobody else is there this is all that there is to learn how
   * fast use may go.
   */
  refusedAlone(flight: Flight, ms: number, now: number): void {
    const { rampSentAt } = this.#refusal.take(ms);
    if (rampSentAt === undefined || !this.#concurrency.isAloneAndWell(flight, this.#flights, now)) return;
    this.#ramp.refused(rampSentAt, now, this.#limits.requestsPerMs, now);
    this.#pacedFor = flight.caller;
  }

  /** A call comes. What one caller taught that was alone holds nobody else back. */
  arrives({ caller = '' }: Demand, now: number): void {
    this.#concurrency.arrives(caller, this.#flights, now);
    if (this.#pacedFor === undefined || this.#pacedFor === caller) return;
    this.#pacedFor = undefined;
    this.#ramp.reset();
  }

  /** The cap of this caller's own calls, where there is one. */
  crowdOf(caller: string, now: number): OwnCrowd | undefined {
    return this.#concurrency.own.of(caller, now);
  }

  /** Whoever waits for a place among its caller's calls goes on: to the gate, which says what becomes of it. */
  endCrowds(now: number): void {
    this.#concurrency.own.clear(now);
  }

  /** Milliseconds that a call keeps its slot, on average. */
  get meanSlotMs(): number {
    return this.#meanSlotMs.value;
  }

  /**
   * The API refused the call and named no time. `bucket` where the headers of its response showed an empty limit; else
   * there were too many calls at once, for all or for this caller alone.
   */
  congested(flight: Flight, now: number): Congestion | 'bucket' {
    // A refusal that names no time says nothing of how fast use may grow.
    if (this.#refusal.isOfLimit) return 'bucket';
    this.#refusal.take(0);
    return this.#concurrency.refused(flight, this.#flights, now);
  }

  /** What a response says of the bucket; `isAnswer` where it is no error. See limit.ts for how it is taken. */
  merge(headers: RateHeaders, isAnswer: boolean, flight: Flight, sentAt: number, now: number): void {
    this.#refresh(now);
    for (const dimension of this.see(headers, isAnswer, flight, sentAt, now))
      this.#limits.get(dimension)?.refused(sentAt, now);
    this.#limits.observe(headers, isAnswer, this.#flights, 2 * this.#flights.unsure, sentAt, now);
  }

  /** What a response says beside the levels of the limits. Gives those that a refusal showed to be empty. */
  see(
    headers: RateHeaders,
    isAnswer: boolean,
    flight: Flight,
    sentAt: number,
    now: number,
  ): readonly Dimension[] {
    if (isAnswer) {
      this.#concurrency.answered(flight, now);
      return [];
    }
    const { demand } = flight;
    const asked = {
      requests: 1,
      inputTokens: amountOf(demand, 'inputTokens'),
      outputTokens: this.#isRealtime ? 0 : amountOf(demand, 'outputTokens'),
    };
    return this.#refusal.read(headers, asked, this.#limits, sentAt, now);
  }

  /** Charges what running calls have produced since the last look. */
  #refresh(now: number): void {
    this.#flights.refresh(this.#limits, this.#isRealtime, now);
  }

  /** Input tokens that can be taken now. */
  inputLevel(now: number): number {
    return this.#limits.input?.available(now) ?? 0;
  }

  /** Input tokens that come back in `ms`. */
  inputRefill(ms: number): number {
    return (this.#limits.input?.refillPerMs ?? 0) * ms;
  }

  /** Levels are known to be no higher than these. */
  bound(levels: Partial<Record<Dimension, number>>, now: number): void {
    this.#limits.bound(levels, now);
  }

  /** Levels and limits as plain JSON. */
  snapshot(now: number) {
    this.#refresh(now);
    const pace = this.#ramp.pacePerMs;
    return {
      account: this.account,
      name: this.name,
      limits: this.#limits.snapshot(now),
      active: this.#flights.size,
      concurrency: this.#concurrency.limit,
      expectedOutputTokens: Math.round(this.#output.pending),
      pausedForMs: Math.max(0, Math.round(this.#pauses.until - now)),
      /** Requests a minute, where use has grown too fast for the API. */
      pacePerMinute: pace === undefined ? undefined : Math.round(pace * 60_000),
    };
  }
}

function amountOf(demand: Demand, dimension: Dimension): number {
  if (dimension === 'requests') return 1;
  if (!demand.chargesTokens) return 0;
  return dimension === 'inputTokens' ? demand.estimate.inputTokens : demand.estimate.maxOutputTokens;
}

/** What a reserve has grown by is bounded by what the call needs above it. */
function shareFor({ least, most }: Reserve, { dimension, capacity, spare }: Limit, demand: Demand): number {
  if (most <= least) return least;
  const { outputTokens } = demand.estimate;
  const amount = dimension === 'outputTokens' ? outputTokens : amountOf(demand, dimension);
  return Math.max(least, Math.min(most, MOST_LEVEL - (amount + spare) / capacity));
}
