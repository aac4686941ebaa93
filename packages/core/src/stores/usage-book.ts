import type { Alarms } from '../alarms.ts';
import type { Clock, Timer } from '../clock.ts';
import { compositeKey, partsOf } from '../composite-key.ts';
import { type Charge, totalsOf } from '../settlement/charges.ts';
import {
  addSums,
  type KeyedUsage,
  NO_SUMS,
  USAGE_BY,
  type UsageBy,
  type UsageRecord,
  type UsageStore,
  type UsageSums,
} from './usage-store.ts';

const HOUR_MS = 3_600_000;
/** Hours are kept this long in a store. */
const KEPT_MS = 92 * 24 * HOUR_MS;
/** Keys told apart in one hour, for each thing that usage is asked for by. What comes later shares `_OTHER`. */
const MAX_KEYS = 10_000;
/** Rows kept in memory where there is no store: past it the oldest hour goes. */
const MAX_ROWS = 100_000;
/** How long rows are gathered before they are written. */
const FLUSH_MS = 500;
/** Rows written at once. */
const AT_ONCE = 1_000;
/** How soon rows that could not be written are tried again, in milliseconds. */
const RETRY_MS = 5_000;
export const OTHER = '_OTHER';

/** Whose usage it is. */
export interface UsageOwner {
  readonly user: string;
  readonly tenant: string | undefined;
  readonly route: string | undefined;
  readonly model: string;
  readonly lane: string;
  readonly account: string;
}

export interface UsageRow extends UsageSums {
  /** The user, tenant, route, model, lane or account; empty for what had none. */
  readonly key: string;
  /** Of a user: the tenant, where it has one. Users of two tenants are two users. */
  readonly tenant?: string;
}

export interface UsageReport {
  readonly by: UsageBy;
  /** From when on, in milliseconds of the epoch: the hour in which the time asked for lies, or the first that is known. */
  readonly since: number;
  /** The dearest first. */
  readonly rows: readonly UsageRow[];
  readonly total: UsageSums;
}

/** What a call has used, as it is counted here. */
function sumsOf(charges: readonly Charge[], calls: 0 | 1): UsageSums {
  const { inputTokens, cacheReadTokens, written, outputTokens, usd, pricing } = totalsOf(charges);
  const cacheWriteTokens = written;
  return {
    calls,
    inputTokens,
    cacheReadTokens,
    cacheWriteTokens,
    outputTokens,
    usd,
    unpriced: pricing === 'known' ? 0 : 1,
  };
}

/** Usage of every call, by hour and by whom. In a store that keeps it; in bounded memory without one. */
export class UsageBook {
  readonly #store: UsageStore;
  readonly #memory: MemoryUsage;
  readonly #alarms: Alarms;
  readonly #clock: Clock;
  readonly #onError: (error: unknown) => void;
  /** What is not written yet, by hour, thing and key. */
  #pending = new Map<string, UsageRecord>();
  #hour = 0;
  /** Keys of the present hour. */
  #keys = new Map<UsageBy, Set<string>>();
  #timer: Timer | undefined;
  #retryAt = Number.NEGATIVE_INFINITY;
  #isClosed = false;
  #writing: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #totals: UsageSums = NO_SUMS;
  readonly #since: number;

  constructor(
    store: UsageStore | undefined,
    alarms: Alarms,
    clock: Clock,
    onError: (error: unknown) => void,
  ) {
    this.#memory = new MemoryUsage();
    this.#store = store ?? this.#memory;
    this.#alarms = alarms;
    this.#clock = clock;
    this.#onError = onError;
    this.#since = hourOf(clock.wall());
  }

  /** Everything since the governor was made. */
  get totals(): UsageSums {
    return this.#totals;
  }

