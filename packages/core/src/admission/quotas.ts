import type { Clock } from '../clock.ts';
import type { QuotaConfig } from '../config/schema.ts';
import type { QuotaScope } from '../policy/plan.ts';
import { KeyedStates } from '../stores/keyed.ts';
import type { SafeCounters } from '../stores/safe.ts';
import { type CurrentRule, METERED, QuotaState } from './quota-state.ts';
import { type Amounts, type Entry, QuotaTicket } from './ticket.ts';

/** Distinct keys of one rule that are kept apart, per process. */
const MAX_KEYS = 1_000_000;

/**
 * A rule by the share of it that one process gives, as long as it does not know what the others do. One request, and one
 * call at a time, are always allowed: with nothing less could anybody be served.
 */
export function shareOfRule(rule: QuotaConfig, share: number): QuotaConfig {
  const scaled: { -readonly [K in keyof QuotaConfig]: QuotaConfig[K] } = { ...rule };
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
  #version = 0;
  #share = 1;
  #whole: readonly QuotaConfig[] = [];
  #timeZone = 'UTC';

  constructor(rules: readonly QuotaConfig[], timeZone: string, clock: Clock, counters?: SafeCounters) {
    this.#clock = clock;
    this.#counters = counters;
    this.configure(rules, timeZone);
  }

  /**
   * Other rules from now on. A rule of a name that stays keeps all that has been used of it; one that counts by
   * something else than before (`per`) is another rule, and begins anew. States are told when they are next asked for.
   */
  configure(rules: readonly QuotaConfig[], timeZone: string): void {
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

  #apply(rules: readonly QuotaConfig[], timeZone: string): void {
    const version = this.#version++;
    const next = new Map<string, RuleStates>();
    for (const rule of rules) {
      const known = this.#rules.get(rule.name);
      if (known !== undefined && known.current.rule.per === rule.per) {
        Object.assign(known.current, { rule, timeZone, version });
        next.set(rule.name, known);
        continue;
      }
      const current: CurrentRule = { rule, timeZone, version };
      const create = (key: string) => new QuotaState(key, current, this.#clock, this.#counters);
      next.set(rule.name, { current, states: new KeyedStates(create, MAX_KEYS) });
    }
    this.#rules = next;
  }

  ticket(scopes: readonly QuotaScope[], amounts: Amounts): QuotaTicket {
    const entries = scopes.flatMap(({ rule, key }): Entry[] => {
      const found = this.#rules.get(rule.name);
      // A rule that was dropped after the call was planned holds nobody back any more.
      if (found === undefined) return [];
      const state = found.states.get(key);
      state.refresh();
      return [
        { rule: this.#share < 1 ? found.current.rule : rule, state, held: undefined, charges: undefined },
      ];
    });
    return new QuotaTicket(entries, amounts);
  }

  snapshot() {
    return [...this.#rules].map(([name, { states }]) => ({ name, keys: states.size }));
  }
}
