import type { HeadgateError, Reason } from '../errors.ts';
import type { Demand, Flight } from './flight.ts';
import type { Lane } from './lanes.ts';
import type { QuotaTicket } from './ticket.ts';

/** A call at the gate. */
export interface Arrival {
  readonly demand: Demand;
  readonly lane: string;
  readonly flowKey: string;
  readonly ticket: QuotaTicket;
  /** On the clock; the call must be done by then. */
  readonly deadlineAt: number;
  /** A call that was admitted before: it keeps its turn, and only its deadline bounds its wait. */
  readonly isRetry: boolean;
  readonly signals: readonly AbortSignal[];
  /** Bytes of the request's body, which is kept as long as the call waits. */
  readonly bytes?: number;
}

/** What the gate answers. */
export interface Passage {
  readonly flight: Flight;
  readonly waitedMs: number;
  /** What the call waited for first, if it waited. */
  readonly waitedFor: Reason | undefined;
  /** Where several processes share the limits: whether their ledger has let the call in, or this process's own share. */
  readonly mode?: 'shared' | 'degraded';
}

/** A call in the queue, or parked. */
export interface Waiter {
  readonly flowKey: string;
  readonly cost: number;
  readonly arrival: Arrival;
  readonly lane: Lane<Waiter>;
  readonly arrivedAt: number;
  readonly expiresAt: number;
  /** How long the queue alone was thought to take. */
  readonly predictedMs: number;
  waitedFor: Reason | undefined;
  /** Leaves the queue, or the place where it is parked, and takes its timer and listeners along. */
  leave: () => void;
  readonly resolve: (passage: Passage) => void;
  readonly reject: (error: HeadgateError) => void;
}
