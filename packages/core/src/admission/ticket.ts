import type { Standing } from '../caller/caller.ts';
import type { Reason } from '../errors.ts';
import type { QuotaRule } from '../policy/budgets.ts';
import type { QuotaScope } from '../policy/plan.ts';
import type { QuotaAsk } from '../stores/store.ts';
import type { Booking, Meter } from './meter.ts';
import { type Amounts, aloneOf, type Claim, METERED, type Metered, type QuotaState } from './quota-state.ts';

/** A call larger than this process's share of a quota is looked at again after this. */
const SHARE_MS = 1_000;

/** What a call has used of one quota. */
export type Used = Omit<Amounts, 'requests'>;

/** The quota that stands in the way of a call. */
export interface Binding {
  readonly rule: QuotaRule;
  readonly reason: Reason;
  /** Milliseconds until it fits: Infinity never, undefined when another call ends. */
  readonly waitMs: number | undefined;
  /** The same, if all came back that calls in flight were charged by a mere guess. Left out: no sooner. */
  readonly soonestMs?: number;
}

/** What the end of a call puts right of one quota. */
export interface Correction {
  readonly state: QuotaState;
  readonly slots: number;
  readonly used: readonly { readonly name: Metered; readonly delta: number }[];
}

/** One quota that a call draws on. */
export interface Entry {
  readonly scope: QuotaScope;
  readonly rule: QuotaRule;
  readonly state: QuotaState;
  /** What the call takes of it: as known now, until it is held or charged. */
  claim: Claim | undefined;
  /** What is held of which meter: a reload may put others in their place meanwhile. */
  held: { readonly meter: Meter; readonly amount: number }[] | undefined;
  charges: { readonly name: Metered; readonly meter: Meter; readonly charge: Booking }[] | undefined;
}

/**
 * One call's claim on all its quotas. Its life: `arrive` holds on every quota that refuses (nothing at all when one
 * of them does), `ready` asks those that let wait, `commit` turns it all into charges, `settle` puts them right.
 * `cancel` before `commit` leaves no trace.
 */
export class QuotaTicket {
  readonly #makeEntries: () => Entry[];
  readonly #claimNow: () => Claim;
  #entries: Entry[];
  #isOver = false;
  #shadowed: Binding[] = [];
  #follower: ((changes: Correction[]) => void) | undefined;

  /**
   * `makeEntries`: the quotas that the call draws on, by the rules that hold when it is called. `claimNow`: what the call
   * takes, as far as is known when it is called: a call that waits goes by what others have taught meanwhile.
   */
  constructor(makeEntries: () => Entry[], claimNow: () => Claim) {
    this.#makeEntries = makeEntries;
    this.#claimNow = claimNow;
    this.#entries = this.#take();
  }

