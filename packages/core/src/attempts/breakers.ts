import type { Clock, Random } from '../clock.ts';
import { compositeKey } from '../composite-key.ts';
import { hashOfName } from '../hash.ts';
import { MAX_NOTICES } from '../notice.ts';
import { remember } from '../remember.ts';
import type { Haste } from '../stores/topic.ts';
import type { BreakerState } from '../telemetry/values.ts';
import { Breaker, type BreakerTold } from './breaker.ts';
import { type SpendLimit, SpendLimits, type SpendLimitTold } from './spend-limits.ts';

/** Models watched, at most; past it new ones share one breaker. */
const MAX_BREAKERS = 256;
const OTHERS = 'other models';
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
  }

  of(account: string, model: string): Breaker {
    const key = compositeKey(account, model);
    const known = this.#byModel.get(key);
    if (known !== undefined) return known;
    const isOneTooMany = this.#byModel.size >= MAX_BREAKERS && model !== OTHERS;
    if (isOneTooMany) return this.of(account, OTHERS);
    const named = this.#byHash.get(hashOfName(key)) ?? this.#make(hashOfName(key));
    named.name = { account, model };
    this.#byModel.set(key, named.breaker);
    return named.breaker;
  }

  #make(hash: string): Named {
    const named: Named = {
      breaker: new Breaker({
        clock: this.#clock,
        random: this.#random,
        onMove: (state) => {
          if (named.name !== undefined) this.#onMove(named.name.model, state);
        },
        onChange: (haste) => this.onChange(haste),
        next: () => ++this.#moves,
      }),
    };
    this.#byHash.set(hash, named);
    return named;
  }

  /** The limit of money that an account has reached, while it holds. */
  spendLimit(account: string): SpendLimit | undefined {
    return this.#spendLimits.of(account);
  }

  spendLimitReached(account: string, limit: SpendLimit): void {
    this.#spendLimits.reached(account, limit);
    this.onChange('now');
  }

  /** A new configuration may mean a new key or a raised limit: the next call will tell. */
  liftSpendLimits(): void {
    this.#spendLimits.lift();
  }

  /** An operator's hand. */
  reset(): void {
    this.liftSpendLimits();
    for (const { breaker } of this.#byHash.values()) breaker.reset();
    this.#reset = { n: ++this.#moves, at: this.#clock.now() };
    this.onChange('now');
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

  snapshot() {
    return {
      breakers: [...this.#byHash.values()].flatMap(({ breaker, name }) =>
        name === undefined || breaker.state === 'closed' ? [] : [{ ...name, state: breaker.state }],
      ),
      spendLimits: this.#spendLimits.snapshot(),
    };
  }
}
