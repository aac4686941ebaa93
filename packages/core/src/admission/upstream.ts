import type { BucketConfig } from '../config/schema.ts';
import type { Reason } from '../errors.ts';
import type { Estimate, Estimator } from '../estimate/estimator.ts';
import { type Bucket, boundAbove, fullBucket, levelAt, resize, take, waitFor } from './bucket.ts';
import { Forecast, type Production } from './forecast.ts';
import { DIMENSIONS, type Dimension, type RateHeaders } from './rate-headers.ts';

/**
 * Requests may reach the API closer together than they left: each bucket is kept this many milliseconds of
 * refill behind what has been sent. It is an offset of the level, paid once, not a loss of rate.
 */
const ARRIVAL_JITTER_MS = 100;
/** Token counts in headers are rounded to the nearest thousand. */
const ROUNDING = 500;
/** How often the forecast of running calls is made anew. */
const REFORECAST_MS = 100;
/** With no limit known, one request a second goes out until a response tells the limits. */
const PROBE = { limit: 60, burst: 1 / 60 };
/** Calls are looked at again at least this much later: a forecast that moves would spin the timer. */
const RECHECK_MS = 15;

const REASON: Record<Dimension, Reason> = {
  requests: 'requests_per_minute',
  inputTokens: 'input_tokens_per_minute',
  outputTokens: 'output_tokens_per_minute',
};

/** What a call asks of an upstream bucket. */
export interface Demand {
  readonly estimate: Estimate;
  /** Whether the call charges tokens at all: counting tokens takes a request and nothing else. */
  readonly chargesTokens: boolean;
  readonly isStreaming: boolean;
}

/** What stands in the way of a call, and for how long. */
export interface Shortage {
  readonly reason: Reason;
  /** Milliseconds until it is worth another look; absent where an event must come first. */
  readonly waitMs: number | undefined;
}

/** A call that has been admitted and is not settled. Owned by its lease; changed by the bucket alone. */
export interface Flight {
  readonly demand: Demand;
  readonly startedAt: number;
  inputCharged: number;
  outputCharged: number;
  /** Tokens that the stream has shown; a JSON answer shows none until its end. */
  produced: number;
  firstTokenAt: number | undefined;
  production: Production;
}

interface Limit {
  bucket: Bucket;
  perMinute: number;
  source: 'configured' | 'learned' | 'probe';
}

/** One bucket of an account, as the API is believed to keep it. */
export class UpstreamBucket {
  readonly name: string;
  readonly account: string;
  #config: Partial<BucketConfig>;
  readonly #estimator: Estimator;
  readonly #limits = new Map<Dimension, Limit>();
  readonly #flights = new Set<Flight>();
  readonly #forecast = new Forecast();
  #forecastAt = Number.NEGATIVE_INFINITY;
  #pausedUntil = Number.NEGATIVE_INFINITY;

  constructor(
    account: string,
    name: string,
    config: Partial<BucketConfig>,
    estimator: Estimator,
    now: number,
  ) {
    this.account = account;
    this.name = name;
    this.#config = config;
    this.#estimator = estimator;
    for (const dimension of DIMENSIONS) {
      const perMinute = this.#configured(dimension);
      if (perMinute !== undefined) this.#set(dimension, perMinute, 'configured', this.#burst, now);
    }
    if (this.#limits.size === 0) this.#set('requests', PROBE.limit, 'probe', PROBE.burst, now);
  }

  get active(): number {
    return this.#flights.size;
  }

  get pausedUntil(): number {
    return this.#pausedUntil;
  }

  get #burst(): number {
    return this.#config.burst ?? 0.1;
  }

