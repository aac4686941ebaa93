import type { Random } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import { remember } from '../remember.ts';
import type { BackoffSource, RetryDenial } from '../telemetry/values.ts';
import type { Verdict } from './classify.ts';

/** Half a second, then one, two, four, … */
const BASE_MS = 500;
/** At least one retry a second is allowed, so that a quiet service may retry at all. */
const FLOOR_PER_MS = 1 / 1_000;
/** Retries that can be saved up: ten seconds of the floor. */
const MAX_SAVED = 10;
/** A caller who retries seldom has a first retry of its own, once in so many milliseconds. */
const LIGHT_MS = 10_000;
/** Of what is saved up one caller may spend this share while others are there. */
const FAIR_SHARE = 0.5;
/** Callers whose retries are counted, at most. */
const MAX_CALLERS = 1_024;

/**
 * Retries are paid for by first attempts, over all calls: when everything fails, the load on the API grows by the
 * budget's share and no more, however many calls there are and however often each may try.
 *
 * In a fleet each process pays for itself, and the sum is what a single process would have: the share of the first attempts is
 * the share of their sum, however they fall to the processes; the floor, and what can be saved up, are divided by their number.
 * (One retry can be saved up by each, or none could ever be made: with more than ten processes that is one each.) A budget kept
 * in one place would gain no more than that a process with failures could spend what others saved without any, at most those
 * ten; and each retry would have to ask for it just when things are failing.
 */
export class RetryBudget {
  readonly #processes: () => number;
  #share: number;
  #saved = MAX_SAVED;
  #at: number;
  /** Retries of each caller, fading over ten seconds. */
  readonly #spent = new Map<string, { readonly spent: number; readonly at: number }>();
  /** Callers with first attempts lately: the last two. */
  #callers: { readonly name: string; at: number }[] = [];

  /** `processes`: how many share the floor. */
  constructor(share: number, now: number, processes: () => number = () => 1) {
    this.#share = share;
    this.#at = now;
    this.#processes = processes;
  }

  get #most(): number {
    return Math.max(1, MAX_SAVED / this.#processes());
  }

  configure(share: number): void {
    this.#share = share;
  }

  /** Retries that could be made now. */
  remaining(now: number): number {
    const floor = FLOOR_PER_MS / this.#processes();
    return Math.min(this.#most, this.#saved + floor * Math.max(0, now - this.#at));
  }

  #refill(now: number): void {
    this.#saved = this.remaining(now);
    this.#at = Math.max(now, this.#at);
  }

  firstAttempt(now: number, caller = NOBODY): void {
    this.#refill(now);
    this.#saved = Math.min(this.#most, this.#saved + this.#share);
    const known = this.#callers.find(({ name }) => name === caller);
    if (known !== undefined) known.at = now;
    else this.#callers = [...this.#callers.slice(-1), { name: caller, at: now }];
  }

  /** Retries of a caller, as far as they are not forgotten. */
  #spentBy(caller: string, now: number): number {
    const known = this.#spent.get(caller);
    return known === undefined ? 0 : Math.max(0, known.spent - (now - known.at) / LIGHT_MS);
  }

  /** Whether somebody else than the caller is there. */
  #isShared(caller: string, now: number): boolean {
    return this.#callers.some(({ name, at }) => name !== caller && now - at < LIGHT_MS);
  }

  /**
   * True when a retry may be made; then it is paid. While others are there a caller spends no more than half of what is
   * left, so that each finds something; and the first retry of a call is always there for a caller who retries seldom.
   */
  take(now: number, caller = NOBODY, isFirst = false): boolean {
    this.#refill(now);
    const spent = this.#spentBy(caller, now);
    // Ten tenths add up to a little less than one.
    const hasOne = this.#saved >= 1 - 1e-9;
    const isFair = !this.#isShared(caller, now) || spent < FAIR_SHARE * this.#saved;
    const isLight = isFirst && caller !== NOBODY && spent <= 1e-9;
    if (!(hasOne && isFair) && !isLight) return false;
    this.#saved = Math.max(0, this.#saved - 1);
    if (caller !== NOBODY) remember(this.#spent, caller, { spent: spent + 1, at: now }, MAX_CALLERS);
    return true;
  }
}

/** Calls of which nobody says whose they are. */
const NOBODY = '';

/** Whether a failed attempt is followed by another, and when. */
export type NextAttempt =
  | {
      readonly retry: true;
      readonly delayMs: number;
      readonly source: BackoffSource;
    }
  | { readonly retry: false; readonly why: RetryDenial };

const no = (why: RetryDenial): NextAttempt => ({ retry: false, why });

/** What a 429 without a time is taken to ask for, in milliseconds. */
export const UNTOLD_PAUSE_MS = 1_000;
/** A call that was refused for a crowd comes back after so long at the most, and twice as long each time. */
const CROWD_MS = 250;

/**
 * Decides on the next attempt. A 429 is no failure of the API: it spends an attempt and the caller's time and not the
 * budget, and its wait is the whole bucket's. One that shows too many calls at once spends no attempt either: the call
 * waits for its turn. Everything else backs off by full jitter, never earlier than the API asks.
 */
export function nextAttempt(options: {
  verdict: Verdict;
  /** Attempts made so far, but for those that a crowd has cost. */
  attempts: number;
  /** Too many calls were in flight, of all callers together or of this one. */
  isCrowded?: boolean;
  retries: Config['retries'];
  budget: RetryBudget;
  /** On whose behalf. */
  caller?: string;
  now: number;
  deadlineAt: number;
  random: Random;
}): NextAttempt {
  const { verdict, attempts, isCrowded = false, retries, budget, caller, now, deadlineAt, random } = options;
  const { kind, retryAfterMs, errorCode } = verdict;
  if (!verdict.isRetryable) return no('final');
  if (attempts >= retries.maxAttempts) return no('attempts');
  if (isCrowded) return { retry: true, delayMs: 0, source: 'backoff' };
  // A cause that is not known and names no time may never end: one more attempt, and no third.
  const isUnknown = kind === 'rate_limited' && errorCode !== undefined && retryAfterMs === undefined;
  if (isUnknown && attempts > 1) return no('attempts');
  const isPaced = kind === 'rate_limited' || kind === 'ramp';
  const isBackedOff = !isPaced && retryAfterMs === undefined;
  const firstMs = kind === 'congested' ? CROWD_MS : BASE_MS;
  const backoffMs = random() * Math.min(retries.maxDelay, firstMs * 2 ** (attempts - 1));
  const askedMs = retryAfterMs ?? UNTOLD_PAUSE_MS;
  const spreadMs = isPaced ? 0 : random() * Math.max(1_000, 0.1 * askedMs);
  const delayMs = isBackedOff ? backoffMs : askedMs + spreadMs;
  // Sleeping past the deadline would only make the refusal later.
  if (now + delayMs >= deadlineAt) return no('deadline');
  if (!isPaced && kind !== 'congested' && !budget.take(now, caller, attempts === 1)) return no('budget');
  return {
    retry: true,
    delayMs,
    source: retryAfterMs === undefined ? 'backoff' : 'retry_after',
  };
}
