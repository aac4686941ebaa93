import type { Clock, Random } from '../clock.ts';
import type { BreakerState } from '../telemetry/values.ts';

/**
 * Circuit breakers: one for each model of an account, and one for the money of the account as a whole.
 *
 * A breaker watches what attempts come to when their headers are there (not when a long answer ends), against all
 * that were sent, since failures come back sooner than answers. Overload, 5xx, time-outs and broken connections count, a 429 does not, since a bucket that is empty is not out of
 * order. It opens when half of the attempts of the last five seconds have failed, and there were enough of them to tell.
 * Open, it answers at once, for a second at first and up to eight; then one call at a time is let through to see,
 * and three that succeed close it. What comes after that is paced by the bucket's own concurrency limit, which has
 * learned the overload too: so an outage that ends is back at full speed in well under forty seconds, and nobody
 * rushes in.
 */
const WINDOW_MS = 5_000;
const SLICES = 10;
const ENOUGH = 20;
const FAILED_SHARE = 0.5;
const FIRST_OPEN_MS = 1_000;
const LONGEST_OPEN_MS = 8_000;
const SUCCESSES_TO_CLOSE = 3;
/** A probe whose outcome is never told, as when its caller hangs up, is given up after this. */
const PROBE_MS = 30_000;

/** Whether a call may go. `isProbe` where its outcome decides. */
export type Passage =
  | { readonly pass: true; readonly isProbe: boolean }
  | { readonly pass: false; readonly retryAfterMs: number };

interface Slice {
  readonly since: number;
  failed: number;
  sent: number;
}

export class Breaker {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #onMove: (state: BreakerState) => void;
  #slices: Slice[] = [];
  #openUntil: number | undefined;
  #openMs = FIRST_OPEN_MS;
  #probingSince: number | undefined;
  #successes = 0;

  constructor(clock: Clock, random: Random, onMove: (state: BreakerState) => void) {
    this.#clock = clock;
    this.#random = random;
    this.#onMove = onMove;
  }