  /**
   * Other limits from now on. What is used stays used, so a limit lowered below its use is a debt that refill pays;
   * calls in flight, what was learned and a pause under way live on. A limit that is no longer configured goes
   * on as a learned one until a response says otherwise.
   */
  configure(config: Partial<BucketConfig>, now: number): void {
    this.#reforecast(now);
    const wasRealtime = this.#config.outputCharging !== 'reserve-max';
    this.#config = config;
    for (const dimension of DIMENSIONS) {
      const known = this.#limits.get(dimension);
      const perMinute = this.#configured(dimension);
      if (perMinute !== undefined) {
        if (known?.source === 'probe') this.#limits.delete(dimension);
        this.#set(dimension, perMinute, 'configured', this.#burst, now);
      } else if (known !== undefined && known.source !== 'probe')
        this.#set(dimension, known.perMinute, 'learned', this.#burst, now);
    }
    if (this.#limits.size > 1 && this.#limits.get('requests')?.source === 'probe') this.#limits.delete('requests');
    if (wasRealtime && config.outputCharging === 'reserve-max') this.#chargeInAdvance(now);
    this.#forecastAt = Number.NEGATIVE_INFINITY;
  }

  /** The switch to charging in advance: what runs is charged its ceiling, as if it had started so. */
  #chargeInAdvance(now: number): void {
    this.#forecast.clear();
    for (const flight of this.#flights) {
      if (!flight.demand.chargesTokens) continue;
      const ceiling = flight.demand.estimate.maxOutputTokens;
      this.#take('outputTokens', ceiling - flight.outputCharged, now);
      flight.outputCharged = ceiling;
    }
  }

