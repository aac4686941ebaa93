import type { Random } from '../clock.ts';
import type { Config } from '../config/schema.ts';
import type { BackoffSource, RetryDenial } from '../telemetry/values.ts';
import type { Verdict } from './classify.ts';

/** Half a second, then one, two, four, … */
const BASE_MS = 500;
/** At least one retry a second is allowed, so that a quiet service may retry at all. */
const FLOOR_PER_MS = 1 / 1_000;
/** Retries that can be saved up: ten seconds of the floor. */
const MAX_SAVED = 10;

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

  firstAttempt(now: number): void {
    this.#refill(now);
    this.#saved = Math.min(this.#most, this.#saved + this.#share);
  }

  /** True when a retry may be made; then it is paid. */
  take(now: number): boolean {
    this.#refill(now);
    // Ten tenths add up to a little less than one.
    if (this.#saved < 1 - 1e-9) return false;
    this.#saved -= 1;
    return true;
  }
}

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
  /** Too many calls were in flight, of all callers together. */
  isCrowded?: boolean;
  retries: Config['retries'];
  budget: RetryBudget;
  now: number;
  deadlineAt: number;
  random: Random;
}): NextAttempt {
  const { verdict, attempts, isCrowded = false, retries, budget, now, deadlineAt, random } = options;
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
  if (!isPaced && kind !== 'congested' && !budget.take(now)) return no('budget');
  return {
    retry: true,
    delayMs,
    source: retryAfterMs === undefined ? 'backoff' : 'retry_after',
  };
}
