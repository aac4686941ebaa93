import { onAbort } from '../abort-hub.ts';
import type { Alarms } from '../alarms.ts';
import type { HeadgateError, Reason } from '../errors.ts';
import type { Slices } from '../slices.ts';
import type { Demand, Flight } from './flight.ts';
import type { Lane, Lanes } from './lanes.ts';
import type { Parking } from './parking.ts';
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
  /** A call that waited at another gate: it keeps its place, and the end of its wait. */
  readonly moved?: { readonly arrivedAt: number; readonly expiresAt: number };
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
  hasLeft: boolean;
  /** Leaves the queue, or the place where it is parked, and takes its timer and listeners along. */
  leave: () => void;
  readonly resolve: (passage: Passage) => void;
  readonly reject: (error: HeadgateError) => void;
}

/** The queue that a call joins: one object for all its calls, since each thing kept with every call is kept a hundred thousand times. */
export interface WaiterHost {
  readonly lanes: Lanes<Waiter>;
  readonly parking: Parking;
  readonly alarms: Alarms;
  /** In which those are sent away that end together. */
  readonly slices: Slices;
  /** It has waited as long as it may. */
  readonly expire: (waiter: Waiter) => void;
  /** Its caller has gone. */
  readonly abort: (waiter: Waiter) => void;
  /** It has left, whichever way: for what else is kept of it. */
  left(waiter: Waiter): void;
}

type Given = Pick<Waiter, 'arrival' | 'lane' | 'cost' | 'arrivedAt' | 'predictedMs' | 'resolve' | 'reject'>;

/** Whether a call joins its user's queue at the front. Calls that come from another gate come in their order. */
export const joinsFront = ({ isRetry, moved }: Arrival): boolean => isRetry && moved === undefined;

/** A call that is about to join the queue of its lane: counted, and with its timer and listeners. */
export function openWaiter(host: WaiterHost, given: Given): Waiter {
  const { arrival, lane, cost, arrivedAt, predictedMs, resolve, reject } = given;
  const { deadlineAt, signals, bytes = 0, flowKey, isRetry, moved } = arrival;
  const expiresAt =
    moved?.expiresAt ?? (isRetry ? deadlineAt : Math.min(deadlineAt, arrivedAt + lane.config.maxWait));
  // Many may end at one moment; one whose end has to wait may leave otherwise meanwhile.
  const end = (how: (waiter: Waiter) => void) =>
    host.slices.run(() => {
      if (!waiter.hasLeft) how(waiter);
    });
  const expiry = host.alarms.set(expiresAt, () => end(host.expire), true);
  const releases = signals.map((signal) => onAbort(signal, () => end(host.abort)));
  host.lanes.count(lane, 1, bytes);
  const waiter: Waiter = {
    flowKey,
    cost,
    arrival,
    lane,
    arrivedAt,
    expiresAt,
    predictedMs,
    waitedFor: undefined,
    hasLeft: false,
    leave: () => {
      waiter.hasLeft = true;
      expiry.cancel();
      for (const release of releases) release();
      lane.queue.remove(waiter);
      host.lanes.count(lane, -1, bytes);
      host.parking.leave(waiter);
      host.left(waiter);
    },
    resolve,
    reject,
  };
  return waiter;
}
