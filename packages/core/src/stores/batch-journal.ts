import type { Bounds } from '../settlement/bounds.ts';

/** What a request charged to a quota when it was submitted, to be put right when its result is there. */
export interface AheadCharge {
  readonly rule: string;
  readonly key: string;
  readonly name: 'requests' | 'inputTokens' | 'outputTokens' | 'usd';
  readonly amount: number;
  /** Start of the calendar window that was charged, in milliseconds of the epoch; 0 for a continuous one. */
  readonly windowStart: number;
  /** When, in milliseconds of the epoch. */
  readonly at: number;
}

/** A request that was handed over to be sent in a batch. */
export interface BatchItem {
  /** The `custom_id`, and what its owner finds it by again. */
  readonly id: string;
  readonly account: string;
  /** The request's params, as JSON. */
  readonly params: string;
  /** Whose it is, and what is left to know of it once its body is gone. */
  readonly owner: {
    readonly user: string;
    readonly tenant: string | undefined;
    readonly tier: string | undefined;
    readonly route: string | undefined;
    readonly lane: string;
    readonly model: string;
    /** What its answer can have used at the most. A release before this one has left it out. */
    readonly bounds?: Bounds;
  };
  readonly charges: readonly AheadCharge[];
  /** The W3C `traceparent` of the code that handed it over. */
  readonly trace: string | undefined;
  /** In milliseconds of the epoch. */
  readonly submittedAt: number;
  /** Batches that it was in already, and failed in a way that another may not. */
  readonly attempts: number;
}

/** How far a request has come. */
export interface BatchState {
  readonly id: string;
  readonly account: string;
  readonly state: 'waiting' | 'sent' | 'done';
  /** The outcome, as JSON, once it is done. */
  readonly outcome?: string | undefined;
}

/** A batch that was sent, or is about to be. */
export interface Submission {
  readonly id: string;
  readonly account: string;
  /** When it was decided to send it, in milliseconds of the epoch. */
  readonly at: number;
  readonly items: number;
  /** Absent until the API has told: then nobody knows yet whether there is such a batch. */
  readonly batchId: string | undefined;
}

export interface Waiting {
  readonly count: number;
  readonly bytes: number;
  /** When the oldest was submitted. */
  readonly oldestAt: number | undefined;
}

/**
 * Keeps the work of the batch lane, so that a killed process loses nothing and sends nothing twice. Promised: each
 * method is atomic, and what it did outlives the process by the time it resolves. It holds request bodies and answers:
 * a body is deleted with its outcome's arrival, an outcome when it was delivered or its time is over. One process at a
 * time works with the requests of one account: a journal sees to that, or is documented to need it.
 */
export interface BatchJournal {
  /** False, and nothing changes, where a request of this id is there already, of whichever account. */
  add(item: BatchItem): Promise<boolean>;
  state(id: string): Promise<BatchState | undefined>;
  /** Requests of an account that are not done, the oldest first. */
  pending(account: string): Promise<BatchState[]>;
  waiting(account: string): Promise<Waiting>;
  /** Requests that are in a batch, or may be. */
  inProcessing(account: string): Promise<number>;
  /**
   * Puts the oldest waiting requests into a submission, as many as the bounds allow and at least one; gives them.
   * From here on they belong to it, until it is accepted or released.
   */
  open(
    submission: Omit<Submission, 'items' | 'batchId'>,
    maxItems: number,
    maxBytes: number,
  ): Promise<BatchItem[]>;
  /** The API has taken a submission. */
  accepted(submission: string, batchId: string): Promise<void>;
  /** It is certain that the API has not: its requests wait again. Of one that was accepted it changes nothing. */
  released(submission: string): Promise<void>;
  /** Submissions of an account with requests that are not done. */
  submissions(account: string): Promise<Submission[]>;
  /** Batches that are known to be of other submissions, for a while after their end too. */
  knownBatches(account: string): Promise<Set<string>>;
  /** The requests of a submission among `ids` that are not done. */
  itemsOf(submission: string, ids: readonly string[]): Promise<Omit<BatchItem, 'params'>[]>;
  /** Requests of a submission that are not done, at most `limit`. */
  restOf(submission: string, limit: number): Promise<Omit<BatchItem, 'params'>[]>;
  /** Requests are done: their bodies go. */
  finish(outcomes: readonly { readonly id: string; readonly outcome: string }[], at: number): Promise<void>;
  /** Requests are to be sent once more. */
  retry(ids: readonly string[]): Promise<void>;
  /** A submission has no requests left that are not done. */
  close(submission: string, at: number): Promise<void>;
  /** Takes a request out that is waiting. False where it is not. */
  withdraw(id: string, outcome: string, at: number): Promise<Omit<BatchItem, 'params'> | undefined>;
  delivered(id: string, at: number): Promise<void>;
  /** Waiting requests that were submitted before a time, at most `limit`. */
  stale(account: string, before: number, limit: number): Promise<string[]>;
  /** Deletes outcomes delivered before one time, and all that were there before another. */
  purge(times: { readonly deliveredBefore: number; readonly doneBefore: number }): Promise<void>;
  end(): Promise<void>;
}

/** How many requests come first of those that may go: at least one. Pure. */
export function fitting(sizes: Iterable<number>, maxItems: number, maxBytes: number): number {
  let count = 0;
  let bytes = 0;
  for (const size of sizes) {
    bytes += size;
    if (count > 0 && (count >= maxItems || bytes > maxBytes)) break;
    count++;
  }
  return count;
}
