import type { Utilization } from '@headgate/testing';
import type { Ask } from './scenario.ts';

/** What the processes of a run tell each other. Moments are milliseconds of the epoch, which is all that they share. */

/** To the API: what has it seen from then to then? */
export interface ReportRequest {
  readonly from: number;
  readonly to: number;
}

export type FromApi =
  | { readonly kind: 'ready'; readonly url: string }
  | {
      readonly kind: 'report';
      /** Shares of what the account can give at most. */
      readonly used: Utilization;
      readonly attempts: number;
      readonly status429: number;
      /** Of the process, since its start. */
      readonly cpuMs: number;
    };

/** A call that has come to its end. */
export interface Ended extends Omit<Ask, 'prompt' | 'streams'> {
  readonly endMs: number;
  readonly isAnswered: boolean;
}

/** From the process of a contender, when it is done. */
export interface Run {
  readonly startedAt: number;
  readonly ended: readonly Ended[];
  /** User and system time of the process while calls were under way. */
  readonly cpuMs: number;
  /** The most memory that the process had, in bytes. */
  readonly rss: number;
  /** p99 of how late the event loop was, in milliseconds. */
  readonly loopDelayMs: number;
}
