import type { Board } from './board.ts';

/**
 * Where the limits of a fleet are kept: one ledger for all processes, reached by one kind of message.
 *
 * A process talks to the ledger of each upstream bucket in *exchanges*, one at a time: it tells what its calls have
 * used since the last, what it holds now, and who stands first in its queues; it is told who may go. Promised by every
 * store:
 * - An exchange is applied whole or not at all, and once: the same `process` and `seq` again gives the same answer, also to a
 *   process that has been given up meanwhile, for `AGAIN_MS`.
 * - Nothing is admitted that does not fit; what is held is taken as held until its process says otherwise, or is not
 *   heard of for `LEASE_MS`: then it is charged.
 * - Time is the store's own.
 * Not promised: that a `Wake` arrives. Whoever waits has a timer behind it.
 */
export interface Store {
  readonly kind: 'fleet';
  /** How many processes are taken to share the limits where the ledger was never reached. */
  readonly assumedProcesses: number;
  /**
   * @throws when there is no answer in time, or none that can be read; whether it was applied is then unknown, and it is
   * said again. An error with `isFinal: true` says that it was not, and never will be.
   */
  exchange(bucket: string, exchange: Exchange): Promise<Answer>;
  /** Calls `onWake` when the turn of a bucket may have come to somebody else. The returned function ends it. */
  listen(bucket: string, onWake: (wake: Wake) => void): () => void;
  /**
   * Calls `onFree` with the process in which a slot of the quota `key` came free (`QuotaChange.frees`), and with none when this
   * process may have missed that. Returns how to stop. Left out: a process asks for a slot again each second.
   */
  listenSlot?(key: string, onFree: (process: string | undefined) => void): () => void;
  /** What processes tell each other beside the ledger. A store without one shares the ledger alone. */
  readonly board?: Board;
  /** What is wrong with the store as it is set up, if anything: shown once, by name. */
  doubts?(): Promise<readonly StoreDoubt[]>;
  close(): Promise<void>;
}

/** Whether a store is one that processes share. */
export const isShared = (store: object | undefined): store is Store =>
  store !== undefined && 'kind' in store && store.kind === 'fleet';

export interface StoreDoubt {
  readonly code:
    | 'HG_STORE_EVICTS'
    | 'HG_STORE_OLD'
    | 'HG_STORE_READ_ONLY'
    | 'HG_STORE_OCCUPIED'
    | 'HG_STORE_FILE';
  readonly message: string;
}

/** A process not heard of for this long is taken for dead: what it held is charged. */
export const LEASE_MS = 10_000;
/** So long after it was given up, what a process says again is known to have been said. */
export const AGAIN_MS = 3_600_000;
/** A process that has calls, or waits, tells at least so often that it lives. */
export const HEARTBEAT_MS = 1_000;
/**
 * Who has not been heard of for this long may have ended: where the store can tell that the connection of a process is closed,
 * that one has, and what it held is free but for what its calls can have produced until then.
 */
export const QUIET_MS = 1_500;
/** Who has not been heard of for this long keeps nobody waiting. */
export const HEAD_MS = 2_500;
/** Whoever may go and does not say so within this is passed. */
export const GRACE_MS = 50;

export type Amounts = {
  readonly requests: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
};
export type AmountName = keyof Amounts;

/** What calls in flight are going to produce: sums at each of the twenty `POINT_MS` from now, which never fall. */
export interface Path {
  readonly use: readonly number[];
  readonly variance: readonly number[];
  /** With every answer going on up to its ceiling. */
  readonly most: readonly number[];
}

