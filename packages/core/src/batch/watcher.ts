import { context, ROOT_CONTEXT } from '@opentelemetry/api';
import type { Timer } from '../clock.ts';
import type { Submission } from '../stores/batch-journal.ts';
import { type ApiBatch, classifyFailure } from './api.ts';
import { type Collecting, collect, endRest, isWhole, type Sent } from './collect.ts';
import type { LaneParts } from './lane.ts';
import type { BatchOutcome, Ended } from './outcome.ts';
import { reconcile } from './reconcile.ts';
import { backoffDelay, pollDelay } from './schedule.ts';

/** What the two halves of the lane tell it, and each other. */
export interface LaneEvents {
  onDone(item: Sent, outcome: BatchOutcome, batchId: string | undefined): void;
  onRetry(item: Sent, outcome: BatchOutcome): void;
  onRoom(): void;
}

/** One submission that is looked after. */
interface Watched {
  submission: Submission;
  /** On the clock. */
  nextAt: number;
  readonly since: number;
  failures: number;
  /** How often its results were read, or asked for in vain. */
  collected: number;
  /** Batches that are known not to be it. */
  readonly foreign: Set<string>;
}

/** Results that end too early, or that are not there, are asked for so many times. */
const MAX_COLLECTS = 4;

/**
 * Looks after what was sent: asks for each batch now and then, collects its results when it has ended, and finds out
 * what became of a batch whose sending nobody answered. One thing at a time, the most urgent first.
 */
export class Watcher {
  readonly #parts: LaneParts;
  readonly #events: LaneEvents;
  readonly #watched = new Map<string, Watched>();
  #processing = 0;
  #timer: Timer | undefined;
  #busy: Promise<void> | undefined;
  #isClosed = false;

  constructor(parts: LaneParts, events: LaneEvents) {
    this.#parts = parts;
    this.#events = events;
  }

  /** Requests that are in a batch, or may be. */
  get processing(): number {
    return this.#processing;
  }

  async resume(submissions: readonly Submission[], processing: number): Promise<void> {
    this.#processing = processing;
    const { clock } = this.#parts;
    const age = clock.now() - clock.wall();
    for (const submission of submissions) this.#watch(submission, submission.at + age, clock.now());
    this.#wake();
  }

  opened(items: number): void {
    this.#processing += items;
  }

  dropped(items: number): void {
    this.#processing -= items;
  }

  /** It was sent; without a `batchId`, perhaps. */
  sent(submission: Submission): void {
    const { clock, rules, random } = this.#parts;
    const now = clock.now();
    this.#watch(submission, now, now + pollDelay(0, rules().config.batch.poll, random));
    this.#wake();
  }

