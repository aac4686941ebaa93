import type { AmountName } from '../store.ts';
import { type LimitState, NEVER } from './limit.ts';
import type { QuotaState } from './quotas.ts';
import { openRamp, type RampState } from './ramp.ts';
import type { Side } from './trail.ts';
import type { LaneState, ProcessState } from './turns.ts';

/** All that a ledger knows of one bucket, as a plain value. Times are the store's milliseconds. */
export interface BucketState {
  limits: Partial<Record<AmountName, LimitState>>;
  /** As configured by the processes, the smallest of each. */
  configured: Record<string, number>;
  pausedUntil: number;
  culprits: AmountName[];
  ramp: RampState;
  /** Calls at once, learned from overload: 0 where it does not bind. */
  learnedCalls: number;
  callsBefore: number;
  decreasedAt: number;
  processes: Record<string, ProcessState>;
  lanes: Record<string, LaneState>;
  laneTime: number;
  /** The large call that stands first, and the input put by for it. */
  saved: { process: string; id: number; since: number; base: number } | undefined;
  /** Whose turn it was last said to be, and when: to all that wait, or to the process that asked where it alone waits. */
  announced: { process: string; at: number };
}

/** What an exchange reads and writes beyond the state of its bucket. */
export interface Books {
  readonly side: Side;
  quota(key: string): QuotaState;
  /** Virtual time up to which a user was served; nothing where the lane's own time has passed it. */
  tagOf(lane: string, user: string): number | undefined;
  setTag(lane: string, user: string, tag: number): void;
  /** Forgets the tags up to `time`; all of them without one. */
  forgetTags(lane: string, time?: number): void;
  /** When a process was last heard of, by whichever bucket. */
  seenAt(process: string): number;
  /** Whether a process that is silent has ended, as far as the store can tell. */
  isGone(process: string): boolean;
  /** A process is dead to this bucket: unless another has heard of it since, it counts no more. */
  forget(process: string): void;
  /** Processes that are not known to be dead, this one included. */
  readonly processes: number;
}

export const freshBucket = (): BucketState => ({
  limits: {},
  configured: {},
  pausedUntil: NEVER,
  culprits: [],
  ramp: openRamp(),
  learnedCalls: 0,
  callsBefore: 0,
  decreasedAt: NEVER,
  processes: {},
  lanes: {},
  laneTime: 0,
  saved: undefined,
  announced: { process: '', at: 0 },
});