export interface Exchange {
  /** Random, and another after every start: a process does not come back. */
  readonly process: string;
  /** Counts up by one. */
  readonly seq: number;
  /** The last one that was answered; 0 at first. */
  readonly acked: number;
  /** Used since the last exchange; what was charged too much is given back. */
  readonly charges: Amounts;
  /** Held now, as of the last answer. It is off what can be taken, and does not keep the bucket from refilling. */
  readonly holds: { readonly inputTokens: number; readonly calls: number; readonly variance: number };
  /** Left out: as it was, run on. */
  readonly path?: Path;
  /** At first, and when it changes, or when the ledger asks. */
  readonly limits?: ConfiguredLimits;
  /**
   * Levels as last told, run on to now: what a ledger that has lost its memory is not to be above of, nor one that does not know
   * the process any more. What is held is taken off besides.
   */
  readonly hints?: Partial<Amounts>;
  /** The lanes of this process, with the number of its users who wait there: events and candidates of others are passed over. */
  readonly lanes: Readonly<Record<string, LaneTerms & { readonly users: number }>>;
  readonly events: readonly LedgerEvent[];
  readonly quotas: readonly QuotaChange[];
  /** Taken of quotas while the ledger was not there: it is charged, whatever there is. */
  readonly spent: readonly QuotaAsk[];
  readonly reserve: readonly Reservation[];
  readonly candidates: readonly Candidate[];
}

/**
 * Of each the smallest holds that a living process has told. Where none tells a limit any more, its level goes on with the last
 * one, calls at once are not limited, and a depth is found out. A limit that is new starts half full, for it may be one that
 * was lost; what calls in flight hold they hold of it too. With another limit or depth, what is used stays used.
 */
export interface ConfiguredLimits {
  readonly requests?: number;
  readonly inputTokens?: number;
  readonly outputTokens?: number;
  /** Depth as a share of one minute. */
  readonly burst?: number;
  readonly concurrency?: number;
}

export interface LaneTerms {
  readonly weight: number;
  readonly guarantee: number;
  readonly reserve: number;
  readonly order: number;
}

/** Times are milliseconds before the exchange: clocks are not compared. */
export type LedgerEvent =
  | {
      readonly type: 'headers';
      readonly sentAgo: number;
      readonly isAnswer: boolean;
      readonly headroom: Partial<Record<AmountName, { readonly limit: number; readonly remaining: number }>>;
    }
  | { readonly type: 'pause'; readonly ms: number }
  /** A request was refused because use grows too fast; the API asks for `ms` before the next. */
  | { readonly type: 'ramp'; readonly sentAgo: number; readonly ms: number }
  | { readonly type: 'endPause' }
  | { readonly type: 'overloaded'; readonly startedAgo: number }
  | { readonly type: 'ended'; readonly startedAgo: number }
  /** A call that took a turn has cost `delta` more than was thought. */
  | {
      readonly type: 'corrected';
      readonly lane: string;
      readonly user: string;
      readonly delta: number;
      readonly isOwed: boolean;
      readonly epoch: number;
    };

/** A call that asks to go. */
export interface Candidate {
  /** Of this process; the same while it waits. */
  readonly id: number;
  readonly lane: string;
  /** A hash: the ledger knows nobody. */
  readonly user: string;
  /** Milliseconds of the scarcest limit. */
  readonly cost: number;
  readonly chargesTokens: boolean;
  /** Input that is as good as certain, and what is held on top of it. */
  readonly inputTokens: number;
  readonly inputHeld: number;
  /** Charged in advance; 0 where output is charged as it is produced. */
  readonly outputTokens: number;
  /** Calls that answer alike share one value: a store may keep it once. */
  readonly path?: Path;
  /** Among equals, who has waited longest is first. */
  readonly waitedMs: number;
  /** It stands in a queue: it goes in turn, and pays for it. */
  readonly isQueued: boolean;
  /**
   * Where its user was told to start, or would start after its last call: a user who goes on waiting keeps that, though
   * the lane's time may pass it. Left out for one that has just come.
   */
  readonly tag?: Tag;
  readonly quotas: readonly QuotaAsk[];
}

/** A place in the virtual time of a lane, which begins anew with each epoch. */
export interface Tag {
  readonly epoch: number;
  readonly at: number;
}

export interface Reservation {
  readonly id: number;
  readonly quotas: readonly QuotaAsk[];
}

