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

/**
 * Decides on the next attempt. A 429 that says when to come back is no failure of the API: it spends an attempt and
 * the caller's time and not the budget, and its wait is the whole bucket's. Everything else backs off by full jitter,
 * never earlier than the API asks.
 */
export function nextAttempt(options: {
  verdict: Verdict;
  /** Attempts made so far. */
  attempts: number;
  retries: Config['retries'];
  budget: RetryBudget;
  now: number;
  deadlineAt: number;
  random: Random;
}): NextAttempt {
  const { verdict, attempts, retries, budget, now, deadlineAt, random } = options;
  if (!verdict.isRetryable) return no('final');
  if (attempts >= retries.maxAttempts) return no('attempts');
  const { retryAfterMs } = verdict;
  // A 429 that names neither a time nor a cause may never end: one more attempt, and no third.
  if (verdict.kind === 'rate_limited' && retryAfterMs === undefined && attempts > 1) return no('attempts');
  const is429 = verdict.kind === 'rate_limited' || verdict.kind === 'ramp';
  const isPaced = is429 && retryAfterMs !== undefined;
  const backoffMs = random() * Math.min(retries.maxDelay, BASE_MS * 2 ** (attempts - 1));
  const delayMs = isPaced
    ? retryAfterMs
    : retryAfterMs === undefined
      ? backoffMs
      : retryAfterMs + random() * Math.max(1_000, 0.1 * retryAfterMs);
  // Sleeping past the deadline would only make the refusal later.
  if (now + delayMs >= deadlineAt) return no('deadline');
  if (!isPaced && !budget.take(now)) return no('budget');
  return {
    retry: true,
    delayMs,
    source: retryAfterMs === undefined ? 'backoff' : 'retry_after',
  };
}
