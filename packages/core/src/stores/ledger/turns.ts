import { HEAD_MS, type LaneTerms } from '../store.ts';
import type { Ends } from './path.ts';
import type { BucketState } from './state.ts';

/** How far a lane has been served, over all processes; see admission/lanes.ts. */
export interface LaneState {
  weight: number;
  guarantee: number;
  reserve: number;
  order: number;
  owedFrom: number;
  /** See admission/lanes.ts. */
  dueFrom: number;
  finish: number;
  /** Virtual time of the fair queue between its users. */
  time: number;
  /** Counts the times that nobody waited: what was charged before is forgotten. */
  epoch: number;
}

/** Who stands first in a lane of one process, as it was last told. */
export interface Head {
  readonly id: number;
  readonly start: number;
  readonly since: number;
  readonly cost: number;
  readonly chargesTokens: boolean;
  readonly inputTokens: number;
  readonly inputHeld: number;
  readonly outputTokens: number;
  readonly hasPath: boolean;
  /** It could have gone since then; 0 where it could not. */
  fitsSince: number;
}

/** A process, as the ledger of a bucket knows it. */
export interface ProcessState {
  seenAt: number;
  seq: number;
  calls: number;
  inputHeld: number;
  variance: number;
  /** Users who wait, by lane; 0 where all that were put forward have just gone. */
  users: Record<string, number>;
  heads: Record<string, Head>;
  /** Of its path, and of the paths of what it was granted since it told that. */
  ahead: Ends;
  /** It could have gone, and did not say so: it is passed until it does. */
  isLate: boolean;
  limits: Record<string, number>;
}

/** A guarantee goes before a reserve that has kept a lane from it for so long. */
const LATE_MS = 60_000;
const LATE_MEMORY_MS = LATE_MS + 1_000;
/** A lane that was kept waiting is owed at most this much of the past. */
const PATIENCE_MS = 1_000;

export const isWaiting = (process: ProcessState, now: number): boolean =>
  !process.isLate && process.seenAt >= now - HEAD_MS;

export function laneOf(
  lanes: Record<string, LaneState>,
  name: string,
  terms: LaneTerms,
  time: number,
): LaneState {
  let lane = lanes[name];
  if (lane === undefined) {
    lane = { ...terms, owedFrom: -1e15, dueFrom: -1e15, finish: time, time: 0, epoch: 0 };
    lanes[name] = lane;
  }
  lane.weight = terms.weight;
  lane.guarantee = terms.guarantee;
  lane.reserve = terms.reserve;
  lane.order = terms.order;
  return lane;
}

export const isOwed = (lane: LaneState, now: number): boolean => lane.guarantee > 0 && lane.owedFrom <= now;

/** Share of the bucket that a lane may not draw on; see admission/lanes.ts. */
export const reserveOf = (lane: LaneState, now: number): number =>
  lane.guarantee > 0 && lane.dueFrom < now - LATE_MS ? 0 : lane.reserve;

/** Whether lane `a` comes before lane `b`. */
export function comesBefore(a: LaneState, b: LaneState, now: number): boolean {
  const owedA = isOwed(a, now);
  if (owedA !== isOwed(b, now)) return owedA;
  const difference = owedA ? a.owedFrom - b.owedFrom : a.finish - b.finish;
  return difference !== 0 ? difference < 0 : a.order < b.order;
}

/** Charges a lane for its turn, and gives the lanes' time; `isOwed` where its guarantee paid. */
export function serveLane(
  lane: LaneState,
  cost: number,
  time: number,
  now: number,
): { isOwed: boolean; time: number } {
  const { guarantee } = lane;
  if (guarantee > 0) lane.dueFrom = Math.max(lane.dueFrom, now - LATE_MEMORY_MS) + cost / guarantee;
  if (isOwed(lane, now)) {
    lane.owedFrom = Math.max(lane.owedFrom, now - PATIENCE_MS) + cost / guarantee;
    return { isOwed: true, time };
  }
  const later = Math.max(time, lane.finish);
  lane.finish += cost / lane.weight;
  return { isOwed: false, time: later };
}

/** Whether anybody waits in a lane, or did when its process was last heard of: it has then not begun to be waited in. */
export const isInUse = (state: BucketState, lane: string): boolean =>
  Object.values(state.processes).some(({ users }) => users[lane] !== undefined);

/** Users with calls waiting in a lane, of all processes. */
export function usersOf(state: BucketState, lane: string): number {
  let users = 0;
  for (const process of Object.values(state.processes)) users += process.users[lane] ?? 0;
  return users;
}
