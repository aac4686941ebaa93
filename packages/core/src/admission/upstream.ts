import type { BucketConfig } from '../config/schema.ts';
import type { Reason } from '../errors.ts';
import type { Estimator } from '../estimate/estimator.ts';
import { Concurrency } from './concurrency.ts';
import type { Demand, Flight, Shortage } from './flight.ts';
import { Limit, type LimitSource } from './limit.ts';
import { OutputPace } from './output-pace.ts';
import { type OutputRule, type OutputRuleMaker, Projection } from './output-rule.ts';
import { Pauses } from './pauses.ts';
import { Ramp } from './ramp.ts';
import { DIMENSIONS, type Dimension, type RateHeaders } from './rate-headers.ts';

export type { Demand, Flight, Shortage } from './flight.ts';

/** How often running calls are looked at again: what they have produced is charged, and the rest of each thought over. */
const REFRESH_MS = 200;
/** The shortest pause that is taken for a word on how fast usage grows. */
const LEAST_RAMP_MS = 500;
/** With no limit known, one request a second goes out until a response tells the limits. */
const PROBE = { limit: 60, burst: 1 / 60 };
/** Calls are looked at again at least this much later: a forecast that moves would spin the timer. */
const RECHECK_MS = 15;
/** An API that has not told by then what it charges a call for input has charged what it estimates, which we can no better. */
const HOLD_MS = 3_000;
/** Standard deviation of the guess of what a JSON answer has produced, as a share of it: paces differ by about as much. */
const GUESS = 0.2;
/** Of its pooled standard deviation: what is kept free for it. */
const GUESS_MARGIN = 1.5;
/** Share that one call has in the average of what calls cost. */
const MEAN_STEP = 0.05;
/** A bucket that shows no more than this in a refusal, or than was asked of it, is the one that refused. */
const EMPTY: Record<Dimension, number> = { requests: 0, inputTokens: 1_000, outputTokens: 500 };

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
  readonly #limits = new Map<Dimension, Limit>();
  readonly #flights = new Set<Flight>();
  readonly #output: OutputRule;
  readonly #pace: OutputPace;
  readonly #concurrency: Concurrency;
  /** Of the level of output, for what JSON answers may have produced more or less than was guessed. */
  #guessVariance = 0;
  #refreshedAt = Number.NEGATIVE_INFINITY;
  readonly #pauses = new Pauses();
  /** Dimensions that were empty in the last refusal. */
  #culprits: readonly Dimension[] = [];
  #refusedAt = Number.NEGATIVE_INFINITY;
  readonly #ramp = new Ramp();
  /** The last refusal came with plenty left of everything, or without a word: when its request was sent. */
  #rampSentAt: number | undefined;
  /** What a call costs, on average, while there is a pace. */
  #meanCost = 0;

  constructor(
    account: string,
    name: string,
    config: Partial<BucketConfig>,
    estimator: Estimator,
    now: number,
    makeRule: OutputRuleMaker = (of) => new Projection(of),
  ) {
    this.account = account;
    this.name = name;
    this.#config = config;
    this.#estimator = estimator;
    this.#output = makeRule(estimator);
    this.#pace = new OutputPace(estimator, this.#output);
    this.#concurrency = new Concurrency(config.concurrency);
    for (const dimension of DIMENSIONS) {
      const perMinute = this.#configured(dimension);
      if (perMinute !== undefined) this.#open(dimension, perMinute, 'configured', config.burst, now);
    }
    if (this.#limits.size === 0) this.#open('requests', PROBE.limit, 'probe', PROBE.burst, now);
  }

  get active(): number {
    return this.#flights.size;
  }

  get pausedUntil(): number {
    return this.#pauses.until;
  }

  /** Share of the scarcest limit that is ours to use: others may take the rest. */
  get share(): number {
    let share = 1;
    for (const limit of this.#limits.values()) share = Math.min(share, limit.refillPerMs / limit.ratePerMs);
    const pace = this.#ramp.pacePerMs;
    if (pace !== undefined && this.#meanCost > 0) share = Math.min(share, pace * this.#meanCost);
    return Math.max(0.05, share);
  }

  get #isRealtime(): boolean {
    return this.#config.outputCharging !== 'reserve-max';
  }

  /**
   * Other limits from now on. What is used stays used, so a limit lowered below its use is a debt that refill pays;
   * calls in flight, what was learned and a pause under way live on. A limit that is no longer configured goes
   * on as a learned one until a response says otherwise.
   */
  configure(config: Partial<BucketConfig>, now: number): void {
    this.#refresh(now);
    const wasRealtime = this.#isRealtime;
    this.#config = config;
    this.#concurrency.configure(config.concurrency);
    for (const dimension of DIMENSIONS) {
      const known = this.#limits.get(dimension);
      const perMinute = this.#configured(dimension) ?? known?.perMinute;
      if (perMinute === undefined) continue;
      if (known !== undefined && known.source !== 'probe') known.resize(perMinute, config.burst, now);
      else if (this.#configured(dimension) !== undefined)
        this.#open(dimension, perMinute, 'configured', config.burst, now);
    }
    if (this.#limits.size > 1 && this.#limits.get('requests')?.source === 'probe')
      this.#limits.delete('requests');
    if (wasRealtime && !this.#isRealtime) this.#chargeInAdvance(now);
    this.#refreshedAt = Number.NEGATIVE_INFINITY;
  }

  /** The switch to charging in advance: what runs is charged its ceiling, as if it had started so. */
  #chargeInAdvance(now: number): void {
    for (const flight of this.#flights) {
      if (!flight.demand.chargesTokens) continue;
      this.#output.ended(flight, now);
      const ceiling = flight.demand.estimate.maxOutputTokens;
      this.#limits.get('outputTokens')?.take(ceiling - flight.outputCharged, now);
      flight.outputCharged = ceiling;
    }
  }

  #configured(dimension: Dimension): number | undefined {
    if (dimension === 'requests') return this.#config.requestsPerMinute;
    return dimension === 'inputTokens'
      ? this.#config.inputTokensPerMinute
      : this.#config.outputTokensPerMinute;
  }

  #open(
    dimension: Dimension,
    perMinute: number,
    source: LimitSource,
    burst: number | undefined,
    now: number,
  ): Limit {
    const limit = new Limit(dimension, perMinute, source, burst, now);
    this.#limits.set(dimension, limit);
    return limit;
  }

  /** Milliseconds of the scarcest dimension that one request with these tokens takes: the measure of fair sharing. */
  cost(inputTokens: number, outputTokens: number): number {
    const amounts = { requests: 1, inputTokens, outputTokens };
    let cost = 0;
    for (const limit of this.#limits.values())
      cost = Math.max(cost, amounts[limit.dimension] / limit.ratePerMs);
    // With nothing limited, calls still share by count.
    return cost > 0 ? cost : 1;
  }

  /** The same for a call, with its output as it would be estimated now. */
  costOf({ chargesTokens, estimate }: Demand): number {
    if (!chargesTokens) return this.cost(0, 0);
    return this.cost(estimate.inputTokens, this.#estimator.rest(estimate.key, 0).mean);
  }

  /** The dimension and limit that a demand is above of, whatever the wait: such a call can never be admitted. */
  tooLarge(demand: Demand): { dimension: Dimension; limit: number } | undefined {
    const limit = this.#limits.get('inputTokens');
    if (limit === undefined || amountOf(demand, 'inputTokens') <= limit.perMinute) return undefined;
    return { dimension: 'inputTokens', limit: limit.perMinute };
  }

  /**
   * What stands in the way of a call, or nothing. `reserve` is the share of each bucket that the call's lane may
   * not draw on; `saved` is the input put by for a large call that stands first.
   */
  shortage(demand: Demand, reserve: number, saved: number, now: number): Shortage | undefined {
    const pausedMs = this.#pauses.waitMs(now);
    if (pausedMs > 0) return { reason: 'upstream_paused', waitMs: pausedMs };
    if (!this.#concurrency.hasRoom(this.#flights.size)) return { reason: 'concurrency', waitMs: undefined };
    const rampMs = this.#ramp.waitMs(this.#requestsPerMs, now);
    let worst: Shortage | undefined = rampMs > 0 ? { reason: 'upstream_paused', waitMs: rampMs } : undefined;
    for (const limit of this.#limits.values()) {
      const { dimension } = limit;
      const reserved = limit.capacity * reserve + (dimension === 'inputTokens' ? saved : 0);
      const waitMs =
        dimension === 'outputTokens' && this.#isRealtime
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
    const unsure = GUESS_MARGIN * Math.sqrt(this.#guessVariance);
    const level = limit.available(now) - reserved - limit.behind - unsure;
    const capacity = limit.capacity - reserved - limit.spare - unsure;
    const missing = Math.max(
      limit.visible - level,
      this.#output.missing(demand, level - limit.spare, capacity, limit.refillPerMs, now),
    );
    // An idle bucket takes any call: one that is longer than the bucket is deep goes into debt.
    const isIdle = this.#flights.size === 0 && level >= capacity - 1;
    if (isIdle) return 0;
    if (missing <= 0) return this.#pace.waitMs(demand, limit, this.#refusedAt, now);
    limit.grow(now);
    return Math.max(RECHECK_MS, missing / limit.refillPerMs);
  }

  /** Takes what a call asks for. The caller has seen that nothing is short. */
  admit(demand: Demand, now: number): Flight {
    const flight: Flight = {
      demand,
      startedAt: now,
      inputHeld: 0,
      inputCharged: 0,
      outputCharged: 0,
      produced: 0,
      firstTokenAt: undefined,
      turn: undefined,
    };
    this.#limits.get('requests')?.send(1, 0, now);
    this.#ramp.sent(now);
    if (this.#ramp.pacePerMs !== undefined) {
      const cost = this.costOf(demand);
      this.#meanCost += (this.#meanCost === 0 ? 1 : MEAN_STEP) * (cost - this.#meanCost);
    }
    if (demand.chargesTokens) {
      const { inputTokens, leastInputTokens } = demand.estimate;
      // What is as good as certain is charged, as the API charges it; what is not is held.
      flight.inputCharged = Math.min(leastInputTokens, inputTokens);
      flight.inputHeld = inputTokens - flight.inputCharged;
      this.#limits.get('inputTokens')?.send(flight.inputCharged, flight.inputHeld, now);
      if (this.#isRealtime) {
        const output = this.#limits.get('outputTokens');
        if (output !== undefined) this.#pace.sent(demand, output, this.#refusedAt, now);
        this.#output.started(flight, now);
      } else {
        flight.outputCharged = demand.estimate.maxOutputTokens;
        this.#limits.get('outputTokens')?.send(flight.outputCharged, 0, now);
      }
    }
    this.#flights.add(flight);
    this.#pauses.sent(now);
    return flight;
  }

  /** The API has told the input that it charges. */
  inputKnown(flight: Flight, tokens: number, now: number): void {
    const limit = this.#limits.get('inputTokens');
    limit?.take(tokens - flight.inputCharged, now);
    limit?.release(flight.inputHeld, now);
    flight.inputCharged = tokens;
    flight.inputHeld = 0;
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
    if (!this.#flights.delete(flight)) return;
    this.#concurrency.ended(flight.startedAt, this.#flights.size, now);
    if (truth.requests === 0) this.#limits.get('requests')?.take(-1, now);
    if (!flight.demand.chargesTokens) return;
    this.inputKnown(flight, truth.inputTokens, now);
    this.#limits.get('outputTokens')?.take(truth.outputTokens - flight.outputCharged, now);
    if (this.#isRealtime) this.#output.ended(flight, now);
  }

  /**
   * Everybody waits until `until`. A later word never shortens an earlier one. `rampSentAt`: the API has said that use
   * grows too fast, to a request sent then; where it does not say so, plenty left of everything says it.
   */
  pause(until: number, now: number, rampSentAt?: number): void {
    this.#pauses.begin(until, this.#culprits.length > 0, now);
    // What waits then goes at the pace of the refill, and not all at once.
    for (const dimension of this.#culprits)
      this.#limits.get(dimension)?.emptyUntil(this.#pauses.until, this.#refusedAt);
    this.#culprits = [];
    // A pause too short to be meant for a rate of growth slows nothing down.
    const guessed = until - now >= LEAST_RAMP_MS ? this.#rampSentAt : undefined;
    this.#rampSentAt = undefined;
    const sentAt = rampSentAt ?? guessed;
    if (sentAt !== undefined) this.#ramp.refused(sentAt, this.#pauses.until, this.#requestsPerMs, now);
  }

  get #requestsPerMs(): number | undefined {
    const limit = this.#limits.get('requests');
    return limit === undefined || limit.source === 'probe' ? undefined : limit.ratePerMs;
  }

  /** An operator knows better than the last refusal. */
  endPause(): void {
    this.#pauses.end();
    this.#refusedAt = Number.NEGATIVE_INFINITY;
    this.#ramp.reset();
  }

  /** The API was overloaded, or did not answer in time: fewer calls at once for a while. */
  overloaded(startedAt: number, now: number): void {
    this.#concurrency.overloaded(startedAt, this.#flights.size, now);
  }

  /** What a response says of the bucket; `isAnswer` where it is no error. See limit.ts for how it is taken. */
  merge(headers: RateHeaders, isAnswer: boolean, { demand }: Flight, sentAt: number, now: number): void {
    this.#refresh(now);
    if (!isAnswer) this.#refused(headers, demand, sentAt, now);
    for (const dimension of DIMENSIONS) {
      const headroom = headers[dimension];
      const known = this.#limits.get(dimension);
      if (headroom === undefined) {
        // A provider whose answers tell no limit of this kind keeps none that we could respect. An error tells nothing.
        if (isAnswer && known?.source === 'probe') this.#limits.delete(dimension);
        continue;
      }
      const limit = this.#learnLimit(dimension, headroom.limit, known, now);
      limit.observe(headroom.remaining, sentAt, this.#unsure(dimension), now, headroom.limit);
    }
  }

  #learnLimit(dimension: Dimension, told: number, known: Limit | undefined, now: number): Limit {
    const configured = this.#configured(dimension);
    const perMinute = Math.min(told, configured ?? Number.POSITIVE_INFINITY);
    if (known === undefined || known.source === 'probe') {
      const limit = this.#open(dimension, perMinute, 'learned', this.#config.burst, now);
      for (const flight of this.#flights) {
        if (dimension === 'requests') limit.send(1, 0, now);
        else if (dimension === 'inputTokens') limit.send(flight.inputCharged, flight.inputHeld, now);
      }
      return limit;
    }
    if (known.perMinute !== perMinute) known.resize(perMinute, this.#config.burst, now);
    return known;
  }

  #refused(headers: RateHeaders, demand: Demand, sentAt: number, now: number): void {
    const culprits = DIMENSIONS.filter((dimension) => {
      const headroom = headers[dimension];
      if (headroom === undefined) return false;
      const isCharged = dimension !== 'outputTokens' || !this.#isRealtime;
      const asked = isCharged ? amountOf(demand, dimension) : 0;
      return headroom.remaining <= Math.max(EMPTY[dimension], asked);
    });
    // Of a provider that tells no limits: was it a 429, as a pause will tell, how fast use may go is all there is to learn.
    this.#rampSentAt = sentAt;
    // An error that says nothing of limits is none of them.
    if (culprits.length === 0 && Object.keys(headers).length === 0) return;
    this.#culprits = culprits;
    this.#refusedAt = now;
    for (const dimension of culprits) this.#limits.get(dimension)?.refused(sentAt, now);
    const isRoomy = [...this.#limits.values()].every(({ dimension, capacity }) => {
      const remaining = headers[dimension]?.remaining;
      return remaining !== undefined && remaining > capacity / 2;
    });
    this.#rampSentAt = isRoomy ? sentAt : undefined;
  }

  /** Tokens that may have been charged upstream and not here, or the other way round. */
  #unsure(dimension: Dimension): number {
    if (dimension !== 'outputTokens') return 0;
    return 2 * Math.sqrt(this.#guessVariance);
  }

  /** Charges what running calls have produced since the last look, and has the rest of each thought over. */
  #refresh(now: number): void {
    if (now - this.#refreshedAt < REFRESH_MS) return;
    this.#refreshedAt = now;
    const output = this.#limits.get('outputTokens');
    const input = this.#limits.get('inputTokens');
    let produced = 0;
    this.#guessVariance = 0;
    for (const flight of this.#flights) {
      if (!flight.demand.chargesTokens) continue;
      if (flight.inputHeld > 0 && now - flight.startedAt > HOLD_MS) {
        input?.take(flight.inputHeld, now);
        input?.release(flight.inputHeld, now);
        flight.inputCharged += flight.inputHeld;
        flight.inputHeld = 0;
      }
      if (!this.#isRealtime) continue;
      if (!flight.demand.isStreaming) this.#guess(flight, now);
      if (flight.produced > flight.outputCharged) {
        produced += flight.produced - flight.outputCharged;
        flight.outputCharged = flight.produced;
        this.#estimator.running(flight.demand.estimate.key, flight.produced);
      }
    }
    if (!this.#isRealtime) return;
    output?.take(produced, now);
    this.#output.refresh(this.#flights, now);
  }

  /** A JSON answer shows nothing until its end: it is taken to come on at the usual pace. */
  #guess(flight: Flight, now: number): void {
    const pace = this.#estimator.pace(flight.demand.estimate.key.modelClass);
    const ms = now - flight.startedAt - pace.firstTokenMs;
    const soFar = Math.max(0, ms) * (pace.tokensPerSecond / 1000);
    flight.produced = Math.max(flight.produced, Math.min(soFar, flight.demand.estimate.maxOutputTokens));
    this.#guessVariance += (GUESS * flight.produced) ** 2;
  }

  /** Input tokens that can be taken now. */
  inputLevel(now: number): number {
    return this.#limits.get('inputTokens')?.available(now) ?? 0;
  }

  /** Input tokens that come back in `ms`. */
  inputRefill(ms: number): number {
    return (this.#limits.get('inputTokens')?.refillPerMs ?? 0) * ms;
  }

  /** Levels are known to be no higher than these. */
  bound(levels: Partial<Record<Dimension, number>>, now: number): void {
    for (const dimension of DIMENSIONS) {
      const level = levels[dimension];
      if (level !== undefined) this.#limits.get(dimension)?.lowerTo(level, now);
    }
  }

  /** Levels and limits as plain JSON. */
  snapshot(now: number) {
    this.#refresh(now);
    const limits = [...this.#limits].map(([dimension, limit]) => [dimension, limit.snapshot(now)] as const);
    const pace = this.#ramp.pacePerMs;
    return {
      account: this.account,
      name: this.name,
      limits: Object.fromEntries(limits),
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
