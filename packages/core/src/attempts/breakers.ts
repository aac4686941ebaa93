import type { Clock, Random } from '../clock.ts';
import { compositeKey, partsOf } from '../composite-key.ts';
import { hashOfName } from '../hash.ts';
import { MAX_NOTICES } from '../notice.ts';
import { remember } from '../remember.ts';
import type { Haste } from '../stores/topic.ts';
import type { BreakerState } from '../telemetry/values.ts';
import { Breaker, type BreakerTold } from './breaker.ts';
import { OwnCircuits } from './own-circuits.ts';
import { type SpendLimit, SpendLimits, type SpendLimitTold } from './spend-limits.ts';

/** Models watched, at most: past it the one that was asked for longest ago is forgotten. */
const MAX_BREAKERS = 256;
/** For so long an operator's hand is news, in milliseconds. */
const RESET_NEWS_MS = 5_000;

/** What a process tells the others of its breakers. */
export interface BreakersTold {
  /** By hash of account and model. */
  readonly breakers: ReadonlyMap<string, BreakerTold>;
  readonly spendLimits: readonly SpendLimitTold[];
  /** An operator has closed all breakers. Numbered like the moves. */
  readonly reset?: { readonly n: number; readonly agoMs: number };
}

interface Named {
  readonly breaker: Breaker;
  /** What is known by its hash alone has not been asked for here. */
  name?: { readonly account: string; readonly model: string };
}

/** All breakers of a governor. */
export class Breakers {
  /** Other processes should know. */
  onChange: (haste: Haste) => void = () => {};
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #onMove: (model: string, state: BreakerState) => void;
  readonly #byModel = new Map<string, Breaker>();
  /** Circuits of callers whose own calls fail, by `compositeKey(account, model, caller)`. */
  readonly own: OwnCircuits;
  readonly #byHash = new Map<string, Named>();
  readonly #spendLimits: SpendLimits;
  /** The last move heard of, by process. */
  readonly #heard = new Map<string, number>();
  #moves = 0;
  #reset: { readonly n: number; readonly at: number } | undefined;

  constructor(clock: Clock, random: Random, onMove: (model: string, state: BreakerState) => void) {
    this.#clock = clock;
    this.#random = random;
    this.#onMove = onMove;
    this.#spendLimits = new SpendLimits(clock);
    this.own = new OwnCircuits(clock, random);
  }

  of(account: string, model: string): Breaker {
    const key = compositeKey(account, model);
    const known = this.#byModel.get(key);
    if (known !== undefined) {
      // The newest place: the oldest goes first.
      if (this.#byModel.size > MAX_BREAKERS / 2) {
        this.#byModel.delete(key);
        this.#byModel.set(key, known);
      }
      return known;
    }
    const named = this.#byHash.get(hashOfName(key)) ?? this.#make(hashOfName(key));
    named.name = { account, model };
    this.#byModel.set(key, named.breaker);
    if (this.#byModel.size > MAX_BREAKERS) this.#forgetOldest();
    return named.breaker;
  }

  /** The breaker that was asked for longest ago, but for those that are open. */
  #forgetOldest(): void {
    for (const [key, breaker] of this.#byModel) {
      if (breaker.state !== 'closed') continue;
      this.#byModel.delete(key);
      this.#byHash.delete(hashOfName(key));
      return;
    }
    const [oldest] = this.#byModel.keys();
    if (oldest === undefined) return;
    this.#byModel.delete(oldest);
    this.#byHash.delete(hashOfName(oldest));
  }

