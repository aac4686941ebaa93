import type { Clock } from '../clock.ts';
import type { BudgetConfig } from '../config/schema.ts';
import type { QuotaRule } from '../policy/budgets.ts';
import type { QuotaScope } from '../policy/plan.ts';
import type { AheadCharge } from '../stores/batch-journal.ts';
import { KeyedStates } from '../stores/keyed.ts';
import type { SafeCounters } from '../stores/safe.ts';
import type { Meter } from './meter.ts';
import {
  type BudgetStanding,
  type Claim,
  type CurrentRule,
  METERED,
  type Metered,
  QuotaState,
} from './quota-state.ts';
import type { QuotaShare } from './shares.ts';
import { type Binding, type Entry, QuotaTicket, type Used } from './ticket.ts';

/** Keys of each rule that are kept in memory, where nothing else is configured. */
const MAX_KEYS = 200_000;
const HOUR_MS = 3_600_000;

const countsAhead = ([name, meter]: [Metered, Meter]) => name === 'usd' || meter.kind !== 'continuous';

/**
 * A rule by the share of it that one process gives, as long as it does not know what the others do. One request, and one
 * call at a time, are always allowed: with nothing less could anybody be served.
 */
export function shareOfRule(rule: QuotaRule, share: number): QuotaRule {
  const scaled: { -readonly [K in keyof QuotaRule]: QuotaRule[K] } = { ...rule };
  for (const name of METERED) {
    const rate = rule[name];
    if (rate === undefined) continue;
    const amount = rate.amount * share;
    scaled[name] = {
      ...rate,
      amount: name === 'requests' ? Math.max(Math.min(1, rate.amount), amount) : amount,
    };
  }
  if (rule.concurrency !== undefined) scaled.concurrency = Math.max(1, Math.floor(rule.concurrency * share));
  return scaled;
}

interface RuleStates {
  readonly current: CurrentRule;
  readonly states: KeyedStates<QuotaState>;
}

/** Every quota of every key, and the tickets that calls hold on them. */
export class Quotas {
  #rules = new Map<string, RuleStates>();
  readonly #clock: Clock;
  readonly #counters: SafeCounters | undefined;
  readonly #isShared: boolean;
  readonly #onForgotten: () => void;
  #maxKeys: number;
  #version = 0;
  #share = 1;
  #whole: readonly QuotaRule[] = [];
  #timeZone = 'UTC';

  constructor(
    rules: readonly QuotaRule[],
    timeZone: string,
    clock: Clock,
    counters?: SafeCounters,
    {
      isShared = false,
      onForgotten = () => {},
      maxKeys = MAX_KEYS,
    }: { isShared?: boolean; onForgotten?: () => void; maxKeys?: number } = {},
  ) {
    this.#clock = clock;
    this.#counters = counters;
    this.#isShared = isShared;
    this.#onForgotten = onForgotten;
    this.#maxKeys = maxKeys;
    this.configure(rules, timeZone);
  }

  /**
   * Other rules from now on. A rule of a name that stays keeps all that has been used of it; one that counts by
   * something else than before (`per`) is another rule, and begins anew. States are told when they are next asked for.
   */
  configure(rules: readonly QuotaRule[], timeZone: string, maxKeys = this.#maxKeys): void {
    this.#maxKeys = maxKeys;
    this.#whole = rules;
    this.#timeZone = timeZone;
    this.#apply(this.#share < 1 ? rules.map((rule) => shareOfRule(rule, this.#share)) : rules, timeZone);
  }

