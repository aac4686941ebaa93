import type { QuotaAsk, QuotaChange } from '../../stores/store.ts';

/** Quotas kept for a ledger that is not there, at most; some 400 bytes each. */
const MAX_KEYS = 50_000;
/** Entries looked at for one to forget, each time that a new one is one too many. */
const SWEEP = 8;

export type Ask = Omit<QuotaAsk, 'isHeld'>;
type MeterAsk = QuotaAsk['meters'][number];

/** The sum of what is to be told of one meter in one of its windows. */
interface MeterSum {
  readonly name: string;
  /** As last asked: the ledger may not know the meter yet. Undefined where nothing was spent. */
  ask: MeterAsk | undefined;
  /** Charged here alone. */
  spent: number;
  /** Used more than was charged. */
  used: number;
  /** No longer held. */
  released: number;
  /** The ledger's time of a charge in that window. */
  at: number;
}

interface KeySum {
  ask: Ask | undefined;
  missing: Missing;
  slots: number;
  /** A slot of a limited number came free. */
  frees: boolean;
  readonly meters: Map<string, MeterSum>;
}

/** What may be told of a meter that refills, at the most: what has come back since is owed no more. */
export type Missing = (ask: MeterAsk) => number;

const ALL: Missing = () => Number.POSITIVE_INFINITY;

/**
 * What the ledger is to be told of quotas, as one sum for each quota: an outage costs memory by the quotas in use,
 * however many calls end in it. Past `maxKeys` the oldest charges are forgotten, in the favour of their users, until
 * the end of their window at the latest. Slots and reservations are never forgotten: a slot that nobody gives back
 * would refuse its user for good.
 */
export class QuotaBacklog {
  readonly #keys = new Map<string, KeySum>();
  readonly #maxKeys: number;
  readonly #onForgotten: () => void;

  constructor(onForgotten: () => void, maxKeys = MAX_KEYS) {
    this.#onForgotten = onForgotten;
    this.#maxKeys = maxKeys;
  }

  /** Quotas of which there is something to tell. */
  get size(): number {
    return this.#keys.size;
  }

  /** A call was charged here alone, and runs. */
  spend(ask: Ask, missing: Missing = ALL): void {
    const sum = this.#of(ask.key);
    sum.ask = ask;
    sum.missing = missing;
    sum.slots += 1;
    for (const each of ask.meters) {
      const meter = meterOf(sum, each.name, startOf(each));
      meter.ask = each;
      meter.spent += each.amount;
    }
  }

  /** What was reserved for a call that left is free. */
  release({ key, meters, concurrency }: Pick<Ask, 'key' | 'meters' | 'concurrency'>): void {
    const sum = this.#of(key);
    sum.slots -= 1;
    sum.frees ||= concurrency !== undefined;
    for (const each of meters) meterOf(sum, each.name, startOf(each)).released += each.amount;
  }

  /** A charge of the ledger is put right: by `used`, in the window of `start`, and by the slots that are free again. */
  correct(
    { key, concurrency }: Pick<Ask, 'key' | 'concurrency'>,
    slots: number,
    used: readonly Correction[],
    at: number,
  ): void {
    const sum = this.#of(key);
    sum.slots += slots;
    sum.frees ||= concurrency !== undefined && slots < 0;
    for (const { name, delta, start } of used) {
      if (delta === 0) continue;
      const meter = meterOf(sum, name, start);
      meter.used += delta;
      meter.at = Math.max(meter.at, at);
    }
  }

  /** The ledger has refused a message, with this in it. */
  putBack(changes: readonly QuotaChange[], spent: readonly Ask[]): void {
    for (const { key, slots, meters, frees = false } of changes) {
      const sum = this.#of(key);
      sum.slots += slots;
      sum.frees ||= frees;
      for (const { name, released, used, at } of meters) {
        const meter = meterOf(sum, name, at);
        meter.released += released;
        meter.used += used;
        meter.at = Math.max(meter.at, at);
      }
    }
    for (const ask of spent) this.spend(ask);
  }

