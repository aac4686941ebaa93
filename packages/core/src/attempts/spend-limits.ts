import type { Clock } from '../clock.ts';
import { hashOfName } from '../hash.ts';
import { remember } from '../remember.ts';

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
  /** Who was told, as a hash; empty where it is everybody. */
  readonly caller: string;
}

/** The longest month, and a day: no limit that is told of lasts longer. */
const LONGEST_MS = 32 * 86_400_000;
/**
 * For so long it is news. Who comes later sees for itself, with one call: the deploy that brought it may have brought a new
 * key, or the limit may have been raised.
 */
const NEWS_MS = 5_000;

/** One call in so many milliseconds looks whether the limit still holds: money may have been added. */
const LOOK_MS = 60_000;
/** Callers of one account that are told apart: two are enough. */
const MAX_MET = 64;
/** Who has met a limit that is everybody's, whoever was told of it. */
const EVERYBODY = '';

interface Met {
  readonly limit: SpendLimit;
  /** On the clock; absent where another process has met it. */
  readonly at: number | undefined;
}

interface AccountMoney {
  /** By the hash of the caller that was told. */
  readonly met: Map<string, Met>;
  lookAt: number;
}

/**
 * The limits of money that accounts have reached. One that a single caller has met holds for that caller alone: it may
 * pay with a key of its own. One that two callers have met, with no answered call since, holds for the account.
 */
export class SpendLimits {
  readonly #clock: Clock;
  readonly #accounts = new Map<string, AccountMoney>();
  /** When an account last paid for a call, as far as it is asked for. */
  readonly #paidAt = new Map<string, number>();
  readonly #startedAt: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedAt = clock.now();
  }

  /**
   * The limit that an account has reached, while it holds: for everybody, or for this caller. `isEntering`: the call is
   * about to go, and takes the place of the one that looks whether the limit still holds.
   */
  of(account: string, caller?: string, isEntering = false): SpendLimit | undefined {
    const money = this.#accounts.get(account);
    if (money === undefined) return undefined;
    for (const [hash, { limit }] of money.met) if (this.#clock.wall() >= limit.until) money.met.delete(hash);
    if (money.met.size === 0) this.#accounts.delete(account);
    const isAll = money.met.has(EVERYBODY) || money.met.size > 1;
    const met = isAll ? [...money.met.values()].at(-1) : money.met.get(hashOf(caller));
    if (met === undefined) return undefined;
    if (this.#clock.now() < money.lookAt) return met.limit;
    if (isEntering) money.lookAt = this.#clock.now() + LOOK_MS;
    return undefined;
  }

  reached(account: string, limit: SpendLimit, caller?: string): void {
    const at = this.#clock.now();
    this.#meet(account, caller === undefined ? EVERYBODY : hashOfName(caller), { limit, at });
  }

  #meet(account: string, hash: string, met: Met): void {
    const money = this.#accounts.get(account) ?? { met: new Map<string, Met>(), lookAt: 0 };
    money.lookAt = this.#clock.now() + LOOK_MS;
    remember(money.met, hash, met, MAX_MET);
    this.#accounts.set(account, money);
  }

  /** The account has paid for a call: whatever was told before, its money is not used up. */
  answered(account: string): void {
    this.#paidAt.set(account, this.#clock.now());
    if (this.#accounts.size > 0) this.#accounts.delete(account);
  }

  lift(): void {
    this.#accounts.clear();
  }

  get told(): SpendLimitTold[] {
    const told: SpendLimitTold[] = [];
    const now = this.#clock.now();
    for (const [account, { met }] of this.#accounts)
      for (const [caller, { limit, at }] of met) {
        if (at === undefined || now - at > NEWS_MS) continue;
        const ms = limit.until - this.#clock.wall();
        told.push({ account: hashOfName(account), agoMs: now - at, ms, code: limit.code, caller });
      }
    return told;
  }

  /** Of accounts that are configured here. What is older than this process, or than an answer here, is no news. */
  heard(told: readonly SpendLimitTold[], ageMs: number, accounts: readonly string[]): void {
    const now = this.#clock.now();
    for (const { account: hash, agoMs, ms, code, caller } of told) {
      const at = now - agoMs - ageMs;
      if (agoMs + ageMs > NEWS_MS || at < this.#startedAt) continue;
      const account = accounts.find((name) => hashOfName(name) === hash);
      if (account === undefined || at < (this.#paidAt.get(account) ?? at)) continue;
      if (this.#accounts.get(account)?.met.has(caller)) continue;
      const until = this.#clock.wall() + Math.min(LONGEST_MS, ms) - ageMs;
      this.#meet(account, caller, { limit: { until, code }, at: undefined });
    }
  }

  snapshot() {
    return [...this.#accounts].flatMap(([account, { met }]) => {
      const last = [...met.values()].at(-1);
      if (last === undefined) return [];
      const { until, code } = last.limit;
      const callers = met.has(EVERYBODY) ? {} : { callers: met.size };
      return [{ account, code, until: new Date(until).toISOString(), ...callers }];
    });
  }
}

const hashOf = (caller: string | undefined) => (caller === undefined ? EVERYBODY : hashOfName(caller));

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