  /** From now on so much of every quota is this process's to give: 1 where it knows what the others do. */
  share(share: number): void {
    if (share === this.#share) return;
    this.#share = share;
    this.configure(this.#whole, this.#timeZone);
  }

  #apply(rules: readonly QuotaRule[], timeZone: string): void {
    const version = this.#version++;
    const next = new Map<string, RuleStates>();
    const wholes = new Map(this.#whole.map((rule) => [rule.name, rule]));
    for (const rule of rules) {
      const known = this.#rules.get(rule.name);
      const whole = wholes.get(rule.name) ?? rule;
      if (known !== undefined && known.current.rule.per === rule.per) {
        Object.assign(known.current, { rule, whole, timeZone, version });
        known.states.limit = this.#maxKeys;
        next.set(rule.name, known);
        continue;
      }
      const current: CurrentRule = { rule, whole, isShared: this.#isShared, timeZone, version };
      const states = new KeyedStates({
        create: (key) => new QuotaState(key, current, this.#clock, this.#counters),
        now: () => this.#clock.now(),
        limit: this.#maxKeys,
        onForgotten: this.#onForgotten,
      });
      next.set(rule.name, { current, states });
    }
    this.#rules = next;
  }

  /** A call's claim on its quotas; `claimNow` says what it takes of them, as far as is known by then. */
  ticket(scopes: readonly QuotaScope[], claimNow: () => Claim): QuotaTicket {
    const makeEntries = () =>
      scopes.flatMap((scope): Entry[] => {
        const { rule, key } = scope;
        const found = this.#rules.get(rule.name);
        // A rule that was dropped after the call was planned holds nobody back any more.
        if (found === undefined) return [];
        const state = found.states.get(key);
        state.refresh();
        const now = this.#share < 1 ? found.current.rule : rule;
        return [{ scope, rule: now, state, claim: undefined, held: undefined, charges: undefined }];
      });
    return new QuotaTicket(makeEntries, claimNow);
  }

  /**
   * Charges a request that goes in a batch, as it is submitted: its answer may be a day away, and the process another by
   * then. Money counts, and whatever has a day or a month; quotas by the minute and slots pace the interactive limits,
   * which a batch does not touch. Gives what must be put right later, or the quota that refuses: then nothing is taken.
   */
  chargeAhead(scopes: readonly QuotaScope[], claim: Claim): AheadCharge[] | Binding {
    const found = scopes.flatMap(({ rule, key }) => {
      const state = this.#state(rule.name, key);
      const meters = state === undefined ? [] : [...state.meters].filter(countsAhead);
      return meters.flatMap(([name, meter]) => {
        const amount = claim.amounts[name];
        return amount === undefined ? [] : [{ rule, key, name, meter, amount }];
      });
    });
    for (const { rule, name, meter, amount } of found) {
      const waitMs = meter.waitMs(amount, amount > meter.most ? claim.least[name] : amount);
      if (waitMs > 0 && !rule.shadow)
        return { rule, reason: name === 'usd' ? 'budget' : 'user_quota', waitMs };
    }
    const at = this.#clock.wall();
    return found.map(({ rule, key, name, meter, amount }) => {
      const { windowStart } = meter.charge(amount);
      return { rule: rule.name, key, name, amount, windowStart, at };
    });
  }

  /** Puts right what a batch's request charged ahead. Of a quota that is gone nothing is left to put right. */
  settleAhead(
    charges: readonly AheadCharge[],
    requests: 0 | 1,
    usedOf: (scope: { readonly rule: { readonly name: string }; readonly key: string }) => Used,
  ): void {
    for (const { rule, key, name, amount, windowStart, at } of charges) {
      const truth = { ...usedOf({ rule: { name: rule }, key }), requests };
      const meter = this.#state(rule, key)?.meters.get(name);
      if (meter === undefined) continue;
      // A bucket that has refilled long since has forgotten the charge.
      if (meter.kind === 'continuous' && this.#clock.wall() - at > HOUR_MS) continue;
      meter.correct({ windowStart }, (truth[name] ?? 0) - amount);
      if (name === 'usd') this.#state(rule, key)?.spent(truth.usd ?? 0);
    }
  }

  /** Charges quotas that nobody knew of when the request was submitted: those of other models that took part. */
  chargeLate(shares: readonly QuotaShare[]): void {
    for (const { scope, used } of shares) {
      const state = this.#state(scope.rule.name, scope.key);
      for (const [name, meter] of state === undefined ? [] : [...state.meters].filter(countsAhead))
        if (name !== 'requests') meter.charge(used[name] ?? 0);
      state?.spent(used.usd ?? 0);
    }
  }

  /** How the budgets among these stand. */
  budgets(scopes: readonly QuotaScope[]): { budget: BudgetConfig; standing: BudgetStanding }[] {
    return scopes.flatMap(({ rule, key }) => {
      const standing = rule.budget === undefined ? undefined : this.#state(rule.name, key)?.standing();
      return rule.budget === undefined || standing === undefined ? [] : [{ budget: rule.budget, standing }];
    });
  }

  /** The configured rules. */
  get rules(): readonly QuotaRule[] {
    return [...this.#rules.values()].map(({ current }) => current.rule);
  }

  #state(rule: string, key: string): QuotaState | undefined {
    const state = this.#rules.get(rule)?.states.get(key);
    state?.refresh();
    return state;
  }

  snapshot() {
    return [...this.#rules].map(([name, { states }]) => ({ name, keys: states.size }));
  }
}
