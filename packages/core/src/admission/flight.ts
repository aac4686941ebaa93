import type { Reason } from '../errors.ts';
import type { Estimate } from '../estimate/estimator.ts';
import type { OwnPlace } from './own-crowd.ts';

/** What a call asks of an upstream bucket. */
export interface Demand {
  readonly estimate: Estimate;
  /** Whether the call charges tokens at all: counting tokens takes a request and nothing else. */
  readonly chargesTokens: boolean;
  readonly isStreaming: boolean;
  /** On whose behalf it is made: see `callerKey` (policy/plan.ts). */
  readonly caller?: string;
}

/** What stands in the way of a call, and for how long. */
export interface Shortage {
  readonly reason: Reason;
  /** Milliseconds until it is worth another look; absent where an event must come first. */
  readonly waitMs: number | undefined;
}

/** Shares of each limit's depth that a call may not draw on: at the least, and where the bucket would not be nearly full before it went. */
export interface Reserve {
  readonly least: number;
  readonly most: number;
}

export const NO_RESERVE: Reserve = { least: 0, most: 0 };

/** A call that has been admitted and is not settled. Owned by its lease; changed by the bucket alone. */
export interface Flight {
  readonly demand: Demand;
  readonly startedAt: number;
  /** Calls in flight when it was sent, itself included. */
  readonly among: number;
  readonly caller: string;
  /** Its place among its caller's calls, where these are capped. */
  own: OwnPlace | undefined;
  /** Held until the API tells what it charges, or has had time to charge it. */
  inputHeld: number;
  inputCharged: number;
  outputCharged: number;
  /** Tokens that the stream has shown; a JSON answer shows none until its end. */
  produced: number;
  firstTokenAt: number | undefined;
  /** What its turn was charged to, if it had to wait for one: to be put right at its end. */
  turn: Turn | undefined;
}

export interface Turn {
  /** Which busy time of the lane's queue it was: in the next one all start afresh. */
  readonly epoch: number;
  /** Whether the lane's guarantee paid, or its weight. */
  readonly isOwed: boolean;
  /** What it was thought to cost, and what was charged for that. */
  readonly thought: number;
  readonly cost: number;
}

/** What a call was thought to cost when it was estimated, by a bucket's measure of cost. */
export function expectedCost(
  upstream: { cost(inputTokens: number, outputTokens: number): number },
  { chargesTokens, estimate }: Demand,
): number {
  return chargesTokens ? upstream.cost(estimate.inputTokens, estimate.outputTokens) : upstream.cost(0, 0);
}
