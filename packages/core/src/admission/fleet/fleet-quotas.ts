import type { Clock } from '../../clock.ts';
import type { Exchange, QuotaAsk, QuotaChange } from '../../stores/store.ts';
import type { Correction, QuotaTicket } from '../ticket.ts';

/** Charges kept for a ledger that is not there: past it the oldest are forgotten. */
const MAX_KEPT = 10_000;
/** So many with each message: the ledger answers nobody else meanwhile. */
const AT_ONCE = 500;

/**
 * What the ledger is to be told of quotas: what calls ask for, what those that left give back, what the ends of calls put right,
 * and what was spent while it was not there.
 */
export class FleetQuotas {
  readonly #clock: Clock;
  readonly #onChange: () => void;
  readonly #changes: QuotaChange[] = [];
  readonly #spent: QuotaAsk[] = [];
  /** The ledger's wall clock, on our own. */
  #ahead: number;
  #isHeard = false;
  #hasWithheld = false;

  constructor(clock: Clock, onChange: () => void) {
    this.#clock = clock;
    this.#onChange = onChange;
    this.#ahead = clock.wall() - clock.now();
  }

  /** The ledger's clock showed `wall` just now: days and months are its days and months. Whether somebody has waited for that. */
  heard(wall: number): boolean {
    this.#ahead = wall - this.#clock.now();
    this.#isHeard = true;
    const hasWithheld = this.#hasWithheld;
    this.#hasWithheld = false;
    return hasWithheld;
  }

  /**
   * Whether the ledger can be asked for the call's quotas. Before its time was heard nobody here knows which day it is there, and
   * a day by a wrong clock would be over at once, with what was charged to it.
   */
  mayAsk(ticket: QuotaTicket): boolean {
    if (this.#isHeard) return true;
    const asks = ticket.asks(this.#wall);
    if (!asks.some(({ meters }) => meters.some(({ kind }) => kind === 'window'))) return true;
    this.#hasWithheld = true;
    return false;
  }

  get #wall(): number {
    return this.#clock.now() + this.#ahead;
  }

  asks(ticket: QuotaTicket, isReserved: boolean): QuotaAsk[] {
    return ticket.asks(this.#wall).map((ask) => ({ ...ask, isHeld: isReserved && ask.onExceed !== 'wait' }));
  }

  /** What was reserved for a call that leaves is free. */
  release(asks: readonly QuotaAsk[]): void {
    for (const { key, onExceed, meters } of asks) {
      if (onExceed === 'wait') continue;
      const freed = meters.map(({ name, amount }) => ({ name, released: amount, used: 0, at: 0 }));
      this.#changes.push({ key, slots: -1, meters: freed });
    }
    this.#onChange();
  }

  /** What was charged for a call that had left meanwhile goes back. */
  giveBack(asks: readonly QuotaAsk[]): void {
    for (const { key, meters } of asks) {
      const back = meters.map(({ name, amount }) => ({
        name,
        released: 0,
        used: -amount,
        at: Number.MAX_SAFE_INTEGER,
      }));
      this.#changes.push({ key, slots: -1, meters: back });
    }
    this.#onChange();
  }

  /** The ledger has charged the call's quotas: they are charged here too, and its end puts both right. */
  commit(ticket: QuotaTicket): void {
    ticket.commit();
    this.#follow(ticket);
  }

  /** The call's quotas were charged here alone: the ledger is told when it is there. */
  spend(ticket: QuotaTicket): void {
    this.#spent.push(...this.asks(ticket, false));
    if (this.#spent.length > MAX_KEPT) this.#spent.splice(0, this.#spent.length - MAX_KEPT);
    this.#follow(ticket);
  }

  #follow(ticket: QuotaTicket): void {
    const at = this.#wall;
    ticket.follow((corrections) => this.#correct(corrections, at));
  }

  #correct(corrections: readonly Correction[], at: number): void {
    for (const { state, slots, used } of corrections) {
      const meters = used.map(({ name, delta }) => ({ name, released: 0, used: delta, at }));
      this.#changes.push({ key: state.hash, slots, meters });
    }
    if (this.#changes.length > MAX_KEPT) this.#changes.splice(0, this.#changes.length - MAX_KEPT);
    this.#onChange();
  }

  /** What there is to tell, or a part of it where it is much. It is not told again. */
  take(): Pick<Exchange, 'quotas' | 'spent'> {
    const spent = this.#spent.splice(0, AT_ONCE);
    // What puts a charge right comes after it.
    const quotas = this.#spent.length > 0 ? [] : this.#changes.splice(0, AT_ONCE);
    if (this.#spent.length > 0 || this.#changes.length > 0) this.#onChange();
    return { quotas, spent };
  }
}
