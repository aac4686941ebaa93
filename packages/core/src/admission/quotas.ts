import type { Clock } from '../clock.ts';
import type { QuotaConfig } from '../config/schema.ts';
import type { Rate } from '../config/units.ts';
import type { Reason } from '../errors.ts';
import type { QuotaScope } from '../policy/plan.ts';
import { type Keyed, KeyedStates } from '../stores/keyed.ts';
import { type Charge, createMeter, type Meter } from './meter.ts';

/** What a call takes of the quotas that apply to it. */
export interface Amounts {
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

/** What one user, tenant, route or model has used of one rule. */
export class QuotaState implements Keyed {
  readonly meters = new Map<Metered, Meter>();
  /** Slots taken by running calls, and by waiting ones that hold theirs. */
  slots = 0;
  /** Called when something may fit that did not. */
  readonly parked = new Set<() => void>();

  constructor(rule: QuotaConfig, timeZone: string, clock: Clock) {
    for (const name of METERED) {
      const rate: Rate | undefined = rule[name];
      if (rate !== undefined) this.meters.set(name, createMeter(rate, rule.burst, timeZone, clock));
    }
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

interface Entry {
  readonly rule: QuotaConfig;
  readonly state: QuotaState;
  isHeld: boolean;
  charges: Map<Metered, Charge> | undefined;
}

/** Every quota of every key, and the tickets that calls hold on them. */
export class Quotas {
  readonly #states = new Map<string, KeyedStates<QuotaState>>();
  readonly #clock: Clock;
  readonly #timeZone: string;

  constructor(rules: readonly QuotaConfig[], timeZone: string, clock: Clock) {
    this.#clock = clock;
    this.#timeZone = timeZone;
    for (const rule of rules) {
      this.#states.set(rule.name, new KeyedStates(() => new QuotaState(rule, timeZone, clock), MAX_KEYS));
    }
  }

  ticket(scopes: readonly QuotaScope[], amounts: Amounts): QuotaTicket {
    const entries = scopes.map(({ rule, key }) => ({
      rule,
      state: this.#state(rule, key),
      isHeld: false,
      charges: undefined,
    }));
    return new QuotaTicket(entries, amounts);
  }

  #state(rule: QuotaConfig, key: string): QuotaState {
    const states = this.#states.get(rule.name);
    if (states !== undefined) return states.get(key);
    return new QuotaState(rule, this.#timeZone, this.#clock);
  }

  snapshot() {
    return [...this.#states].map(([name, states]) => ({
      name,
      keys: states.size,
    }));
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
      if (entry.isHeld) continue;
      const binding = this.#binding(entry);
      if (binding !== undefined) return { binding, state: entry.state };
    }
    return undefined;
  }

  commit(): void {
    for (const entry of this.#entries) {
      if (entry.isHeld) this.#release(entry);
      entry.charges = new Map();
      for (const [name, meter] of entry.state.meters)
        entry.charges.set(name, meter.charge(this.#amount(name)));
      entry.state.slots++;
    }
  }

  cancel(): void {
    for (const entry of this.#entries) {
      if (entry.isHeld) this.#release(entry);
      // Also where nothing was held: the room that woke this call is another's now.
      entry.state.wake();
    }
  }

  /** Puts the charges right. `requests: 0` gives back the request of a call that was never sent. */
  settle(requests: 0 | 1, truth: Amounts): void {
    for (const entry of this.#entries) {
      if (entry.charges === undefined) continue;
      for (const [name, charge] of entry.charges) {
        const actual = name === 'requests' ? requests : truth[name];
        entry.state.meters.get(name)?.correct(charge, actual - this.#amount(name));
      }
      entry.charges = undefined;
      entry.state.slots--;
      entry.state.wake();
    }
  }

  #amount(name: Metered): number {
    return name === 'requests' ? 1 : this.#amounts[name];
  }

  #binding({ rule, state }: Entry): Binding | undefined {
    if (rule.concurrency !== undefined && state.slots >= rule.concurrency) {
      return { rule, reason: 'concurrency', waitMs: undefined };
    }
    let worst: Binding | undefined;
    for (const [name, meter] of state.meters) {
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
    entry.isHeld = true;
    for (const [name, meter] of entry.state.meters) meter.hold(this.#amount(name));
    entry.state.slots++;
  }

  #release(entry: Entry): void {
    entry.isHeld = false;
    for (const [name, meter] of entry.state.meters) meter.release(this.#amount(name));
    entry.state.slots--;
  }
}
