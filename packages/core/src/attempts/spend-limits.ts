import type { Clock } from '../clock.ts';
import { hashOfName } from '../hash.ts';

/** A limit of money that is reached: until when, as far as is known. */
export interface SpendLimit {
  /** Milliseconds of the epoch. */
  readonly until: number;
  readonly code: string;
}

/** What a process tells the others of one that it has come upon. Clocks are not compared: times are so long ago, and so long from now. */
export interface SpendLimitTold {
  /** A hash. */
  readonly account: string;
  readonly agoMs: number;
  readonly ms: number;
  readonly code: string;
}

/** The longest month, and a day: no limit that is told of lasts longer. */
const LONGEST_MS = 32 * 86_400_000;
/**
 * For so long it is news. Who comes later sees for itself, with one call: the deploy that brought it may have brought a new
 * key, or the limit may have been raised.
 */
const NEWS_MS = 5_000;

/** The limits of money that accounts have reached. */
export class SpendLimits {
  readonly #clock: Clock;
  readonly #reached = new Map<string, SpendLimit>();
  /** When those of our own were come upon. */
  readonly #metAt = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The limit that an account has reached, while it holds. */
  of(account: string): SpendLimit | undefined {
    const limit = this.#reached.get(account);
    if (limit === undefined || this.#clock.wall() < limit.until) return limit;
    this.#reached.delete(account);
    return undefined;
  }

  reached(account: string, limit: SpendLimit): void {
    this.#reached.set(account, limit);
    this.#metAt.set(account, this.#clock.now());
  }

  lift(): void {
    this.#reached.clear();
    this.#metAt.clear();
  }

  get told(): SpendLimitTold[] {
    const told: SpendLimitTold[] = [];
    for (const [account, at] of this.#metAt) {
      const limit = this.of(account);
      const agoMs = this.#clock.now() - at;
      if (limit === undefined || agoMs > NEWS_MS) this.#metAt.delete(account);
      else
        told.push({
          account: hashOfName(account),
          agoMs,
          ms: limit.until - this.#clock.wall(),
          code: limit.code,
        });
    }
    return told;
  }

  /** Of accounts that are configured here. */
  heard(told: readonly SpendLimitTold[], ageMs: number, accounts: readonly string[]): void {
    for (const { account: hash, agoMs, ms, code } of told) {
      if (agoMs + ageMs > NEWS_MS) continue;
      const account = accounts.find((name) => hashOfName(name) === hash);
      if (account === undefined || this.of(account) !== undefined) continue;
      this.#reached.set(account, { until: this.#clock.wall() + Math.min(LONGEST_MS, ms) - ageMs, code });
    }
  }

  snapshot() {
    return [...this.#reached].map(([account, { until, code }]) => ({
      account,
      code,
      until: new Date(until).toISOString(),
    }));
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