  #configured(dimension: Dimension): number | undefined {
    if (dimension === 'requests') return this.#config.requestsPerMinute;
    return dimension === 'inputTokens'
      ? this.#config.inputTokensPerMinute
      : this.#config.outputTokensPerMinute;
  }

  #set(dimension: Dimension, perMinute: number, source: Limit['source'], burst: number, now: number): void {
    const rate = perMinute / 60_000;
    const capacity = perMinute * burst + rate * ARRIVAL_JITTER_MS;
    const known = this.#limits.get(dimension);
    const bucket = known ? resize(known.bucket, capacity, rate, now) : fullBucket(capacity, rate, now);
    this.#limits.set(dimension, { bucket, perMinute, source });
  }

  /** Milliseconds of the scarcest dimension that one request with these tokens takes: the measure of fair sharing. */
  cost(inputTokens: number, outputTokens: number): number {
    const amounts = { requests: 1, inputTokens, outputTokens };
    let cost = 0;
    for (const [dimension, { bucket }] of this.#limits)
      cost = Math.max(cost, amounts[dimension] / bucket.ratePerMs);
    // With nothing limited, calls still share by count.
    return cost > 0 ? cost : 1;
  }

  /** The dimension and limit that a demand is above of, whatever the wait: such a call can never be admitted. */
  tooLarge(demand: Demand): { dimension: Dimension; limit: number } | undefined {
    for (const [dimension, { perMinute }] of this.#limits) {
      if (dimension === 'inputTokens' && amountOf(demand, dimension) > perMinute)
        return { dimension, limit: perMinute };
    }
    return undefined;
  }

  /**
   * What stands in the way of a call, or nothing. `reserve` is the share of each bucket that the call's lane may
   * not draw on; `saved` is the input put by for a large call that stands first.
   */
  shortage(demand: Demand, reserve: number, saved: number, now: number): Shortage | undefined {
    if (now < this.#pausedUntil) return { reason: 'upstream_paused', waitMs: this.#pausedUntil - now };
    const { concurrency } = this.#config;
    if (concurrency !== undefined && this.#flights.size >= concurrency)
      return { reason: 'concurrency', waitMs: undefined };
    let worst: Shortage | undefined;
    for (const [dimension, limit] of this.#limits) {
      const held = limit.bucket.capacity * reserve + (dimension === 'inputTokens' ? saved : 0);
      const found =
        dimension === 'outputTokens' && this.#config.outputCharging !== 'reserve-max'
          ? this.#outputShortage(limit, demand, held, now)
          : this.#limitShortage(
              dimension,
              amountOf(demand, dimension, this.#config.outputCharging),
              held,
              now,
            );
      if (found !== undefined && (worst?.waitMs ?? -1) < (found.waitMs ?? Number.POSITIVE_INFINITY))
        worst = found;
    }
    return worst;
  }

  #limitShortage(dimension: Dimension, amount: number, held: number, now: number): Shortage | undefined {
    const limit = this.#limits.get(dimension);
    if (limit === undefined || amount <= 0) return undefined;
    const behind = limit.bucket.ratePerMs * ARRIVAL_JITTER_MS;
    // A call deeper than what its lane may draw on waits until all of that is there.
    const needed = Math.min(amount + behind, limit.bucket.capacity - held);
    const waitMs = waitFor(limit.bucket, needed, held, now);
    return waitMs <= 0 ? undefined : { reason: REASON[dimension], waitMs };
  }

  #outputShortage(limit: Limit, demand: Demand, held: number, now: number): Shortage | undefined {
    if (!demand.chargesTokens) return undefined;
    this.#reforecast(now);
    const { bucket } = limit;
    const behind = bucket.ratePerMs * ARRIVAL_JITTER_MS;
    const level = levelAt(bucket, now) - held;
    const next = this.#produce(demand, 0);
    const missing = behind - this.#forecast.lowest(level, bucket.capacity - held, bucket.ratePerMs, next);
    // An idle bucket takes any call: one that is longer than the bucket is deep goes into debt.
    const isIdle = this.#flights.size === 0 && level >= bucket.capacity - held - 1;
    if (missing <= 0 || isIdle) return undefined;
    return {
      reason: 'output_tokens_per_minute',
      waitMs: Math.max(RECHECK_MS, missing / bucket.ratePerMs),
    };
  }

  /** Takes what a call asks for. The caller has seen that nothing is short. */
  admit(demand: Demand, now: number): Flight {
    const flight: Flight = {
      demand,
      startedAt: now,
      inputCharged: 0,
      outputCharged: 0,
      produced: 0,
      firstTokenAt: undefined,
      production: this.#produce(demand, 0),
    };
    this.#take('requests', 1, now);
    if (demand.chargesTokens) {
      flight.inputCharged = demand.estimate.inputTokens;
      this.#take('inputTokens', flight.inputCharged, now);
      if (this.#config.outputCharging === 'reserve-max') {
        flight.outputCharged = demand.estimate.maxOutputTokens;
        this.#take('outputTokens', flight.outputCharged, now);
      } else this.#forecast.add(flight.production);
    }
    this.#flights.add(flight);
    return flight;
  }

  /** The API has told the input that it charges. */
  inputKnown(flight: Flight, tokens: number, now: number): void {
    this.#take('inputTokens', tokens - flight.inputCharged, now);
    flight.inputCharged = tokens;
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
    if (truth.requests === 0) this.#take('requests', -1, now);
    if (!flight.demand.chargesTokens) return;
    this.inputKnown(flight, truth.inputTokens, now);
    this.#take('outputTokens', truth.outputTokens - flight.outputCharged, now);
    if (this.#config.outputCharging !== 'reserve-max') this.#forecast.remove(flight.production);
  }

  #take(dimension: Dimension, amount: number, now: number): void {
    const limit = this.#limits.get(dimension);
    if (limit !== undefined && amount !== 0) limit.bucket = take(limit.bucket, amount, now);
  }

  /** Everybody waits until `until`. A later word never shortens an earlier one. */
  pause(until: number): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, until);
  }

  /**
   * What a response says of the bucket; `isAnswer` where it is no error. Its `remaining` is an upper bound of the level as it was when the response
   * left, and we may be behind: so the level is lowered to it and never raised.
   */
  merge(headers: RateHeaders, isAnswer: boolean, sentAt: number, now: number): void {
    for (const dimension of DIMENSIONS) {
      const headroom = headers[dimension];
      const known = this.#limits.get(dimension);
      if (headroom === undefined) {
        // A provider whose answers tell no limit of this kind keeps none that we could respect. An error tells nothing.
        if (isAnswer && known?.source === 'probe') this.#limits.delete(dimension);
        continue;
      }
      const perMinute = Math.min(headroom.limit, this.#configured(dimension) ?? Number.POSITIVE_INFINITY);
      if (known?.perMinute !== perMinute || known.source === 'probe') {
        if (known?.source === 'probe') this.#limits.delete(dimension);
        this.#set(
          dimension,
          perMinute,
          this.#configured(dimension) === undefined ? 'learned' : 'configured',
          this.#burst,
          now,
        );
      }
      const limit = this.#limits.get(dimension);
      if (limit === undefined) continue;
      const rounding = dimension === 'requests' ? 0 : ROUNDING;
      const sinceSent = limit.bucket.ratePerMs * (now - sentAt + ARRIVAL_JITTER_MS);
      const bound = headroom.remaining + rounding + sinceSent + this.#unsettled(dimension, now);
      limit.bucket = boundAbove(limit.bucket, bound, now);
    }
  }

  /** What running calls may have been charged upstream and not here. */
  #unsettled(dimension: Dimension, now: number): number {
    if (dimension !== 'outputTokens') return 0;
    this.#reforecast(now);
    let sum = 0;
    // A JSON answer may have come on twice as fast as we think.
    for (const flight of this.#flights) if (!flight.demand.isStreaming) sum += flight.outputCharged;
    return sum;
  }

  #produce(demand: Demand, produced: number, delayMs?: number): Production {
    const { key } = demand.estimate;
    const pace = this.#estimator.pace(key.modelClass);
    return {
      ...this.#estimator.rest(key, produced),
      delayMs: delayMs ?? pace.firstTokenMs,
      tokensPerMs: pace.tokensPerSecond / 1000,
    };
  }

  /** Charges what running calls have produced since the last look, and forecasts the rest of each. */
  #reforecast(now: number): void {
    if (now - this.#forecastAt < REFORECAST_MS || this.#config.outputCharging === 'reserve-max') return;
    this.#forecastAt = now;
    this.#forecast.clear();
    for (const flight of this.#flights) {
      if (!flight.demand.chargesTokens) continue;
      const pace = this.#estimator.pace(flight.demand.estimate.key.modelClass);
      const firstTokenIn = flight.startedAt + pace.firstTokenMs - now;
      if (!flight.demand.isStreaming) {
        const soFar = Math.max(0, -firstTokenIn) * (pace.tokensPerSecond / 1000);
        flight.produced = Math.max(flight.produced, Math.min(soFar, flight.demand.estimate.maxOutputTokens));
      }
      this.#take('outputTokens', flight.produced - flight.outputCharged, now);
      flight.outputCharged = flight.produced;
      const delay = flight.produced > 0 ? 0 : Math.max(0, firstTokenIn);
      flight.production = this.#produce(flight.demand, flight.produced, delay);
      this.#forecast.add(flight.production);
    }
  }

  /** Input tokens that can be taken now. */
  inputLevel(now: number): number {
    const limit = this.#limits.get('inputTokens');
    return limit === undefined ? 0 : levelAt(limit.bucket, now);
  }

  /** Input tokens that come back in `ms`. */
  inputRefill(ms: number): number {
    return (this.#limits.get('inputTokens')?.bucket.ratePerMs ?? 0) * ms;
  }

  /** Levels and limits as plain JSON. */
  snapshot(now: number) {
    this.#reforecast(now);
    const limits = [...this.#limits].map(([dimension, { bucket, perMinute, source }]) => {
      const behind = bucket.ratePerMs * ARRIVAL_JITTER_MS;
      return [
        dimension,
        {
          perMinute,
          source,
          capacity: Math.round(bucket.capacity - behind),
          level: Math.round(levelAt(bucket, now) - behind),
        },
      ] as const;
    });
    return {
      account: this.account,
      name: this.name,
      limits: Object.fromEntries(limits),
      active: this.#flights.size,
      expectedOutputTokens: Math.round(this.#forecast.pending),
      pausedForMs: Math.max(0, Math.round(this.#pausedUntil - now)),
    };
  }
}

function amountOf(demand: Demand, dimension: Dimension, charging?: BucketConfig['outputCharging']): number {
  if (dimension === 'requests') return 1;
  if (!demand.chargesTokens) return 0;
  if (dimension === 'inputTokens') return demand.estimate.inputTokens;
  return charging === 'reserve-max' ? demand.estimate.maxOutputTokens : demand.estimate.outputTokens;
}
