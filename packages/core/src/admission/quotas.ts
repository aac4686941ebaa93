import { createHash } from 'node:crypto';
import type { Standing } from '../caller/caller.ts';
import type { Clock } from '../clock.ts';
import type { QuotaConfig } from '../config/schema.ts';
import type { Rate } from '../config/units.ts';
import type { Reason } from '../errors.ts';
import type { QuotaScope } from '../policy/plan.ts';
import { type Keyed, KeyedStates } from '../stores/keyed.ts';
import type { SafeCounters } from '../stores/safe.ts';
import { type Charge, createMeter, type Meter, meterKind, type SavedMeter } from './meter.ts';

/** What a call takes of the quotas that apply to it. */
export interface Amounts {
  /** 1, or 0 for a further attempt of a call that has been counted. */
  readonly requests: 0 | 1;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly usd: number;
}

/** The quota that stands in the way of a call. */
export interface Binding {
  readonly rule: QuotaConfig;
  readonly reason: Reason;
  /** Milliseconds until it fits: Infinity never, undefined when another call ends. */
  readonly waitMs: number | undefined;
}

const METERED = ['requests', 'inputTokens', 'outputTokens', 'usd'] as const;
type Metered = (typeof METERED)[number];

/** Distinct keys of one rule that are kept apart, per process. */
const MAX_KEYS = 1_000_000;

/** One rule as it is now, counted up at every change, so that a state knows whether it has been told. */
interface Current {
  rule: QuotaConfig;
  timeZone: string;
  version: number;
}

/** What one user, tenant, route or model has used of one rule. */
export class QuotaState implements Keyed {
  readonly meters = new Map<Metered, Meter>();
  /** Slots taken by running calls, and by waiting ones that hold theirs. */
  slots = 0;
  /** Called when something may fit that did not. */
  readonly parked = new Set<() => void>();
  readonly #key: string;
  readonly #current: Current;
  readonly #clock: Clock;
  readonly #counters: SafeCounters | undefined;
  #version = -1;

  constructor(key: string, current: Current, clock: Clock, counters: SafeCounters | undefined) {
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
      else this.meters.set(name, createMeter(rate, rule.burst, timeZone, this.#clock, this.#saved(name)));
    }
  }

  #saved(name: Metered): SavedMeter | undefined {
    const counters = this.#counters;
    if (counters === undefined) return undefined;
    const key = counterKey(this.#current.rule.name, name, this.#key);
    return { load: () => counters.get(key), save: (counter) => counters.set(key, counter) };
  }

  get isIdle(): boolean {
    if (this.slots > 0 || this.parked.size > 0) return false;
    for (const meter of this.meters.values()) if (!meter.isIdle) return false;
    return true;
  }

  wake(): void {
    const first = this.parked.values().next().value;
    first?.();
  }
}

/** A hash, so that a file of counters names nobody. */
function counterKey(rule: string, name: Metered, key: string): string {
  return createHash('sha256').update(`${rule}\n${name}\n${key}`).digest('base64url');
}

interface Entry {
  readonly rule: QuotaConfig;
  readonly state: QuotaState;
  /** What is held of which meter: a reload may put others in their place meanwhile. */
  held: { readonly meter: Meter; readonly amount: number }[] | undefined;
  charges: { readonly name: Metered; readonly meter: Meter; readonly charge: Charge }[] | undefined;
}

interface RuleStates {
  readonly current: Current;
  readonly states: KeyedStates<QuotaState>;
}

/** Every quota of every key, and the tickets that calls hold on them. */
export class Quotas {
  #rules = new Map<string, RuleStates>();
  readonly #clock: Clock;
  readonly #counters: SafeCounters | undefined;
  #version = 0;

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
    const version = this.#version++;
    const next = new Map<string, RuleStates>();
    for (const rule of rules) {
      const known = this.#rules.get(rule.name);
      if (known !== undefined && known.current.rule.per === rule.per) {
        Object.assign(known.current, { rule, timeZone, version });
        next.set(rule.name, known);
        continue;
      }
      const current: Current = { rule, timeZone, version };
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
      return [{ rule, state, held: undefined, charges: undefined }];
    });
    return new QuotaTicket(entries, amounts);
  }

  snapshot() {
    return [...this.#rules].map(([name, { states }]) => ({ name, keys: states.size }));
  }
}

/**
 * One call's claim on all its quotas. Its life: `arrive` holds on every quota that refuses (nothing at all when one
 * of them does), `ready` asks those that let wait, `commit` turns it all into charges, `settle` puts them right.
 * `cancel` before `commit` leaves no trace.
 */
