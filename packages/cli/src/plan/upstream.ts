import type { RateHeaders } from '@headgate/core/simulation';
import type { EventClock } from './clock.ts';

/**
 * The API's side of the simulation: strict token buckets with continuous refill, output charged while it is produced,
 * headers, refusals. It shares no arithmetic with the governor. Between two events the levels are straight lines.
 */
export interface UpstreamOptions {
  readonly requestsPerMinute: number;
  readonly inputTokensPerMinute: number;
  readonly outputTokensPerMinute: number;
  /** Depth of every bucket, as seconds of its refill. */
  readonly depthSeconds: number;
  readonly outputCharging?: 'realtime' | 'reserve-max';
  /** More requests than this in any second are refused for growing too fast. */
  readonly rampPerSecond?: number;
}

export const KINDS = ['requests', 'inputTokens', 'outputTokens'] as const;
export type Kind = (typeof KINDS)[number];

/** A trace of any length may be refused any number of times. */
const MOST_REFUSALS = 10_000;

interface Level {
  perMs: number;
  capacity: number;
  value: number;
  /** Tokens a millisecond that running answers and other consumers take. */
  drain: number;
  /** Taken so far by the governed process. */
  used: number;
  ownDrain: number;
}

export type Answer =
  | { readonly kind: 'ok' }
  | { readonly kind: 'rate_limited'; readonly retryAfterMs: number; readonly which: Kind }
  | { readonly kind: 'ramp'; readonly retryAfterMs: number }
  | { readonly kind: 'overloaded' };

export class ModelledUpstream {
  readonly #clock: EventClock;
  readonly #levels: Record<Kind, Level>;
  readonly #charging: 'realtime' | 'reserve-max';
  readonly #rampPerSecond: number | undefined;
  #at = 0;
  #recent: number[] = [];
  overloadedUntil = 0;
  /** Refusals, in order: the first of them, up to `MOST_REFUSALS`. */
  readonly refusals: { at: number; which: Kind | 'ramp' }[] = [];
  /** All of them, counted. */
  refused = 0;
  overloads = 0;

  constructor(clock: EventClock, options: UpstreamOptions) {
    this.#clock = clock;
    this.#charging = options.outputCharging ?? 'realtime';
    this.#rampPerSecond = options.rampPerSecond;
    const level = (perMinute: number): Level => {
      const capacity = Math.max(1, (perMinute * options.depthSeconds) / 60);
      return { perMs: perMinute / 60_000, capacity, value: capacity, drain: 0, used: 0, ownDrain: 0 };
    };
    this.#levels = {
      requests: level(options.requestsPerMinute),
      inputTokens: level(options.inputTokensPerMinute),
      outputTokens: level(options.outputTokensPerMinute),
    };
  }

  #advance(): void {
    const now = this.#clock.now();
    const ms = now - this.#at;
    if (ms <= 0) return;
    this.#at = now;
    for (const kind of KINDS) {
      const level = this.#levels[kind];
      level.value = Math.min(level.capacity, level.value + (level.perMs - level.drain) * ms);
      level.used += level.ownDrain * ms;
    }
  }

  /** A request arrives. The input is what the API counts for it. */
  arrive(input: number, maxTokens: number): Answer {
    this.#advance();
    const now = this.#clock.now();
    if (now < this.overloadedUntil) {
      this.overloads++;
      return { kind: 'overloaded' };
    }
    if (this.#rampPerSecond !== undefined) {
      this.#recent = this.#recent.filter((at) => at > now - 1_000);
      if (this.#recent.length >= this.#rampPerSecond) {
        this.#refuse(now, 'ramp');
        return { kind: 'ramp', retryAfterMs: 2_000 };
      }
      this.#recent.push(now);
    }
    const wanted: Record<Kind, number> = {
      requests: 1,
      inputTokens: input,
      outputTokens: this.#charging === 'realtime' ? 1e-6 : maxTokens,
    };
    let waitMs = 0;
    let which: Kind | undefined;
    for (const kind of KINDS) {
      const level = this.#levels[kind];
      // What is deeper than its bucket needs a full one.
      const missing = Math.min(wanted[kind], level.capacity) - level.value;
      if (missing > 1e-6 && missing / level.perMs >= waitMs) {
        waitMs = missing / level.perMs;
        which = kind;
      }
    }
    if (which !== undefined) {
      this.#refuse(now, which);
      return { kind: 'rate_limited', which, retryAfterMs: 1_000 * Math.max(1, Math.ceil(waitMs / 1_000)) };
    }
    this.#take('requests', 1);
    this.#take('inputTokens', input);
    if (this.#charging === 'reserve-max') this.#take('outputTokens', maxTokens);
    return { kind: 'ok' };
  }

  #refuse(at: number, which: Kind | 'ramp'): void {
    this.refused++;
    if (this.refusals.length < MOST_REFUSALS) this.refusals.push({ at, which });
  }

  #take(kind: Kind, amount: number): void {
    const level = this.#levels[kind];
    level.value = Math.min(level.capacity, level.value - amount);
    level.used += amount;
  }

  /** An answer starts or stops to produce `tokensPerMs`. */
  produce(tokensPerMs: number, sign: 1 | -1): void {
    if (this.#charging !== 'realtime') return;
    this.#advance();
    const level = this.#levels.outputTokens;
    level.drain += sign * tokensPerMs;
    level.ownDrain += sign * tokensPerMs;
  }

  /** An answer is over, of a call that was charged its ceiling. */
  giveBack(maxTokens: number, produced: number): void {
    if (this.#charging !== 'reserve-max') return;
    this.#advance();
    this.#take('outputTokens', produced - maxTokens);
  }

  /** Another consumer of the account takes this share of every limit from now on. */
  steal(share: number, before: number): void {
    this.#advance();
    for (const kind of KINDS) this.#levels[kind].drain += (share - before) * this.#levels[kind].perMs;
  }

  /** Another tier, with what is used staying used. */
  resize(factor: number): void {
    this.#advance();
    for (const kind of KINDS) {
      const level = this.#levels[kind];
      const used = level.capacity - level.value;
      level.perMs *= factor;
      level.capacity *= factor;
      level.value = level.capacity - used;
    }
  }

  headers(): RateHeaders {
    this.#advance();
    const { requests, inputTokens, outputTokens } = this.#levels;
    const rounded = (level: Level) => ({
      limit: Math.round(level.perMs * 60_000),
      remaining: Math.round(Math.max(0, level.value) / 1_000) * 1_000,
    });
    return {
      requests: {
        limit: Math.round(requests.perMs * 60_000),
        remaining: Math.floor(Math.max(0, requests.value) + 1e-6),
      },
      inputTokens: rounded(inputTokens),
      outputTokens: rounded(outputTokens),
    };
  }

  /** Taken by the governed process so far, in all. */
  used(kind: Kind): number {
    this.#advance();
    return this.#levels[kind].used;
  }

  level(kind: Kind): number {
    this.#advance();
    return this.#levels[kind].value;
  }

  capacity(kind: Kind): number {
    return this.#levels[kind].capacity;
  }
}
