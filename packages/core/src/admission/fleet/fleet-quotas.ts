import type { Clock } from '../../clock.ts';
import type { Exchange, QuotaAsk } from '../../stores/store.ts';
import type { Claim, Metered, QuotaState } from '../quota-state.ts';
import type { Correction, QuotaTicket } from '../ticket.ts';
import { type Missing, QuotaBacklog } from './quota-backlog.ts';

/** So many quotas with each message: the ledger answers nobody else meanwhile. */
const AT_ONCE = 500;
/** Messages in a row that the ledger has refused for good, of which what they told of quotas is told again. */
const MOST_REFUSED = 5;
const NO_AMOUNTS = { requests: 0, inputTokens: 0, outputTokens: 0, usd: 0 } as const;
const NOTHING: Claim = { amounts: NO_AMOUNTS, least: NO_AMOUNTS, isGuess: false };

/**
 * What the ledger is to be told of quotas: what calls ask for, what those that left give back, what the ends of calls put right,
 * and what was spent while it was not there.
 */
export class FleetQuotas {
  readonly #clock: Clock;
  readonly #onChange: (haste: 'slot' | 'soon') => void;
  readonly #backlog: QuotaBacklog;
  /** The ledger's wall clock, on our own. */
  #ahead: number;
  #isHeard = false;
  #hasWithheld = false;
  #refused = 0;

  constructor(clock: Clock, onChange: (haste: 'slot' | 'soon') => void, onForgotten: () => void) {
    this.#clock = clock;
    this.#onChange = onChange;
    this.#backlog = new QuotaBacklog(onForgotten);
    this.#ahead = clock.wall() - clock.now();
  }

  /** The ledger's clock showed `wall` just now: days and months are its days and months. Whether somebody has waited for that. */
  heard(wall: number): boolean {
    this.#ahead = wall - this.#clock.now();
    this.#isHeard = true;
    this.#refused = 0;
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
    for (const ask of asks) if (ask.onExceed !== 'wait') this.#backlog.release(ask);
    this.#onChange(hasteOf(asks));
  }

  /** What was charged for a call that had left meanwhile goes back. */
  giveBack(asks: readonly QuotaAsk[]): void {
    for (const ask of asks) {
      const back = ask.meters.map((each) => ({
        name: each.name,
        delta: -each.amount,
        start: each.kind === 'window' ? each.start : 0,
      }));
      this.#backlog.correct(ask, -1, back, 0);
    }
    this.#onChange(hasteOf(asks));
  }

  /** The ledger has charged the call's quotas: they are charged here too, and its end puts both right. */
  commit(ticket: QuotaTicket): void {
    ticket.commit();
    this.#follow(ticket);
  }

  /** The call's quotas were charged here alone: the ledger is told when it is there. */
  spend(ticket: QuotaTicket): void {
    for (const [index, ask] of ticket.asks(this.#wall).entries()) {
      const state = ticket.stateAt(index)?.state;
      this.#backlog.spend(ask, state === undefined ? undefined : missingOf(state));
    }
    this.#follow(ticket);
  }

  #follow(ticket: QuotaTicket): void {
    const at = this.#wall;
    ticket.follow((corrections) => this.#correct(corrections, at));
  }

  #correct(corrections: readonly Correction[], at: number): void {
    const asks = corrections.map(({ state }) => state.ask(NOTHING, at));
    for (const [index, ask] of asks.entries()) {
      const { meters } = ask;
      const { slots, used } = corrections[index] as Correction;
      const starts = new Map(meters.map((each) => [each.name, each.kind === 'window' ? each.start : 0]));
      const deltas = used.map(({ name, delta }) => ({ name, delta, start: starts.get(name) ?? 0 }));
      this.#backlog.correct(ask, slots, deltas, at);
    }
    this.#onChange(hasteOf(asks));
  }

  /** What there is to tell, or a part of it where it is much. It is not told again. */
  take(): Pick<Exchange, 'quotas' | 'spent'> {
    const told = this.#backlog.take(AT_ONCE, this.#wall);
    if (this.#backlog.size > 0) this.#onChange('soon');
    return told;
  }

  /** The ledger has refused a message for good: what it told of quotas is told with the next. */
  refused({ quotas, spent }: Pick<Exchange, 'quotas' | 'spent'>): void {
    // One that is refused again and again has something in it that no ledger takes.
    if (++this.#refused > MOST_REFUSED) return;
    this.#backlog.putBack(quotas, spent);
    this.#onChange('soon');
  }
}

/** A slot that is free again may let the next call go, in whichever process it comes. */
const hasteOf = (asks: readonly Pick<QuotaAsk, 'concurrency'>[]) =>
  asks.some(({ concurrency }) => concurrency !== undefined) ? 'slot' : 'soon';

/** What was spent of a quota that refills and has not come back, by this process's own share of it. */
const missingOf =
  (state: QuotaState): Missing =>
  (ask) => {
    const meter = state.meters.get(ask.name as Metered);
    if (meter === undefined || ask.kind !== 'continuous') return Number.POSITIVE_INFINITY;
    return (meter.resetMs * ask.ratePerMs * meter.quota) / ask.quota;
  };