  /** Takes out what is to be told of up to `most` quotas. `wall`: the ledger's time. */
  take(most: number, wall: number): { quotas: QuotaChange[]; spent: QuotaAsk[] } {
    const quotas: QuotaChange[] = [];
    const spent: QuotaAsk[] = [];
    for (const [key, sum] of this.#keys) {
      if (quotas.length >= most || spent.length >= most) break;
      this.#keys.delete(key);
      const { changes, asks } = tellOf(sum, wall);
      spent.push(...asks);
      // The ledger takes a slot with each of them.
      const slots = sum.slots - asks.length;
      const frees = sum.frees ? { frees: true } : {};
      if (slots !== 0 || changes.length > 0) quotas.push({ key, slots, ...frees, meters: changes });
    }
    return { quotas, spent };
  }

  #of(key: string): KeySum {
    const known = this.#keys.get(key);
    if (known !== undefined) return known;
    if (this.#keys.size >= this.#maxKeys) this.#forget();
    const made: KeySum = { ask: undefined, missing: ALL, slots: 0, frees: false, meters: new Map() };
    this.#keys.set(key, made);
    return made;
  }

  #forget(): void {
    let looked = 0;
    for (const [key, sum] of this.#keys) {
      if (looked++ >= SWEEP || this.#keys.size < this.#maxKeys) return;
      this.#keys.delete(key);
      const held = [...sum.meters].filter(([, { released }]) => released !== 0);
      if (sum.slots === 0 && held.length === 0) {
        this.#onForgotten();
        continue;
      }
      const meters = new Map(
        held.map(([at, meter]) => [at, { ...meter, ask: undefined, spent: 0, used: 0 }]),
      );
      this.#keys.set(key, { ...sum, ask: undefined, meters });
    }
  }
}

/** By how much a call has used more than it was charged in the window that begins at `start`. */
export interface Correction {
  readonly name: string;
  readonly delta: number;
  readonly start: number;
}

const startOf = (ask: MeterAsk): number => (ask.kind === 'window' ? ask.start : 0);

function meterOf(sum: KeySum, name: string, start: number): MeterSum {
  const at = `${name} ${start}`;
  let meter = sum.meters.get(at);
  if (meter === undefined) {
    meter = { name, ask: undefined, spent: 0, used: 0, released: 0, at: start };
    sum.meters.set(at, meter);
  }
  return meter;
}

/** The messages that tell of one quota: what was spent, which makes the meters known, and what puts them right. */
function tellOf({ ask, meters, missing }: KeySum, wall: number) {
  const changes: { name: string; released: number; used: number; at: number }[] = [];
  const charged: MeterAsk[] = [];
  for (const { name, ask: each, spent, used, released, at } of meters.values()) {
    // In a window that is over nothing is left to count.
    const isOver = each?.kind === 'window' && each.end <= wall;
    let amount = isOver ? 0 : spent + used;
    if (each?.kind === 'continuous' && amount > 0) amount = Math.min(amount, missing(each));
    if (each !== undefined && amount > 0) charged.push({ ...each, amount });
    const rest = each !== undefined && amount > 0 ? 0 : amount;
    if (rest !== 0 || released !== 0) changes.push({ name, released, used: rest, at });
  }
  return { changes, asks: ask === undefined ? [] : asksOf(ask, charged) };
}

/** An ask names a meter once: of two windows of one meter there are two. */
function asksOf(ask: Ask, charged: readonly MeterAsk[]): QuotaAsk[] {
  const asks: { names: Set<string>; meters: MeterAsk[] }[] = [];
  for (const meter of charged) {
    let free = asks.find(({ names }) => !names.has(meter.name));
    if (free === undefined) {
      free = { names: new Set(), meters: [] };
      asks.push(free);
    }
    free.names.add(meter.name);
    free.meters.push(meter);
  }
  return asks.map(({ meters }) => ({ ...ask, isHeld: false, meters }));
}
