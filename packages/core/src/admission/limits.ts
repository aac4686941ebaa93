import type { BucketConfig } from '../config/schema.ts';
import type { Flight } from './flight.ts';
import { Limit, type LimitSource } from './limit.ts';
import { DIMENSIONS, type Dimension, type RateHeaders } from './rate-headers.ts';

/** With no limit known, one request a second goes out until a response tells the limits. */
const PROBE = { limit: 60, burst: 1 / 60 };
/** Of others' use there is never so much that nothing is thought to be left. */
const LEAST_SHARE = 0.05;

/** The limits of one bucket, by dimension: those that are configured, and those that responses have told. */
export class Limits {
  readonly #limits = new Map<Dimension, Limit>();
  #config: Partial<BucketConfig>;

  constructor(config: Partial<BucketConfig>, now: number) {
    this.#config = config;
    for (const dimension of DIMENSIONS) {
      const perMinute = this.#configured(dimension);
      if (perMinute !== undefined) this.#open(dimension, perMinute, 'configured', config.burst, now);
    }
    if (this.#limits.size === 0) this.#open('requests', PROBE.limit, 'probe', PROBE.burst, now);
  }

  /** All that is known is the placeholder. */
  get isUnknown(): boolean {
    return this.requests?.source === 'probe';
  }

  get requests(): Limit | undefined {
    return this.#limits.get('requests');
  }

  get input(): Limit | undefined {
    return this.#limits.get('inputTokens');
  }

  get output(): Limit | undefined {
    return this.#limits.get('outputTokens');
  }

  get(dimension: Dimension): Limit | undefined {
    return this.#limits.get(dimension);
  }

  [Symbol.iterator](): Iterator<Limit> {
    return this.#limits.values();
  }

  /** Requests a millisecond, as far as a limit of them is known. */
  get requestsPerMs(): number | undefined {
    const { requests } = this;
    return requests === undefined || requests.source === 'probe' ? undefined : requests.ratePerMs;
  }

  /** Share of the scarcest limit that is ours to use: others may take the rest. `most` bounds it besides. */
  share(most: number): number {
    let share = most;
    for (const limit of this.#limits.values()) share = Math.min(share, limit.refillPerMs / limit.ratePerMs);
    return Math.max(LEAST_SHARE, share);
  }

  /** Milliseconds of the scarcest dimension that one request with these tokens takes. */
  cost(inputTokens: number, outputTokens: number): number {
    const amounts = { requests: 1, inputTokens, outputTokens };
    let cost = 0;
    for (const limit of this.#limits.values()) {
      // A placeholder is no measure: what a call costs by it would be a thousand calls once the limits are told.
      if (limit.source !== 'probe') cost = Math.max(cost, amounts[limit.dimension] / limit.ratePerMs);
    }
    // With nothing limited, calls still share by count.
    return cost > 0 ? cost : 1;
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

  /** Other limits from now on. One that is no longer configured goes on as a learned one until a response says otherwise. */
  configure(config: Partial<BucketConfig>, now: number): void {
    this.#config = config;
    for (const dimension of DIMENSIONS) {
      const known = this.#limits.get(dimension);
      const perMinute = this.#configured(dimension) ?? known?.perMinute;
      if (perMinute === undefined) continue;
      if (known !== undefined && known.source !== 'probe') known.resize(perMinute, config.burst, now);
      else if (this.#configured(dimension) !== undefined)
        this.#open(dimension, perMinute, 'configured', config.burst, now);
    }
    if (this.#limits.size > 1 && this.requests?.source === 'probe') this.#limits.delete('requests');
  }

  /**
   * What a response to a request sent at `sentAt` shows; `isAnswer` where it is no error. See limit.ts for how it is taken.
   * `unsure`: tokens of output that may have been charged upstream and not here, or the other way round.
   */
  observe(
    headers: RateHeaders,
    isAnswer: boolean,
    flights: Iterable<Flight>,
    unsure: number,
    sentAt: number,
    now: number,
  ): void {
    for (const dimension of DIMENSIONS) {
      const headroom = headers[dimension];
      const known = this.#limits.get(dimension);
      if (headroom === undefined) {
        // A provider whose answers tell no limit of this kind keeps none that we could respect. An error tells nothing.
        if (isAnswer && known?.source === 'probe') this.#limits.delete(dimension);
        continue;
      }
      const limit = this.#learn(dimension, headroom.limit, known, flights, now);
      limit.observe(
        headroom.remaining,
        sentAt,
        dimension === 'outputTokens' ? unsure : 0,
        now,
        headroom.limit,
      );
    }
  }

  #learn(
    dimension: Dimension,
    told: number,
    known: Limit | undefined,
    flights: Iterable<Flight>,
    now: number,
  ): Limit {
    const perMinute = Math.min(told, this.#configured(dimension) ?? Number.POSITIVE_INFINITY);
    if (known === undefined || known.source === 'probe') {
      const limit = this.#open(dimension, perMinute, 'learned', this.#config.burst, now);
      for (const flight of flights) {
        if (dimension === 'requests') limit.send(1, 0, now);
        else if (dimension === 'inputTokens') limit.send(flight.inputCharged, flight.inputHeld, now);
      }
      return limit;
    }
    if (known.perMinute !== perMinute) known.resizeAsTold(perMinute, this.#config.burst, now);
    return known;
  }

  /** Levels are known to be no higher than these. */
  bound(levels: Partial<Record<Dimension, number>>, now: number): void {
    for (const limit of this.#limits.values()) {
      const level = levels[limit.dimension];
      if (level !== undefined) limit.lowerTo(level, now);
    }
  }

  /** Levels and limits as plain JSON, by dimension. */
  snapshot(now: number) {
    const limits = [...this.#limits].map(([dimension, limit]) => [dimension, limit.snapshot(now)] as const);
    return Object.fromEntries(limits);
  }
}
