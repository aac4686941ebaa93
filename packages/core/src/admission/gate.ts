import type { Mode } from './fleet/line.ts';
import type { Flight } from './flight.ts';
import type { Scheduler } from './scheduler.ts';
import type { QuotaTicket } from './ticket.ts';
import type { UpstreamBucket } from './upstream.ts';

/** What a call's lease and the governor use of a bucket, whoever keeps its level. */
export type GateBucket = Pick<
  UpstreamBucket,
  | 'account'
  | 'name'
  | 'active'
  | 'configure'
  | 'cost'
  | 'merge'
  | 'inputKnown'
  | 'progress'
  | 'settle'
  | 'charge'
  | 'pause'
  | 'endPause'
  | 'overloaded'
  | 'congested'
  | 'refusedAlone'
  | 'isOfLimit'
  | 'crowdOf'
  | 'meanSlotMs'
>;

/** The gate of one upstream bucket: of this process alone (scheduler.ts), or of a fleet (fleet/). */
export interface GateKeeper
  extends Pick<Scheduler, 'configure' | 'size' | 'enter' | 'pass' | 'foresee' | 'wake' | 'close'> {
  readonly upstream: GateBucket;
  /** That share the bucket, as far as is known. */
  readonly processes: number;
  /** Charges quotas for what was used of them without a turn of its own. */
  charge(ticket: QuotaTicket): void;
  settled(name: string, flowKey: string, cost: number, flight: Flight): void;
  snapshot(now: number): ReturnType<Scheduler['snapshot']> & {
    /** Where several processes share the bucket. */
    readonly fleet?: { readonly mode: Mode; readonly processes: number };
  };
  /** Says the last word to those who share the bucket. */
  hangUp?(): Promise<void>;
}
