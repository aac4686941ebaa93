import type { Clock, Random } from '../clock.ts';
import type { Haste } from '../stores/topic.ts';
import type { BreakerState } from '../telemetry/values.ts';
import { FailureWindow, isEnoughOfOne, isOutOfOrder, type Summary } from './failure-window.ts';

/**
 * Circuit breakers: one for each model of an account, and one for the money of the account as a whole.
 *
 * A breaker watches what attempts come to when their headers are there (not when a long answer ends), against all
 * that were sent, since failures come back sooner than answers. Overload, 5xx, time-outs and broken connections count, a
 * 429 does not, since a bucket that is empty is not out of order. It opens when most callers of the last five seconds
 * fail, each counted once, and also without the caller that fails most; a caller fails half of whose attempts failed.
 * What one caller alone sees fail opens that caller's own circuit (own-circuits.ts).
 * Open, it answers at once, for a second at first and up to eight; then one call at a time is let through to see,
 * and three that succeed close it. What comes after that is paced by the bucket's own concurrency limit, which has
 * learned the overload too: so an outage that ends is back at full speed in well under forty seconds, and nobody
 * rushes in. A caller whose probe failed does not probe again at once while others ask.
 *
 * In a fleet the attempts are those of all processes, as far as they tell, and what follows is common: all are open for as long
 * as the longest says, one probes at a time, and the successes of all add up. A process that sees its own attempts fail
 * while others' succeed has trouble of its own: it opens by itself, and nobody follows. Messages take some milliseconds:
 * two processes may probe at once, and one may close as another's probe fails, which then closes too.
 */
const FIRST_OPEN_MS = 1_000;
const LONGEST_OPEN_MS = 8_000;
const SUCCESSES_TO_CLOSE = 3;
/** A probe whose outcome is never told, as when its caller hangs up, is given up after this. */
const PROBE_MS = 30_000;
/** One of another process: that may have ended with it. */
const OTHERS_PROBE_MS = 10_000;
/**
 * For so long the attempts of all must look out of order: everybody who has sent tells of it every half second while something
 * fails, and what is told of failures first would be judged without what is told of successes right after.
 */
const HELD_MS = 600;
/** Whoever says that it is open may not have heard that it was closed so lately. */
const CLOSED_MS = 1_000;
/** Others go before a caller whose probe has failed for so long, in milliseconds. */
const OTHERS_FIRST_MS = 1_000;
/** For so long it is told that something was closed, or is being tried. */
const TOLD_MS = 30_000;

/** Whether a call may go. `isProbe` where its outcome decides. */
export type Passage =
  | { readonly pass: true; readonly isProbe: boolean }
  | { readonly pass: false; readonly retryAfterMs: number };

/** What a process has done with a breaker that all share: `waiting` for the next probe, after one that did not fail. */
export const BREAKER_MOVES = ['open', 'probing', 'waiting', 'closed'] as const;

/** What a process tells the others of one breaker. */
export interface BreakerTold extends Summary {
  readonly move?: {
    /** Of all moves of the process: one with a number already heard of is no news. */
    readonly n: number;
    readonly to: (typeof BREAKER_MOVES)[number];
    /** Milliseconds that it stays open. */
    readonly ms: number;
    /** And the next time. */
    readonly nextMs: number;
    readonly successes: number;
  };
}

export interface BreakerOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly onMove: (state: BreakerState) => void;
  /** Other processes should know. */
  readonly onChange?: (haste: Haste) => void;
  /** Numbers the moves. */
  readonly next?: () => number;
}

export class Breaker {
  readonly #options: BreakerOptions;
  readonly #clock: Clock;
  readonly #window: FailureWindow;
  #openUntil: number | undefined;
  /** Open for the whole fleet, not for trouble that is ours alone. */
  #isShared = false;
  #openMs = FIRST_OPEN_MS;
  #probingSince: number | undefined;
  #othersProbe: { readonly process: string; readonly until: number } | undefined;
  #successes = 0;
  /** Whose probe goes on, whose failed last, and whether anybody else has asked since. */
  #prober: string | undefined;
  #failedProber: string | undefined;
  #haveOthersAsked = false;
  /** Since when the attempts of all look out of order. */
  #outSince: number | undefined;
  #closedAt = Number.NEGATIVE_INFINITY;
  /** Our own last move, until another's comes after it. */
  #move: { readonly n: number; readonly to: (typeof BREAKER_MOVES)[number]; readonly at: number } | undefined;