  get state(): BreakerState {
    if (this.#openUntil === undefined) return 'closed';
    return this.#clock.now() < this.#openUntil ? 'open' : 'half_open';
  }

  /** What a call would be told now; nothing is taken. */
  look(): Passage {
    const now = this.#clock.now();
    if (this.#openUntil === undefined) return { pass: true, isProbe: false };
    if (now < this.#openUntil) return { pass: false, retryAfterMs: this.#openUntil - now };
    const isTaken = this.#probingSince !== undefined && now - this.#probingSince < PROBE_MS;
    return isTaken ? { pass: false, retryAfterMs: FIRST_OPEN_MS } : { pass: true, isProbe: true };
  }

  /** Lets a call through, or not; the one that is to see whether it works again goes alone. */
  enter(): Passage {
    const passage = this.look();
    if (!passage.pass) return passage;
    if (passage.isProbe) {
      this.#probingSince = this.#clock.now();
      this.#onMove('half_open');
    } else this.#slice().sent++;
    return passage;
  }

  succeeded(isProbe: boolean): void {
    if (this.#openUntil === undefined || !isProbe) return;
    this.#probingSince = undefined;
    this.#successes++;
    if (this.#successes >= SUCCESSES_TO_CLOSE) this.reset();
  }

  failed(isProbe: boolean): void {
    if (this.#openUntil !== undefined) {
      if (isProbe) this.#open();
      return;
    }
    this.#slice().failed++;
    const sent = this.#slices.reduce((sum, slice) => sum + slice.sent, 0);
    const failed = this.#slices.reduce((sum, slice) => sum + slice.failed, 0);
    if (sent >= ENOUGH && failed >= FAILED_SHARE * sent) this.#open();
  }

  /** A probe that came to nothing that counts: the next call may be one. */
  released(isProbe: boolean): void {
    if (isProbe) this.#probingSince = undefined;
  }

  /** As if nothing had ever failed. */
  reset(): void {
    const wasOpen = this.#openUntil !== undefined;
    this.#openUntil = undefined;
    this.#probingSince = undefined;
    this.#successes = 0;
    this.#openMs = FIRST_OPEN_MS;
    this.#slices = [];
    if (wasOpen) this.#onMove('closed');
  }

  #open(): void {
    // Spread, so that many processes do not come to see at the same moment.
    const ms = this.#openMs * (0.5 + 0.5 * this.#random());
    this.#openUntil = this.#clock.now() + ms;
    this.#openMs = Math.min(LONGEST_OPEN_MS, this.#openMs * 2);
    this.#probingSince = undefined;
    this.#successes = 0;
    this.#slices = [];
    this.#onMove('open');
  }

  /** The slice of the window that is now. */
  #slice(): Slice {
    const now = this.#clock.now();
    while (this.#slices[0] !== undefined && now - this.#slices[0].since >= WINDOW_MS) this.#slices.shift();
    let last = this.#slices.at(-1);
    if (last === undefined || now - last.since >= WINDOW_MS / SLICES) {
      last = { since: now, failed: 0, sent: 0 };
      this.#slices.push(last);
    }
    return last;
  }
}

/** Models watched, at most; past it new ones share one breaker. */
const MAX_BREAKERS = 256;
const OTHERS = 'other models';

/** A limit of money that is reached: until when, as far as is known. */
export interface SpendLimit {
  /** Milliseconds of the epoch. */
  readonly until: number;
  readonly code: string;
}

/** All breakers of a governor. */
export class Breakers {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #onMove: (model: string, state: BreakerState) => void;
  readonly #byModel = new Map<string, Breaker>();
  readonly #spendLimits = new Map<string, SpendLimit>();

  constructor(clock: Clock, random: Random, onMove: (model: string, state: BreakerState) => void) {
    this.#clock = clock;
    this.#random = random;
    this.#onMove = onMove;
  }

  of(account: string, model: string): Breaker {
    const key = `${account}\n${model}`;
    const known = this.#byModel.get(key);
    if (known !== undefined) return known;
    const isOneTooMany = this.#byModel.size >= MAX_BREAKERS && model !== OTHERS;
    if (isOneTooMany) return this.of(account, OTHERS);
    const breaker = new Breaker(this.#clock, this.#random, (state) => this.#onMove(model, state));
    this.#byModel.set(key, breaker);
    return breaker;
  }

  /** The limit of money that an account has reached, while it holds. */
  spendLimit(account: string): SpendLimit | undefined {
    const limit = this.#spendLimits.get(account);
    if (limit === undefined || this.#clock.wall() < limit.until) return limit;
    this.#spendLimits.delete(account);
    return undefined;
  }

  spendLimitReached(account: string, limit: SpendLimit): void {
    this.#spendLimits.set(account, limit);
  }

  /** A new configuration may mean a new key or a raised limit: the next call will tell. */
  liftSpendLimits(): void {
    this.#spendLimits.clear();
  }

  reset(): void {
    this.liftSpendLimits();
    for (const breaker of this.#byModel.values()) breaker.reset();
  }

  snapshot() {
    return {
      breakers: [...this.#byModel].flatMap(([key, breaker]) => {
        const [account = '', model = ''] = key.split('\n');
        return breaker.state === 'closed' ? [] : [{ account, model, state: breaker.state }];
      }),
      spendLimits: [...this.#spendLimits].map(([account, { until, code }]) => ({
        account,
        code,
        until: new Date(until).toISOString(),
      })),
    };
  }
}

/**
 * When a limit of money ends: the date that the API names in words, where it does; else the first of the next month, as
 * documented for the limits of a tier. A contract's limit names no date: an hour, after which one call sees.
 */
export function spendLimitEnd(code: string | undefined, message: string, wall: number): number {
  const named = /regain access on (\d{4}-\d{2}-\d{2})(?: at (\d{2}:\d{2}) UTC)?/.exec(message);
  if (named !== null) {
    const at = Date.parse(`${named[1]}T${named[2] ?? '00:00'}:00Z`);
    if (at > wall) return at;
  }
  if (code === 'contract_spend_limit_reached') return wall + 3_600_000;
  const now = new Date(wall);
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1);
}
