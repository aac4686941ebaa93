import { createHash } from 'node:crypto';
import type { Clock } from '../clock.ts';
import type { QuotaConfig } from '../config/schema.ts';
import type { Rate } from '../config/units.ts';
import type { Keyed } from '../stores/keyed.ts';
import type { SafeCounters } from '../stores/safe.ts';
import { createMeter, type Meter, meterKind, type SavedMeter } from './meter.ts';

export const METERED = ['requests', 'inputTokens', 'outputTokens', 'usd'] as const;
export type Metered = (typeof METERED)[number];

/** One rule as it is now, counted up at every change, so that a state knows whether it has been told. */
export interface CurrentRule {
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
  readonly #current: CurrentRule;
  readonly #clock: Clock;
  readonly #counters: SafeCounters | undefined;
  #version = -1;

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