  constructor(options: BreakerOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#window = new FailureWindow(options.clock);
  }

  get state(): BreakerState {
    if (this.#openUntil === undefined) return 'closed';
    return this.#clock.now() < this.#openUntil ? 'open' : 'half_open';
  }

  /** What a call would be told now; nothing is taken. */
  look(caller = NOBODY): Passage {
    if (this.#openUntil === undefined) return { pass: true, isProbe: false };
    if (!this.#isShared) this.#judge();
    const now = this.#clock.now();
    if (this.#failedProber !== undefined && caller !== this.#failedProber) this.#haveOthersAsked = true;
    if (now < this.#openUntil) return { pass: false, retryAfterMs: this.#openUntil - now };
    const isBehindOthers = caller === this.#failedProber && this.#haveOthersAsked;
    if (isBehindOthers && now < this.#openUntil + OTHERS_FIRST_MS)
      return { pass: false, retryAfterMs: this.#openUntil + OTHERS_FIRST_MS - now };
    const isTaken =
      (this.#probingSince !== undefined && now - this.#probingSince < PROBE_MS) ||
      (this.#othersProbe !== undefined && now < this.#othersProbe.until);
    return isTaken ? { pass: false, retryAfterMs: FIRST_OPEN_MS } : { pass: true, isProbe: true };
  }

  /** Lets a call through, or not; the one that is to see whether it works again goes alone. */
  enter(caller = NOBODY): Passage {
    const passage = this.look(caller);
    if (!passage.pass) return passage;
    if (passage.isProbe) {
      this.#probingSince = this.#clock.now();
      this.#prober = caller;
      this.#say('probing');
      this.#options.onMove('half_open');
    } else {
      this.#window.sent(caller);
      // Who fails is judged with those who do not.
      if (this.#window.isFailing) this.#options.onChange?.('soon');
    }
    return passage;
  }

  succeeded(isProbe: boolean): void {
    // One that another's failure has overtaken is old news.
    if (!isProbe || this.state !== 'half_open') return;
    this.#probingSince = undefined;
    this.#successes++;
    this.#say('waiting');
    if (this.#successes >= SUCCESSES_TO_CLOSE) this.reset();
  }

  failed(isProbe: boolean, caller = NOBODY): void {
    if (this.#openUntil !== undefined) {
      if (!isProbe || this.state !== 'half_open') return;
      this.#failedProber = this.#prober;
      this.#haveOthersAsked = false;
      this.#open(this.#isShared);
      return;
    }
    this.#window.failed(caller);
    this.#judge();
    this.#options.onChange?.('soon');
  }

  /** Whether enough of this caller's own attempts failed, whatever comes of others'. */
  failsFor(caller: string): boolean {
    return this.#openUntil === undefined && isEnoughOfOne(this.#window.of(caller));
  }

  /** The caller's own trouble is over. */
  forget(caller: string): void {
    this.#window.forget(caller);
  }

  /** A probe that came to nothing that counts: the next call may be one. */
  released(isProbe: boolean): void {
    if (!isProbe || this.#probingSince === undefined) return;
    this.#probingSince = undefined;
    this.#say('waiting');
  }

  /** As if nothing had ever failed. */
  reset(): void {
    this.#say('closed');
    this.close();
  }

  /** The same, where all know it already. */
  close(): void {
    const wasOpen = this.#openUntil !== undefined;
    this.#openUntil = undefined;
    this.#isShared = false;
    this.#startAnew();
    this.#openMs = FIRST_OPEN_MS;
    this.#outSince = undefined;
    this.#window.clear();
    if (!wasOpen) return;
    this.#closedAt = this.#clock.now();
    this.#options.onMove('closed');
  }

  /** Something fails, or has failed lately: there is more to tell as time goes on. */
  get isFailing(): boolean {
    return this.#window.isFailing;
  }

  /** What the others should know, if anything. */
  get told(): BreakerTold | undefined {
    const now = this.#clock.now();
    const counts = this.#window.isFailing ? this.#window.own : NOTHING;
    const isOld = this.#move !== undefined && this.#move.to !== 'open' && now - this.#move.at > TOLD_MS;
    if (isOld) this.#move = undefined;
    if (this.#move === undefined) return counts.sent + counts.failed > 0 ? counts : undefined;
    const { n, to } = this.#move;
    const ms = Math.max(0, (this.#openUntil ?? 0) - now);
    return { ...counts, move: { n, to, ms, nextMs: this.#openMs, successes: this.#successes } };
  }

  /** What another process tells; nothing where it has no more to say. `isNew`: its move is one that was not heard of. */
  heard(process: string, told: BreakerTold | undefined, isNew: boolean, ageMs: number): void {
    if (!this.#isShared) {
      const wasFailing = this.#window.isFailing;
      this.#window.heard(process, told ?? NOTHING, ageMs);
      // Others are to know what was sent here, before they judge.
      if (!wasFailing && this.#window.isFailing) this.#options.onChange?.('soon');
    }
    if (told?.move !== undefined && isNew) this.#follow(process, told.move, ageMs);
    if (!this.#isShared) this.#judge();
  }

  #follow(process: string, move: NonNullable<BreakerTold['move']>, ageMs: number): void {
    const now = this.#clock.now();
    if (move.to === 'closed') {
      if (this.#isShared) this.close();
      this.#move = undefined;
      return;
    }
    if (this.#openUntil === undefined && now - this.#closedAt < CLOSED_MS) return;
    const before = this.state;
    // The longest that anybody says: so it does not matter in which order they are heard.
    const told = now + Math.min(LONGEST_OPEN_MS, move.ms) - ageMs;
    this.#openUntil = Math.max(this.#openUntil ?? told, told);
    this.#openMs = Math.min(LONGEST_OPEN_MS, Math.max(this.#openMs, move.nextMs));
    this.#share();
    if (before !== 'open' && this.state === 'open') this.#options.onMove('open');
    if (move.to === 'open') {
      this.#startAnew();
      this.#move = undefined;
    } else if (move.to === 'probing') {
      this.#othersProbe = { process, until: now + OTHERS_PROBE_MS - ageMs };
    } else {
      if (this.#othersProbe?.process === process) this.#othersProbe = undefined;
      this.#successes = Math.max(this.#successes, Math.min(SUCCESSES_TO_CLOSE - 1, move.successes));
    }
  }

  /** Opens for the fleet where most callers of all processes fail; else for this process alone, where most of its own do. */
  #judge(): void {
    const now = this.#clock.now();
    this.#outSince = isOutOfOrderFor(this.#window.all) ? (this.#outSince ?? now) : undefined;
    const isFleets = this.#outSince !== undefined && now - this.#outSince >= HELD_MS;
    if (this.#openUntil === undefined) {
      if (isFleets || isOutOfOrder([this.#window.own])) this.#open(isFleets);
    } else if (isFleets && !this.#isShared) {
      this.#share();
      this.#say(this.#probingSince === undefined ? 'open' : 'probing');
    }
  }

  #open(isShared: boolean): void {
    // Spread, so that many processes do not come to see at the same moment.
    const ms = this.#openMs * (0.5 + 0.5 * this.#options.random());
    this.#openUntil = this.#clock.now() + ms;
    this.#openMs = Math.min(LONGEST_OPEN_MS, this.#openMs * 2);
    this.#startAnew();
    if (isShared) this.#share();
    this.#say('open');
    this.#options.onMove('open');
  }

  #startAnew(): void {
    this.#probingSince = undefined;
    this.#othersProbe = undefined;
    this.#successes = 0;
  }

  /** What failed is of use only as long as it is not known whether it fails everywhere. */
  #share(): void {
    this.#isShared = true;
    this.#outSince = undefined;
    this.#window.clear();
  }

  #say(to: (typeof BREAKER_MOVES)[number]): void {
    if (!this.#isShared) return;
    this.#move = { n: this.#options.next?.() ?? 0, to, at: this.#clock.now() };
    this.#options.onChange?.('now');
  }
}

/** Calls of which nobody says whose they are. */
const NOBODY = '';
const NOTHING: Summary = { sent: 0, failed: 0, callers: 0, failing: 0 };

/** The same over processes: and not by the doing of one of them, where several have sent something. Pure. */
function isOutOfOrderFor(all: readonly Summary[]): boolean {
  if (!isOutOfOrder(all)) return false;
  const worst = all.reduce((most, each) => (each.failing > most.failing ? each : most));
  const rest = all.filter((each) => each !== worst);
  const failing = rest.reduce((sum, each) => sum + each.failing, 0);
  const callers = rest.reduce((sum, each) => sum + each.callers, 0);
  return failing > 0 && 2 * failing >= callers;
}