export class QuotaTicket {
  readonly #entries: Entry[];
  readonly #amounts: Amounts;
  #shadowed: Binding[] = [];

  constructor(entries: Entry[], amounts: Amounts) {
    this.#entries = entries;
    this.#amounts = amounts;
  }

  /** Rules in shadow that would have refused or held back this call. */
  get shadowed(): readonly Binding[] {
    return this.#shadowed;
  }

  /** The first quota that refuses, or nothing: then all are held. */
  arrive(): Binding | undefined {
    for (const entry of this.#entries) {
      if (entry.rule.shadow) {
        const binding = this.#binding(entry);
        if (binding !== undefined) this.#shadowed.push(binding);
      } else if (entry.rule.onExceed === 'refuse') {
        const binding = this.#binding(entry);
        if (binding !== undefined) return binding;
      } else {
        // What can never fit must not be parked until its time is up.
        const binding = this.#binding(entry);
        if (binding?.waitMs === Number.POSITIVE_INFINITY) return binding;
      }
    }
    for (const entry of this.#entries)
      if (entry.rule.onExceed === 'refuse' || entry.rule.shadow) this.#hold(entry);
    return undefined;
  }

  /** The first quota that makes the call wait, with the state to wait at. */
  ready(): { binding: Binding; state: QuotaState } | undefined {
    for (const entry of this.#entries) {
      if (entry.held !== undefined) continue;
      const binding = this.#binding(entry);
      if (binding !== undefined) return { binding, state: entry.state };
    }
    return undefined;
  }

  commit(): void {
    for (const entry of this.#entries) {
      if (entry.held !== undefined) this.#release(entry);
      entry.charges = [];
      for (const [name, meter] of entry.state.meters) {
        entry.charges.push({ name, meter, charge: meter.charge(this.#amount(name)) });
      }
      entry.state.slots++;
    }
  }

  cancel(): void {
    for (const entry of this.#entries) {
      if (entry.held !== undefined) this.#release(entry);
      // Also where nothing was held: the room that woke this call is another's now.
      entry.state.wake();
    }
  }

  /** Puts the charges right; without `isCounted` the request is given back. */
  settle(isCounted: boolean, truth: Omit<Amounts, 'requests'>): void {
    for (const entry of this.#entries) {
      if (entry.charges === undefined) continue;
      for (const { name, meter, charge } of entry.charges) {
        const actual = name !== 'requests' ? truth[name] : isCounted ? this.#amounts.requests : 0;
        meter.correct(charge, actual - this.#amount(name));
      }
      entry.charges = undefined;
      entry.state.slots--;
      entry.state.wake();
    }
  }

  /** How the caller's own quotas stand: what is left of each, and when all of it is back. */
  standing(): Standing[] {
    return this.#entries.flatMap(({ rule, state }) => {
      if (rule.shadow || (rule.per !== 'user' && rule.per !== 'tenant')) return [];
      return [...state.meters].flatMap(([name, meter]) => {
        const window = rule[name]?.per;
        if (name === 'usd' || window === undefined) return [];
        const { quota, remaining, resetMs } = meter;
        return [{ rule: rule.name, name, quota, window, remaining: Math.max(0, remaining), resetMs }];
      });
    });
  }

  #amount(name: Metered): number {
    return this.#amounts[name];
  }

  #binding({ rule, state }: Entry): Binding | undefined {
    if (rule.concurrency !== undefined && state.slots >= rule.concurrency) {
      return { rule, reason: 'concurrency', waitMs: undefined };
    }
    let worst: Binding | undefined;
    for (const [name, meter] of state.meters) {
      if (name === 'requests' && this.#amounts.requests === 0) continue;
      const waitMs = meter.waitMs(this.#amount(name));
      if (waitMs > 0 && waitMs > (worst?.waitMs ?? 0)) {
        worst = {
          rule,
          reason: name === 'usd' ? 'budget' : 'user_quota',
          waitMs,
        };
      }
    }
    return worst;
  }

  #hold(entry: Entry): void {
    entry.held = [...entry.state.meters].map(([name, meter]) => ({ meter, amount: this.#amount(name) }));
    for (const { meter, amount } of entry.held) meter.hold(amount);
    entry.state.slots++;
  }

  #release(entry: Entry): void {
    for (const { meter, amount } of entry.held ?? []) meter.release(amount);
    entry.held = undefined;
    entry.state.slots--;
  }
}
