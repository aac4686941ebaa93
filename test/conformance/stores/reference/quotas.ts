import type { Exchange, MeterAsk, QuotaAsk, Result } from '@headgate/core';
import { LEASE_MS } from '../../../../packages/core/src/stores/store.ts';
import { type History, type Said, same } from './history.ts';

/** One thing that happened to a quota. */
type Entry =
  | { readonly type: 'slots'; readonly process: string; readonly by: number }
  | { readonly type: 'held'; readonly process: string; readonly name: string; readonly by: number }
  /** `at`: of the admission that it belongs to. */
  | {
      readonly type: 'used';
      readonly name: string;
      readonly by: number;
      readonly at: number;
      readonly now: number;
    }
  | { readonly type: 'gone'; readonly process: string };

interface Stands {
  readonly reason: 'concurrency' | 'budget' | 'user_quota';
  /** Left out: until another call ends. */
  readonly waitMs?: number;
}

/** All quotas, as lists of what happened to them. */
export class ReferenceQuotas {
  readonly #entries = new Map<string, Entry[]>();
  readonly #seenAt = new Map<string, number>();

  constructor(history: History) {
    for (const said of history) this.#apply(said);
  }

  #of(key: string): Entry[] {
    const entries = this.#entries.get(key) ?? [];
    this.#entries.set(key, entries);
    return entries;
  }

  /** Slots or amounts that a process has claimed and not let go; never below nothing. */
  #claimed(key: string, isIt: (entry: Entry) => number, process?: string): number {
    const byProcess = new Map<string, number>();
    for (const entry of this.#of(key)) {
      if (entry.type === 'used') continue;
      if (entry.type === 'gone') byProcess.delete(entry.process);
      else byProcess.set(entry.process, Math.max(0, (byProcess.get(entry.process) ?? 0) + isIt(entry)));
    }
    if (process !== undefined) return byProcess.get(process) ?? 0;
    return [...byProcess.values()].reduce((sum, each) => sum + each, 0);
  }

  #slots = (key: string, process?: string) =>
    this.#claimed(key, (entry) => (entry.type === 'slots' ? entry.by : 0), process);

  #held = (key: string, name: string, process?: string) =>
    this.#claimed(key, (entry) => (entry.type === 'held' && entry.name === name ? entry.by : 0), process);

  /** What is left of a meter, with nothing of what is held taken: of a window, or of a bucket that was full at first. */
  #left(key: string, ask: MeterAsk, now: number): number {
    const uses = this.#of(key).filter((entry) => entry.type === 'used' && entry.name === ask.name);
    let left = ask.kind === 'window' ? ask.quota : ask.capacity;
    let last = 0;
    for (const use of uses) {
      if (use.type !== 'used') continue;
      if (ask.kind === 'window') {
        if (use.at >= ask.start && use.now >= ask.start) left -= use.by;
        continue;
      }
      left = Math.min(ask.capacity, left + ask.ratePerMs * (use.now - last)) - use.by;
      last = use.now;
    }
    return ask.kind === 'window' ? left : Math.min(ask.capacity, left + ask.ratePerMs * (now - last));
  }

  /** What stands in the way of a call that has reserved nothing. The longest wait of all its meters is told. */
  #stands({ key, concurrency, meters }: QuotaAsk, process: string, now: number): Stands | undefined {
    for (const [other, seen] of this.#seenAt)
      if (other !== process && seen < now - LEASE_MS) this.#of(key).push({ type: 'gone', process: other });
    if (concurrency !== undefined && this.#slots(key) >= concurrency) return { reason: 'concurrency' };
    let worst: Stands | undefined;
    // One that has the quota to itself goes on what is certain, where the rest is a guess.
    const isAlone = this.#slots(key) === 0;
    for (const ask of meters) {
      // A further attempt of a call that was counted.
      if (ask.name === 'requests' && ask.amount === 0) continue;
      const left = this.#left(key, ask, now) - this.#held(key, ask.name);
      const reason = ask.name === 'usd' ? 'budget' : 'user_quota';
      const isContinuous = ask.kind === 'continuous';
      const most = isContinuous ? Math.max(ask.quota, ask.capacity) : ask.quota;
      const amount = isAlone ? (ask.alone ?? ask.amount) : ask.amount;
      const missing = Math.min(amount, isContinuous ? ask.capacity : most) - left;
      if ((ask.least ?? ask.amount) > most) return { reason, waitMs: -1 };
      if (missing <= 1e-6) continue;
      const waitMs = isContinuous ? missing / ask.ratePerMs : ask.end - now;
      if (waitMs > (worst?.waitMs ?? 0)) worst = { reason, waitMs };
    }
    return worst;
  }

  /** Whether a process has that reserved: nothing of what one had that was given up since. */
  #isReserved({ key, meters }: QuotaAsk, process: string): boolean {
    const held = (name: string) => this.#held(key, name, process);
    if (this.#slots(key, process) === 0 && meters.every(({ name }) => held(name) === 0)) return false;
    return meters.every(({ name, amount }) => held(name) >= amount - 1e-6);
  }

  #reserve({ key, meters }: QuotaAsk, process: string): void {
    this.#of(key).push({ type: 'slots', process, by: 1 });
    for (const { name, amount } of meters) this.#of(key).push({ type: 'held', process, name, by: amount });
  }

  #release({ key, meters }: QuotaAsk, process: string): void {
    for (const { name, amount } of meters) this.#of(key).push({ type: 'held', process, name, by: -amount });
  }

  /** Nothing is held any more for a call that is refused. */
  #letGo(ask: QuotaAsk, process: string): void {
    if (!this.#isReserved(ask, process)) return;
    this.#release(ask, process);
    this.#of(ask.key).push({ type: 'slots', process, by: -1 });
  }

  #use({ key, meters }: QuotaAsk, now: number): void {
    for (const { name, amount } of meters)
      this.#of(key).push({ type: 'used', name, by: amount, at: now, now });
  }

  /** A call comes: it is refused, or all that refuses (and what only counts) is reserved for it. */
  #arrives(
    id: number,
    asks: readonly QuotaAsk[],
    process: string,
    now: number,
    told: Result | undefined,
  ): boolean {
    for (const [index, ask] of asks.entries()) {
      if (ask.isHeld || ask.onExceed === 'shadow') continue;
      const stands = this.#stands(ask, process, now);
      if (stands === undefined || (ask.onExceed === 'wait' && stands.waitMs !== -1)) continue;
      expectExceeded(id, told, index, 'refuse', stands);
      for (const each of asks) if (each.isHeld) this.#letGo(each, process);
      return false;
    }
    for (const ask of asks) if (!ask.isHeld && ask.onExceed !== 'wait') this.#reserve(ask, process);
    return true;
  }

  #apply({ at, exchange, answer }: Said): void {
    const { process } = exchange;
    this.#seenAt.set(process, at);
    this.#told(exchange, at);
    const told = new Map(answer.results.map((result) => [result.id, result]));
    for (const { id, quotas } of exchange.reserve)
      if (this.#arrives(id, quotas, process, at, told.get(id)) && told.get(id)?.type !== 'waits')
        throw new Error(`${id} was to be reserved for, and is not`);
    const arrived = exchange.candidates.filter(({ id, quotas }) =>
      this.#arrives(id, quotas, process, at, told.get(id)),
    );
    for (const result of answer.results) {
      const asks = arrived.find(({ id }) => id === result.id)?.quotas;
      if (asks !== undefined && result.type !== 'waits') this.#decided(result, asks, process, at);
    }
  }

  /** A call that has come, and does not wait. */
  #decided(
    result: Exclude<Result, { type: 'waits' }>,
    asks: readonly QuotaAsk[],
    process: string,
    now: number,
  ): void {
    const { id } = result;
    // What makes a call wait is asked now, and what refuses where it was reserved and is not any more.
    const bars = asks.flatMap((ask, index) => {
      const isLost = ask.isHeld && ask.onExceed !== 'shadow' && !this.#isReserved(ask, process);
      const stands = isLost || ask.onExceed === 'wait' ? this.#stands(ask, process, now) : undefined;
      return stands === undefined ? [] : [{ index, ask, stands }];
    });
    if (result.type === 'exceeded') {
      const bar = bars.find(({ ask }) => (ask.onExceed === 'wait') === (result.onExceed === 'wait'));
      if (bar === undefined) throw new Error(`${id} is held up by quota ${result.quota}, which has room`);
      expectExceeded(id, result, bar.index, result.onExceed, bar.stands);
      if (result.onExceed === 'refuse')
        for (const ask of asks) if (ask.onExceed !== 'wait') this.#letGo(ask, process);
      return;
    }
    for (const { ask, stands } of bars)
      throw new Error(`${id} is granted, and ${stands.reason} of ${ask.key} bars it`);
    for (const ask of asks) {
      if (ask.onExceed !== 'wait' && this.#isReserved(ask, process)) this.#release(ask, process);
      else this.#of(ask.key).push({ type: 'slots', process, by: 1 });
      this.#use(ask, now);
    }
  }

  /** What was spent without the ledger is charged whatever there is, and what was charged is put right. */
  #told({ process, spent, quotas }: Exchange, now: number): void {
    for (const ask of spent) {
      this.#of(ask.key).push({ type: 'slots', process, by: 1 });
      this.#use(ask, now);
    }
    for (const { key, slots, meters } of quotas) {
      this.#of(key).push({ type: 'slots', process, by: slots });
      for (const { name, released, used, at } of meters) {
        this.#of(key).push({ type: 'held', process, name, by: -released });
        this.#of(key).push({ type: 'used', name, by: used, at, now });
      }
    }
  }
}

function expectExceeded(
  id: number,
  told: Result | undefined,
  index: number,
  onExceed: 'refuse' | 'wait',
  { reason, waitMs }: Stands,
): void {
  if (told?.type !== 'exceeded' || told.onExceed !== onExceed)
    throw new Error(`${id} is told "${told?.type}", and ${reason} stands in its way`);
  same('which quota', told.quota, index);
  if (told.reason !== reason) throw new Error(`${id} is told ${told.reason} for ${reason}`);
  same(`wait of ${id}`, told.waitMs, waitMs);
}