  #watch(submission: Submission, since: number, nextAt: number): void {
    this.#watched.set(submission.id, {
      submission,
      since,
      nextAt,
      failures: 0,
      collected: 0,
      foreign: new Set(),
    });
  }

  #wake(): void {
    if (this.#isClosed || this.#busy !== undefined) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    let first: Watched | undefined;
    for (const each of this.#watched.values())
      if (first === undefined || each.nextAt < first.nextAt) first = each;
    if (first === undefined) return;
    const { alarms, clock } = this.#parts;
    if (first.nextAt > clock.now()) {
      this.#timer = alarms.set(first.nextAt, () => this.#wake());
      return;
    }
    const due = first;
    this.#busy = context
      .with(ROOT_CONTEXT, () => this.#look(due))
      .finally(() => {
        this.#busy = undefined;
        this.#wake();
      });
  }

  /** Never rejects. */
  async #look(watched: Watched): Promise<void> {
    const { clock, random, rules } = this.#parts;
    try {
      if (watched.submission.batchId === undefined) await this.#clear(watched);
      else await this.#poll(watched, watched.submission.batchId);
    } catch (error) {
      const failure = classifyFailure(error);
      if (failure.kind === 'gone' && watched.submission.batchId !== undefined) {
        await this.#missed(watched, 'gone');
        return;
      }
      watched.failures++;
      watched.nextAt = clock.now() + backoffDelay(watched.failures, failure.retryAfterMs, random);
      // The results of a batch are there for weeks. What cannot be had for as long as we keep results will not be.
      if (clock.now() - watched.since > rules().config.batch.keep + DAY_MS) await this.#end(watched, 'gone');
    }
  }

  /** Nobody answered when it was sent. */
  async #clear(watched: Watched): Promise<void> {
    const { journal, clock, random, rules } = this.#parts;
    const { batch } = rules().config;
    const { submission, since } = watched;
    const doubt = await reconcile(this.#parts, submission, watched.foreign);
    watched.failures = 0;
    const now = clock.now();
    if (doubt.kind === 'found') {
      await journal.accepted(submission.id, doubt.batch.id);
      watched.submission = { ...submission, batchId: doubt.batch.id };
      watched.nextAt = now;
    } else if (doubt.kind === 'absent' && now - since >= batch.grace) {
      await journal.released(submission.id);
      this.#forget(watched, submission.items);
    } else {
      // Not sooner than it can be decided, and not much later.
      const wait = pollDelay(now - since, batch.poll, random);
      watched.nextAt =
        now + (doubt.kind === 'absent' ? Math.min(wait, Math.max(1, since + batch.grace - now)) : wait);
    }
  }

  async #poll(watched: Watched, id: string): Promise<void> {
    const { api, clock, random, rules } = this.#parts;
    const batch = await api.retrieve(id);
    watched.failures = 0;
    if (!batch.isEnded) {
      const age = clock.now() - watched.since;
      watched.nextAt = clock.now() + pollDelay(age, rules().config.batch.poll, random);
      return;
    }
    // Ended, and put away: nobody will ever have its results.
    if (batch.resultsUrl === undefined) return this.#end(watched, 'gone');
    await this.#collect(watched, batch);
  }

  async #collect(watched: Watched, batch: ApiBatch): Promise<void> {
    const read = await collect(this.#collecting(watched), watched.submission, batch);
    if (isWhole(batch, read)) await this.#end(watched, read.unreadable > 0 ? 'unreadable' : 'missing');
    else await this.#missed(watched, read.unreadable > 0 ? 'unreadable' : 'missing');
  }

  /** Results that end early or are not there may come yet: a few more tries. */
  async #missed(watched: Watched, otherwise: Ended): Promise<void> {
    const { clock, random } = this.#parts;
    watched.collected++;
    if (watched.collected >= MAX_COLLECTS) return this.#end(watched, otherwise);
    watched.nextAt = clock.now() + backoffDelay(watched.collected, undefined, random);
  }

  /** The batch is done with; what has no result gets none any more. */
  async #end(watched: Watched, otherwise: Ended): Promise<void> {
    const { journal, clock, rules, random, once } = this.#parts;
    const { submission } = watched;
    try {
      await endRest(this.#collecting(watched), submission, { type: otherwise });
      await journal.close(submission.id, clock.wall());
      this.#watched.delete(submission.id);
      this.#events.onRoom();
    } catch (error) {
      once.warn('HG_JOURNAL', 'journal', `the batch journal fails: ${String(error)}`);
      watched.nextAt = clock.now() + pollDelay(0, rules().config.batch.poll, random);
    }
  }

  #forget(watched: Watched, items: number): void {
    this.#processing -= items;
    this.#watched.delete(watched.submission.id);
    this.#events.onRoom();
  }

  #collecting(watched: Watched): Collecting {
    const { api, journal, alarms, clock, rules } = this.#parts;
    const { batchId } = watched.submission;
    return {
      api,
      journal,
      alarms,
      clock,
      maxAttempts: rules().config.batch.maxAttempts,
      onDone: (item, outcome) => {
        this.#processing--;
        this.#events.onDone(item, outcome, batchId);
      },
      onRetry: (item, outcome) => {
        this.#processing--;
        this.#events.onRetry(item, outcome);
      },
    };
  }

  /** Tells every batch to cancel. Gives the number of requests in them. */
  async cancelAll(): Promise<number> {
    const { api } = this.#parts;
    let canceling = 0;
    for (const { submission } of [...this.#watched.values()]) {
      const { batchId, items } = submission;
      if (batchId === undefined) continue;
      await context.with(ROOT_CONTEXT, () => api.cancel(batchId));
      canceling += items;
    }
    return canceling;
  }

  snapshot() {
    const all = [...this.#watched.values()];
    return {
      batches: all.filter(({ submission }) => submission.batchId !== undefined).length,
      inDoubt: all.filter(({ submission }) => submission.batchId === undefined).length,
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#busy;
  }
}

const DAY_MS = 86_400_000;
