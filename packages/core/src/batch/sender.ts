import { randomUUID } from 'node:crypto';
import { context, ROOT_CONTEXT } from '@opentelemetry/api';
import type { Timer } from '../clock.ts';
import type { BatchItem, Waiting } from '../stores/batch-journal.ts';
import { type ApiFailure, classifyFailure } from './api.ts';
import type { LaneParts } from './lane.ts';
import type { BatchOutcome } from './outcome.ts';
import { backoffDelay, dueIn } from './schedule.ts';
import type { LaneEvents, Watcher } from './watcher.ts';

/** Also a limit of money that ends next month is looked at again by then. */
const LONGEST_WAIT_MS = 3_600_000;

/**
 * Gathers what waits and sends it: by number, by bytes, by the age of the oldest, or at once when it is flushed. One
 * batch is on its way at a time. What is sent is in the journal as such before the first byte leaves.
 */
export class Sender {
  readonly #parts: LaneParts;
  readonly #watcher: Watcher;
  readonly #events: LaneEvents;
  #waiting: Waiting = { count: 0, bytes: 0, oldestAt: undefined };
  /** What was submitted up to here is to be sent at once; in milliseconds of the epoch. */
  #flushedAt = Number.NEGATIVE_INFINITY;
  /** Requests that came while the journal was asked how many there are: better counted twice than not at all. */
  #cameMeanwhile = 0;
  #isClosed = false;
  /** Sending, as long as it does. */
  #busy: Promise<void> | undefined;
  #timer: Timer | undefined;
  #notBefore = Number.NEGATIVE_INFINITY;
  #failures = 0;
  /** Fewer at once, while the API calls a batch invalid and one of its requests must be why. */
  #atMost = Number.POSITIVE_INFINITY;

  constructor(parts: LaneParts, watcher: Watcher, events: LaneEvents) {
    this.#parts = parts;
    this.#watcher = watcher;
    this.#events = events;
  }

  get waitingCount(): number {
    return this.#waiting.count;
  }

  resume(waiting: Waiting): void {
    this.#waiting = waiting;
    this.wake();
  }

  added(bytes: number, at: number): void {
    const { count, bytes: sum, oldestAt } = this.#waiting;
    this.#waiting = { count: count + 1, bytes: sum + bytes, oldestAt: oldestAt ?? at };
    this.#cameMeanwhile++;
    this.wake();
  }

  /** Asks the journal what waits: requests have come back to it, or have left it. */
  async refresh(): Promise<void> {
    await this.#count();
    this.wake();
  }

  async #count(): Promise<void> {
    this.#cameMeanwhile = 0;
    const { count, bytes, oldestAt } = await this.#parts.journal.waiting(this.#parts.account);
    const came = this.#cameMeanwhile;
    this.#waiting = {
      count: count + came,
      bytes,
      oldestAt: oldestAt ?? (came > 0 ? this.#parts.clock.wall() : undefined),
    };
  }

  flush(): void {
    this.#flushedAt = this.#parts.clock.wall();
    this.wake();
  }

  /** Something has changed: sends when it is time, and sees to it that it is looked at again when it will be. */
  wake(): void {
    if (this.#isClosed || this.#busy !== undefined) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    const { alarms, clock, rules } = this.#parts;
    const { batch } = rules().config;
    const now = clock.now();
    const due = dueIn(this.#waiting, this.#flushedAt, batch, clock.wall());
    if (due === undefined || this.#watcher.processing >= batch.maxProcessing) return;
    const at = Math.max(now + due, this.#notBefore);
    if (at > now) {
      this.#timer = alarms.set(at, () => this.wake());
      return;
    }
    // The trace of whoever happened to be the last to submit is not the batch's.
    this.#busy = context
      .with(ROOT_CONTEXT, () => this.#send())
      .finally(() => {
        this.#busy = undefined;
        this.wake();
      });
  }

  /** Never rejects. */
  async #send(): Promise<void> {
    const { journal, account, clock, rules, once } = this.#parts;
    const { batch } = rules().config;
    const room = batch.maxProcessing - this.#watcher.processing;
    const most = Math.min(batch.maxRequests, room, this.#atMost);
    const submission = { id: randomUUID(), account, at: clock.wall() };
    try {
      const items = await journal.open(submission, most, batch.maxBytes);
      if (items.length > 0) {
        this.#watcher.opened(items.length);
        await this.#post({ ...submission, items: items.length, batchId: undefined }, items);
      }
      await this.#count();
    } catch (error) {
      once.warn('HG_JOURNAL', 'journal', `the batch journal fails: ${String(error)}`);
      this.#backOff(undefined);
    }
  }

  async #post(submission: Parameters<Watcher['sent']>[0], items: readonly BatchItem[]): Promise<void> {
    const { journal, telemetry, api } = this.#parts;
    const span = telemetry.submission(items);
    let batchId: string;
    try {
      ({ id: batchId } = await span.run(() => api.create(items)));
    } catch (error) {
      const failure = classifyFailure(error);
      const { errorType } = failure;
      span.end(failure.kind === 'doubt' ? 'doubt' : 'refused', { errorType });
      if (failure.kind === 'doubt') {
        this.#watcher.sent(submission);
        // Whatever is the matter, the next batch would meet it too.
        this.#backOff(failure.retryAfterMs);
      } else await this.#refused(submission.id, items, failure);
      return;
    }
    span.end('accepted', { batchId });
    // Were this to fail, the batch would be in doubt; and found again.
    this.#watcher.sent({ ...submission, batchId });
    this.#failures = 0;
    this.#atMost *= 2;
    await journal.accepted(submission.id, batchId);
  }

  /** It is certain that there is no such batch. */
  async #refused(submission: string, items: readonly BatchItem[], failure: ApiFailure): Promise<void> {
    const { journal, clock } = this.#parts;
    const { kind, status } = failure;
    const isFinal = kind === 'invalid' || kind === 'gone';
    const isDivisible = status === 400 || status === 413 || status === 422;
    this.#watcher.dropped(items.length);
    if (!isFinal || (isDivisible && items.length > 1)) {
      await journal.released(submission);
      // One request spoils the batch: halves are sent until it is alone.
      if (isFinal) this.#atMost = Math.ceil(items.length / 2);
      else this.#backOff(failure.retryAfterMs);
      return;
    }
    const error = failure.body ?? {
      type: 'error',
      error: { type: failure.errorType, message: `HTTP ${status}` },
    };
    const outcome: BatchOutcome = { type: 'errored', error };
    const text = JSON.stringify(outcome);
    await journal.finish(
      items.map(({ id }) => ({ id, outcome: text })),
      clock.wall(),
    );
    await journal.released(submission);
    for (const item of items) this.#events.onDone(item, outcome, undefined);
    this.#atMost *= 2;
  }

  #backOff(retryAfterMs: number | undefined): void {
    const { clock, random } = this.#parts;
    this.#failures++;
    const delay = Math.min(LONGEST_WAIT_MS, backoffDelay(this.#failures, retryAfterMs, random));
    this.#notBefore = clock.now() + delay;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#busy;
  }
}