/** What a call asks of one quota of one key. */
export interface QuotaAsk {
  /** A hash: the ledger knows nobody. */
  readonly key: string;
  /** `shadow` counts and never refuses. */
  readonly onExceed: 'refuse' | 'wait' | 'shadow';
  readonly concurrency?: number;
  /**
   * Reserved by an earlier exchange. That counts as far as it is so still: what a process had reserved that was given up is free,
   * and its calls are refused where somebody else has taken it meanwhile.
   */
  readonly isHeld: boolean;
  readonly meters: readonly MeterAsk[];
}

export type MeterAsk = {
  readonly name: string;
  readonly amount: number;
  /**
   * What the call takes for certain. Left out: `amount`. Only this can be more than there ever is; an amount above that waits
   * until all of it is there, and is then taken into debt.
   */
  readonly least?: number;
  /** What has to be there for a call that has the quota to itself, where `amount` is a mere guess. Left out: `amount`. */
  readonly alone?: number;
  /** Of a window; the most that one call may ever take for certain. */
  readonly quota: number;
} & (
  | { readonly kind: 'continuous'; readonly capacity: number; readonly ratePerMs: number }
  /** Milliseconds of the epoch. */
  | { readonly kind: 'window'; readonly start: number; readonly end: number }
);

/** A quota as it is put right: by a call that ended, or one that left the queue. */
export interface QuotaChange {
  readonly key: string;
  readonly slots: number;
  /** The quota limits calls at once, and one of its slots came free. */
  readonly frees?: boolean;
  readonly meters: readonly {
    readonly name: string;
    /** No longer held. */
    readonly released: number;
    /**
     * Used more than was charged at `at`, the time of an answer. It belongs to the window of that time; what refills
     * continuously is charged now, whatever has come back since.
     */
    readonly used: number;
    readonly at: number;
  }[];
}

export interface Answer {
  /** The store's clock, in milliseconds of the epoch. */
  readonly now: number;
  /** The ledger knows nothing of this process, or has lost what it was last told: it wants `limits` again. */
  readonly isUnknown: boolean;
  readonly results: readonly Result[];
  readonly levels: Partial<Record<AmountName, LevelTold>>;
  /** Milliseconds of a pause under way. */
  readonly pausedMs: number;
  readonly concurrency?: number;
  /** Requests of all processes in a millisecond, where use has grown too fast for the API. */
  readonly pacePerMs?: number;
  /** In flight in all processes. */
  readonly calls: number;
  /** Processes alive. */
  readonly processes: number;
  /** Users with calls waiting, of all processes. */
  readonly users: Readonly<Record<string, number>>;
  readonly wake?: Wake;
}

export interface LevelTold {
  readonly perMinute: number;
  readonly source: 'configured' | 'learned' | 'probe';
  readonly capacity: number;
  readonly level: number;
  readonly ratePerMs: number;
}

export type Result =
  | {
      readonly id: number;
      readonly type: 'granted';
      /** Absent where it went without waiting for a turn. */
      readonly turn?: { readonly epoch: number; readonly isOwed: boolean };
      /** Where its user's next call starts. */
      readonly tag?: Tag;
    }
  /** Its quotas are held; it waits for the bucket. `lead`: how far its user is ahead of the lane's time, or behind. */
  | {
      readonly id: number;
      readonly type: 'waits';
      readonly reason: string;
      readonly waitMs?: number;
      readonly lead: number;
      readonly tag?: Tag;
    }
  /**
   * A quota stands in the way. Where it refuses, nothing is held any more; where it makes the call wait, those that refuse
   * are held meanwhile.
   */
  | {
      readonly id: number;
      readonly type: 'exceeded';
      /** Index into the call's quotas. */
      readonly quota: number;
      readonly onExceed: 'refuse' | 'wait';
      readonly reason: string;
      /** Left out: until another call ends. Negative: never. */
      readonly waitMs?: number;
    };

/** Whose turn it is, and in how many milliseconds it is worth to ask. */
export interface Wake {
  readonly process: string;
  readonly waitMs: number;
}