  /** The states stay as long as the call waits or runs. */
  #take(): Entry[] {
    const entries = this.#makeEntries();
    for (const { state } of entries) state.tickets++;
    this.#isOver = false;
    return entries;
  }

  /** The states that the call draws on may be forgotten again. */
  #letGo(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    for (const { state } of this.#entries) state.tickets--;
  }

  /** Rules in shadow that would have refused or held back this call. */
  get shadowed(): readonly Binding[] {
    return this.#shadowed;
  }

  /** What the call asks of each quota, for a ledger outside this process; `wall` is the ledger's time. */
  asks(wall: number): Omit<QuotaAsk, 'isHeld'>[] {
    this.#look();
    return this.#entries.map((entry) => entry.state.ask(claimOf(entry), wall));
  }

  /** The state of the quota of that place in `asks`. */
  stateAt(index: number): { rule: QuotaRule; state: QuotaState } | undefined {
    return this.#entries[index];
  }

  /** Told what the call's end puts right, once. */
  follow(follower: (changes: Correction[]) => void): void {
    this.#follower = follower;
  }

  /** The first quota that refuses, or nothing: then all are held. */
  arrive(): Binding | undefined {
    this.#look();
    const binding = this.#refusing();
    if (binding !== undefined) this.#letGo();
    else
      for (const entry of this.#entries)
        if (entry.rule.onExceed === 'refuse' || entry.rule.shadow) this.#hold(entry);
    return binding;
  }

  #refusing(): Binding | undefined {
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
    return undefined;
  }

  /** Reads what the call takes of each quota that has neither held nor charged it. */
  #look(): void {
    let claim: Claim | undefined;
    for (const entry of this.#entries) {
      if (entry.held !== undefined || entry.charges !== undefined) continue;
      claim ??= this.#claimNow();
      entry.claim = claim;
    }
  }

  /** Releases all that the call holds; `renew` is to follow. */
  withdraw(): void {
    for (const entry of this.#entries) if (entry.held !== undefined) this.#release(entry);
  }

  /** Arrives again, by the rules that hold now. The call must hold nothing. */
  renew(): Binding | undefined {
    this.#letGo();
    this.#entries = this.#take();
    this.#shadowed = [];
    return this.arrive();
  }

  /** The first quota that makes the call wait, with the state to wait at. */
  ready(): { binding: Binding; state: QuotaState } | undefined {
    this.#look();
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
      // What is charged late, for a model that took part, has never arrived.
      entry.claim ??= this.#claimNow();
      const { amounts } = entry.claim;
      entry.charges = [];
      countGuess(entry, 1);
      for (const [name, meter] of entry.state.meters) {
        const amount = amounts[name];
        if (amount !== undefined) entry.charges.push({ name, meter, charge: meter.charge(amount) });
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
    this.#letGo();
  }

  /** Puts the charges right by what was used of each quota; without `isCounted` the request is given back. */
  settle(isCounted: boolean, usedOf: (scope: QuotaScope) => Used): void {
    const corrections: Correction[] = [];
    for (const entry of this.#entries) {
      const { scope, state, charges } = entry;
      const { amounts } = claimOf(entry);
      const used = { ...usedOf(scope), requests: isCounted ? amounts.requests : 0 };
      const delta = (name: Metered) => (used[name] ?? 0) - (amounts[name] ?? 0);
      if (this.#follower !== undefined)
        corrections.push({ state, slots: -1, used: METERED.map((name) => ({ name, delta: delta(name) })) });
      if (charges === undefined) continue;
      for (const { name, meter, charge } of charges) meter.correct(charge, delta(name));
      if (isCounted) state.spent(used.usd ?? 0);
    }
    this.#follower?.(corrections);
    this.#follower = undefined;
    for (const entry of this.#entries) {
      if (entry.charges === undefined) continue;
      countGuess(entry, -1);
      entry.charges = undefined;
      entry.state.slots--;
      entry.state.wake();
    }
    this.#letGo();
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

  #binding(entry: Entry): Binding | undefined {
    const { rule, state } = entry;
    if (rule.concurrency !== undefined && state.slots >= rule.concurrency) {
      return { rule, reason: 'concurrency', waitMs: undefined };
    }
    const claim = claimOf(entry);
    let worst: Binding | undefined;
    for (const [name, meter] of state.meters) {
      const expected = claim.amounts[name];
      if (expected === undefined || (name === 'requests' && expected === 0)) continue;
      const least = expected > meter.most ? (claim.least[name] ?? 0) : expected;
      const amount = state.slots === 0 ? aloneOf(claim, name) : expected;
      const ownMs = meter.waitMs(amount, least);
      // Too much for this process's share, and not for the quota: it fits when the store is back.
      const waitMs = ownMs === Number.POSITIVE_INFINITY && state.wholeFits(name, least) ? SHARE_MS : ownMs;
      if (waitMs <= 0 || waitMs <= (worst?.waitMs ?? 0)) continue;
      const back = state.guessed?.get(name) ?? 0;
      worst = {
        rule,
        reason: name === 'usd' ? 'budget' : 'user_quota',
        waitMs,
        ...(back > 0 ? { soonestMs: Math.min(waitMs, meter.waitMs(amount, least, back)) } : {}),
      };
    }
    return worst;
  }

  #hold(entry: Entry): void {
    const { amounts } = claimOf(entry);
    entry.held = [...entry.state.meters].map(([name, meter]) => ({ meter, amount: amounts[name] ?? 0 }));
    for (const { meter, amount } of entry.held) meter.hold(amount);
    entry.state.slots++;
  }

  #release(entry: Entry): void {
    for (const { meter, amount } of entry.held ?? []) meter.release(amount);
    entry.held = undefined;
    entry.state.slots--;
  }
}

function claimOf({ claim }: Entry): Claim {
  if (claim === undefined) throw new TypeError('Headgate: a quota is charged before the call has arrived');
  return claim;
}

/** Counts, or counts no more, by how much the charge of a call in flight is too high if its guess is. */
function countGuess(entry: Entry, calls: 1 | -1): void {
  const { amounts, least, isGuess } = claimOf(entry);
  if (!isGuess) return;
  entry.state.guessed ??= new Map();
  const { guessed } = entry.state;
  for (const name of ['outputTokens', 'usd'] as const) {
    const sum = (guessed.get(name) ?? 0) + calls * ((amounts[name] ?? 0) - (least[name] ?? 0));
    if (sum > 1e-9) guessed.set(name, sum);
    else guessed.delete(name);
  }
}