  #make(hash: string): Named {
    const named: Named = {
      breaker: new Breaker({
        clock: this.#clock,
        random: this.#random,
        onMove: (state) => {
          if (named.name === undefined) return;
          // What fails for all explains what fails for each.
          if (state === 'open') {
            const place = compositeKey(named.name.account, named.name.model);
            this.own.forget((key) => key.startsWith(`${place}\n`));
          }
          this.#onMove(named.name.model, state);
        },
        onChange: (haste) => this.onChange(haste),
        next: () => ++this.#moves,
      }),
    };
    this.#byHash.set(hash, named);
    return named;
  }

  /** A circuit of one caller's own has moved. */
  ownMoved(account: string, model: string, state: BreakerState): void {
    // Of an account whose breaker is open anyway there is nothing more to say.
    if (this.of(account, model).state === 'closed') this.#onMove(model, state);
  }

  /** The limit of money that an account has reached, while it holds: for everybody, or as far as this caller has seen. */
  spendLimit(account: string, caller?: string, isEntering = false): SpendLimit | undefined {
    return this.#spendLimits.of(account, caller, isEntering);
  }

  /** `caller`: who was told. Left out where everybody was. */
  spendLimitReached(account: string, limit: SpendLimit, caller?: string): void {
    this.#spendLimits.reached(account, limit, caller);
    this.onChange('now');
  }

  /** The account has paid for a call. */
  answered(account: string): void {
    this.#spendLimits.answered(account);
  }

  /** A new configuration may mean a new key or a raised limit: the next call will tell. */
  liftSpendLimits(): void {
    this.#spendLimits.lift();
  }

  /** An operator's hand. */
  reset(): void {
    this.liftSpendLimits();
    this.#forgetOwn();
    for (const { breaker } of this.#byHash.values()) breaker.reset();
    this.#reset = { n: ++this.#moves, at: this.#clock.now() };
    this.onChange('now');
  }

  #forgetOwn(): void {
    for (const key of this.own.forget()) {
      const [account = '', model = ''] = partsOf(key);
      this.ownMoved(account, model, 'closed');
    }
  }

  /** How many there are, those included of which others alone have told. */
  get known(): number {
    return this.#byHash.size;
  }

  /** There is more to tell as time goes on. */
  get isFailing(): boolean {
    for (const breaker of this.#byModel.values()) if (breaker.isFailing) return true;
    return false;
  }

  get told(): BreakersTold {
    const breakers = new Map<string, BreakerTold>();
    for (const [hash, { breaker }] of this.#byHash) {
      const { told } = breaker;
      if (told !== undefined) breakers.set(hash, told);
    }
    const agoMs = this.#clock.now() - (this.#reset?.at ?? 0);
    const reset =
      this.#reset === undefined || agoMs > RESET_NEWS_MS ? {} : { reset: { n: this.#reset.n, agoMs } };
    return { breakers, spendLimits: this.#spendLimits.told, ...reset };
  }

  heard(process: string, told: BreakersTold, ageMs: number, accounts: readonly string[]): void {
    const known = this.#heard.get(process) ?? 0;
    let last = known;
    if (told.reset !== undefined) {
      const { n, agoMs } = told.reset;
      if (n > known && agoMs + ageMs <= RESET_NEWS_MS) {
        this.liftSpendLimits();
        this.#forgetOwn();
        for (const { breaker } of this.#byHash.values()) breaker.close();
      }
      last = Math.max(last, n);
    }
    for (const hash of told.breakers.keys())
      if (!this.#byHash.has(hash) && this.#byHash.size < MAX_BREAKERS) this.#make(hash);
    for (const [hash, { breaker }] of this.#byHash) {
      const each = told.breakers.get(hash);
      const n = each?.move?.n ?? 0;
      breaker.heard(process, each, n > known, ageMs);
      last = Math.max(last, n);
    }
    this.#spendLimits.heard(told.spendLimits, ageMs, accounts);
    remember(this.#heard, process, last, MAX_NOTICES);
  }

  /** Circuits of single callers, by model: how many, and the state of one of them. */
  #ownSnapshot() {
    const byModel = new Map<
      string,
      { account: string; model: string; state: BreakerState; callers: number }
    >();
    for (const key of this.own.keys) {
      const [account = '', model = ''] = partsOf(key);
      const place = compositeKey(account, model);
      const callers = (byModel.get(place)?.callers ?? 0) + 1;
      byModel.set(place, { account, model, state: this.own.stateOf(key) ?? 'closed', callers });
    }
    return byModel.values();
  }

  snapshot() {
    return {
      breakers: [
        ...[...this.#byHash.values()].flatMap(({ breaker, name }) =>
          name === undefined || breaker.state === 'closed' ? [] : [{ ...name, state: breaker.state }],
        ),
        ...this.#ownSnapshot(),
      ],
      spendLimits: this.#spendLimits.snapshot(),
    };
  }
}
