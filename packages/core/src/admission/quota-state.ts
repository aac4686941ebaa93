import { createHash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import { compositeKey } from '../composite-key.ts';
import type { Rate } from '../config/units.ts';
import type { QuotaRule } from '../policy/budgets.ts';
import type { Keyed } from '../stores/keyed.ts';
import type { SafeCounters } from '../stores/safe.ts';
import type { MeterAsk, QuotaAsk } from '../stores/store.ts';
import { calendarWindow } from './calendar.ts';
import { createMeter, type Meter, meterKind, type SavedMeter, shape } from './meter.ts';
import { endsInMs, Pace, tauOf } from './pace.ts';

export const METERED = ['requests', 'inputTokens', 'outputTokens', 'usd'] as const;
export type Metered = (typeof METERED)[number];

/** Requests come whole: a quota of them holds one at the least. */
const unitOf = (name: Metered): number => (name === 'requests' ? 1 : 0);

/** What a call takes of the quotas that apply to it. */
export interface Amounts {
  /** 1, or 0 for a further attempt of a call that has been counted. */
  readonly requests: 0 | 1;
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Undefined where the money is not the account's: then no limit of money applies. */
  readonly usd: number | undefined;
}

/** What a call is expected to take, and what it takes for certain (`least`, which may cost a look at all of the prompt). */
export interface Claim {
  readonly amounts: Amounts;
  readonly least: Amounts;
  /** Nothing is known of how long such answers are: the output, and what it costs, is a placeholder. */
  readonly isGuess: boolean;
}

/**
 * What has to be there for a call that has the quota to itself: a placeholder refuses nobody, so one call at a time goes on
 * what it takes for certain, and teaches. Pure.
 */
export function aloneOf(claim: Claim, name: Metered): number {
  const isPlaceholder = claim.isGuess && (name === 'outputTokens' || name === 'usd');
  return (isPlaceholder ? claim.least[name] : claim.amounts[name]) ?? 0;
}

/** How a budget of one user, tenant or account stands. */
export interface BudgetStanding {
  readonly limitUsd: number;
  /** Spent, and spoken for by calls that run. */
  readonly usedUsd: number;
  readonly share: number;
  /** Past its soft share. */
  readonly isSoft: boolean;
  /** At the present pace. */
  readonly usdPerHour: number;
  /** Milliseconds until all of it is there again. */
  readonly resetMs: number;
  /** Milliseconds until it is used up at the present pace; undefined where it is not, before it is there again. */
  readonly endsInMs: number | undefined;
}

const windowMs = (per: Rate['per']) => (per === 'second' ? 1_000 : per === 'minute' ? 60_000 : 3_600_000);

/** One rule as it is now, counted up at every change, so that a state knows whether it has been told. */
export interface CurrentRule {
  rule: QuotaRule;
  /** The rule as configured, where `rule` is this process's share of it. */
  whole: QuotaRule;
  /** A ledger outside this process keeps what is used. */
  readonly isShared: boolean;
  timeZone: string;
  version: number;
}

/** What one user, tenant, route or model has used of one rule. */
export class QuotaState implements Keyed {
  readonly meters = new Map<Metered, Meter>();
  /** How fast a budget is used. */
  #pace: Pace | undefined;
  /** Slots taken by running calls, and by waiting ones that hold theirs. */
  slots = 0;
  /** Tickets of calls that wait or run. */
  tickets = 0;
  lastUsedAt = 0;
  /** Charged for calls in flight by a mere guess: as much as may come back when they end. Made when it is first needed. */
  guessed: Map<Metered, number> | undefined;
  #parked: Set<() => void> | undefined;
  readonly #key: string;
  readonly #current: CurrentRule;
  readonly #clock: Clock;
  readonly #counters: SafeCounters | undefined;
  #version = -1;
  #hash: string | undefined;

  constructor(key: string, current: CurrentRule, clock: Clock, counters: SafeCounters | undefined) {
    this.#key = key;
    this.#current = current;
    this.#clock = clock;
    this.#counters = counters;
    this.refresh();
  }

  /** Takes on the rule as it is now: use, holds and slots live on. */
  refresh(): void {
    const { rule, timeZone, version } = this.#current;
    if (this.#version === version) return;
    this.#version = version;
    for (const name of METERED) {
      const rate: Rate | undefined = rule[name];
      const known = this.meters.get(name);
      if (rate === undefined) this.meters.delete(name);
      else if (known?.kind === meterKind(rate)) known.configure(rate, rule.burst, timeZone);
      else
        this.meters.set(
          name,
          createMeter(rate, rule.burst, timeZone, this.#clock, this.#saved(name), unitOf(name)),
        );
    }
  }

  #saved(name: Metered): SavedMeter | undefined {
    const counters = this.#counters;
    if (counters === undefined) return undefined;
    const key = counterKey(this.#current.rule.name, name, this.#key);
    return { load: () => counters.get(key), save: (counter) => counters.set(key, counter) };
  }

  /** A call has cost so much. */
  spent(usd: number): void {
    if (usd <= 0 || this.#current.rule.budget === undefined) return;
    const per = this.#current.rule.usd?.per ?? 'day';
    this.#pace ??= new Pace(tauOf(per));
    this.#pace.add(usd, this.#clock.now());
  }

  /** How a budget stands. */
  standing(): BudgetStanding | undefined {
    const { budget } = this.#current.rule;
    const meter = this.meters.get('usd');
    if (budget === undefined || meter === undefined) return undefined;
    const { quota, remaining, resetMs, kind } = meter;
    const now = this.#clock.now();
    const perMs = this.#pace?.perMs(now) ?? 0;
    const refillPerMs = kind === 'continuous' ? quota / windowMs(budget.usd.per) : 0;
    return {
      limitUsd: quota,
      usedUsd: quota - remaining,
      share: (quota - remaining) / quota,
      isSoft: (quota - remaining) / quota >= budget.soft,
      usdPerHour: perMs * 3_600_000,
      resetMs,
      endsInMs: endsInMs({ remaining, perMs, refillPerMs, resetMs }),
    };
  }

  /** Called when something may fit that did not. */
  get parked(): Set<() => void> {
    this.#parked ??= new Set();
    return this.#parked;
  }

  get isBusy(): boolean {
    return this.slots > 0 || this.tickets > 0 || (this.#parked?.size ?? 0) > 0;
  }

  get isIdle(): boolean {
    if (this.isBusy) return false;
    for (const meter of this.meters.values()) if (!meter.isIdle) return false;
    return true;
  }

  get isSaved(): boolean {
    const { isShared } = this.#current;
    for (const meter of this.meters.values())
      if (!meter.isIdle && !isShared && (meter.kind === 'continuous' || this.#counters === undefined))
        return false;
    return true;
  }

  get usedShare(): number {
    let most = 0;
    for (const { quota, remaining } of this.meters.values())
      most = Math.max(most, 1 - remaining / Math.max(quota, 1e-9));
    return most;
  }

  /** Whether the amount is within the quota as configured, where this process gives a share of it. */
  wholeFits(name: Metered, amount: number): boolean {
    const { rule, whole } = this.#current;
    const rate: Rate | undefined = whole[name];
    if (rule === whole || rate === undefined) return false;
    return amount <= Math.max(rate.amount, meterKind(rate) === 'continuous' ? rate.amount * whole.burst : 0);
  }

  /** What a call with these amounts asks of this quota, for a ledger outside this process; `wall` is the ledger's time. */
  ask(claim: Claim, wall: number): Omit<QuotaAsk, 'isHeld'> {
    // A ledger keeps the whole quota, whatever share of it this process gives meanwhile.
    const { whole: rule, timeZone } = this.#current;
    const meters = METERED.flatMap((name): MeterAsk[] => {
      const rate: Rate | undefined = rule[name];
      const amount = claim.amounts[name];
      if (rate === undefined || amount === undefined) return [];
      const kind = meterKind(rate);
      const depth = kind === 'continuous' ? shape(rate, rule.burst, unitOf(name)) : undefined;
      const own = {
        name,
        amount,
        ...(amount > Math.max(rate.amount, depth?.capacity ?? 0) ? { least: claim.least[name] ?? 0 } : {}),
        ...(claim.isGuess ? { alone: aloneOf(claim, name) } : {}),
        quota: rate.amount,
      };
      if (kind === 'continuous') return [{ ...own, kind, ...shape(rate, rule.burst, unitOf(name)) }];
      return [{ ...own, kind: 'window', ...calendarWindow(wall, kind, timeZone) }];
    });
    return {
      key: this.hash,
      onExceed: rule.shadow ? 'shadow' : rule.onExceed,
      ...(rule.concurrency === undefined ? {} : { concurrency: rule.concurrency }),
      meters,
    };
  }

  /** A name for it outside this process that tells nobody whose it is. */
  get hash(): string {
    this.#hash ??= createHash('sha256')
      .update(`${compositeKey(this.#current.rule.name, this.#current.rule.per)}\n${this.#key}`)
      .digest('base64url');
    return this.#hash;
  }

  wake(): void {
    const first = this.#parked?.values().next().value;
    first?.();
  }
}

/** A hash, so that a file of counters names nobody. */
function counterKey(rule: string, name: Metered, key: string): string {
  return createHash('sha256')
    .update(`${compositeKey(rule, name)}\n${key}`)
    .digest('base64url');
}