  /** The call counts for the model that was asked, and its charges each for the model that ran. */
  add(owner: UsageOwner, charges: readonly Charge[]): void {
    const sums = sumsOf(charges, 1);
    const hour = hourOf(this.#clock.wall());
    if (hour !== this.#hour) {
      this.#hour = hour;
      this.#keys = new Map(USAGE_BY.map((by) => [by, new Set()]));
    }
    this.#totals = addSums(this.#totals, sums);
    for (const by of USAGE_BY) if (by !== 'model') this.#put(hour, by, keyOf(by, owner), sums);
    for (const model of new Set([owner.model, ...charges.map((charge) => charge.model)])) {
      const theirs = charges.filter((charge) => charge.model === model);
      this.#put(hour, 'model', model, sumsOf(theirs, model === owner.model ? 1 : 0));
    }
    if (this.#pending.size >= MAX_KEYS) void this.flush();
    else this.#timer ??= this.#alarms.set(this.#clock.now() + FLUSH_MS, () => void this.flush());
  }

  #put(hour: number, by: UsageBy, name: string, sums: UsageSums): void {
    const key = this.#known(by, name);
    const at = `${hour}\n${by}\n${key}`;
    const before = this.#pending.get(at);
    this.#pending.set(at, {
      hour,
      by,
      key,
      sums: before === undefined ? sums : addSums(before.sums, sums),
    });
  }

  #known(by: UsageBy, key: string): string {
    const keys = this.#keys.get(by);
    if (keys === undefined || keys.has(key)) return key;
    if (keys.size >= MAX_KEYS) return OTHER;
    keys.add(key);
    return key;
  }

  /** Writes what has been gathered, after what is being written. What cannot be written is kept in memory. Never throws. */
  flush(): Promise<void> {
    if (this.#writing === undefined) {
      this.#writing = this.#write().finally(() => {
        this.#writing = undefined;
      });
      return this.#writing;
    }
    this.#next ??= this.#writing.then(() => {
      this.#next = undefined;
      return this.flush();
    });
    return this.#next;
  }

  async #write(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    const isKept = this.#hasUnwritten;
    const isDue = isKept && this.#clock.now() >= this.#retryAt;
    if (this.#pending.size === 0 && !isDue) return;
    const records = [...this.#pending.values()];
    this.#pending = new Map();
    // What could not be written before goes first, when there may be room again.
    if (isDue) records.unshift(...this.#memory.take(AT_ONCE));
    else if (isKept) {
      this.#memory.addUsage(records);
      this.#retryLater();
      return;
    }
    // In parts: a file answers nobody else meanwhile.
    for (let from = 0; from < records.length; from += AT_ONCE) {
      try {
        await this.#store.addUsage(records.slice(from, from + AT_ONCE));
      } catch (error) {
        this.#onError(error);
        this.#memory.addUsage(records.slice(from));
        this.#retryAt = this.#clock.now() + RETRY_MS;
        break;
      }
    }
    if (this.#hasUnwritten) this.#retryLater();
  }

  /** The store could not be written, and what it was to have is in memory. */
  get #hasUnwritten(): boolean {
    return this.#store !== this.#memory && this.#memory.first !== undefined;
  }

  #retryLater(): void {
    if (this.#isClosed) return;
    this.#timer ??= this.#alarms.set(
      Math.max(this.#retryAt, this.#clock.now() + FLUSH_MS),
      () => void this.flush(),
    );
  }

  async report(by: UsageBy, since: number): Promise<UsageReport> {
    await this.flush();
    const from = hourOf(since);
    let kept: readonly KeyedUsage[] = [];
    try {
      kept = await this.#store.readUsage(by, from);
    } catch (error) {
      this.#onError(error);
    }
    // What could not be written is no less true.
    const rest = this.#store === this.#memory ? [] : this.#memory.readUsage(by, from);
    const sums = new Map<string, UsageSums>();
    for (const each of [...kept, ...rest])
      sums.set(each.key, addSums(sums.get(each.key) ?? NO_SUMS, each.sums));
    const rows = [...sums].map(([key, each]) => ({ ...splitKey(by, key), ...each }));
    rows.sort((a, b) => b.usd - a.usd || b.outputTokens - a.outputTokens || (a.key < b.key ? -1 : 1));
    const first = this.#store === this.#memory ? (this.#memory.first ?? this.#since) : from;
    return {
      by,
      since: Math.max(from, first),
      rows,
      total: [...sums.values()].reduce(addSums, NO_SUMS),
    };
  }

  /** Writes the rest, and drops what is too old. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#retryAt = Number.NEGATIVE_INFINITY;
    do await this.flush();
    while (this.#hasUnwritten && this.#clock.now() >= this.#retryAt);
    try {
      await this.#store.dropUsage(hourOf(this.#clock.wall()) - KEPT_MS);
    } catch (error) {
      this.#onError(error);
    }
  }
}

const hourOf = (wall: number) => Math.floor(wall / HOUR_MS) * HOUR_MS;

function keyOf(by: UsageBy, owner: UsageOwner): string {
  if (by === 'user')
    return owner.tenant === undefined ? compositeKey(owner.user) : compositeKey(owner.tenant, owner.user);
  return owner[by] ?? '';
}

function splitKey(by: UsageBy, key: string): { key: string; tenant?: string } {
  if (by !== 'user') return { key };
  const [first = '', user] = partsOf(key);
  return user === undefined ? { key: first } : { tenant: first, key: user };
}

/** Usage in memory: as many hours as fit. */
class MemoryUsage implements UsageStore {
  readonly #hours = new Map<number, Map<UsageBy, Map<string, UsageSums>>>();
  #rows = 0;

  get first(): number | undefined {
    return this.#hours.size === 0 ? undefined : Math.min(...this.#hours.keys());
  }

  addUsage(records: readonly UsageRecord[]): void {
    for (const { hour, by, key, sums } of records) {
      const hours = entry(this.#hours, hour, () => new Map<UsageBy, Map<string, UsageSums>>());
      const keys = entry(hours, by, () => new Map<string, UsageSums>());
      const before = keys.get(key);
      if (before === undefined) this.#rows++;
      keys.set(key, before === undefined ? sums : addSums(before, sums));
    }
    while (this.#rows > MAX_ROWS && this.#hours.size > 1) {
      const oldest = Math.min(...this.#hours.keys());
      for (const keys of this.#hours.get(oldest)?.values() ?? []) this.#rows -= keys.size;
      this.#hours.delete(oldest);
    }
  }

  readUsage(by: UsageBy, since: number): KeyedUsage[] {
    const sums = new Map<string, UsageSums>();
    for (const [hour, things] of this.#hours) {
      if (hour < since) continue;
      for (const [key, each] of things.get(by) ?? []) sums.set(key, addSums(sums.get(key) ?? NO_SUMS, each));
    }
    return [...sums].map(([key, each]) => ({ key, sums: each }));
  }

  dropUsage(): void {}

  /** Up to `most` rows, which are forgotten here. */
  take(most: number): UsageRecord[] {
    const records: UsageRecord[] = [];
    for (const [hour, things] of this.#hours) {
      for (const [by, keys] of things) {
        for (const [key, sums] of keys) {
          if (records.length >= most) return records;
          keys.delete(key);
          this.#rows--;
          records.push({ hour, by, key, sums });
        }
      }
      this.#hours.delete(hour);
    }
    return records;
  }
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
