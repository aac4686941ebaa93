import type Anthropic from '@anthropic-ai/sdk';
import type { Alarms } from '../alarms.ts';
import type { Random, Timer } from '../clock.ts';
import { closedError, QueueFullError } from '../errors.ts';
import type { OnceLog } from '../logger.ts';
import type { BatchJournal, BatchState } from '../stores/batch-journal.ts';
import type { BatchTelemetry } from '../telemetry/batch.ts';
import type { BatchApi } from './api.ts';
import type { Sent } from './collect.ts';
import { callerOf, checkId, type IntakeParts, makeItem, readParams } from './intake.ts';
import { type BatchOutcome, errorTypeOf, messageOf } from './outcome.ts';
import { Sender } from './sender.ts';
import { ownerOf, settleItem } from './settle.ts';
import type { BatchHandle, BatchLane, BatchParams, SubmitOptions } from './types.ts';
import { Waiters } from './waiters.ts';
import { Watcher } from './watcher.ts';

/** How often what has had its time is deleted. */
const PURGE_MS = 60_000;
/** Between two tries to open a journal. */
const AGAIN_MS = 5_000;
/** Waiting requests that are given up at once. */
const STALE_AT_ONCE = 100;

export interface LaneParts extends IntakeParts {
  readonly random: Random;
  readonly alarms: Alarms;
  readonly once: OnceLog;
  readonly journal: BatchJournal;
  readonly telemetry: BatchTelemetry;
  readonly api: BatchApi;
}

/**
 * The batch lane of one account. A request goes into the journal first (`intake.ts`); the sender gathers what waits and
 * sends it, one batch at a time (`sender.ts`); the watcher looks after what was sent, and collects its results
 * (`watcher.ts`). Whatever the process was doing when it was killed, the journal tells the next one how far it had come.
 */
export class Lane implements BatchLane {
  readonly #parts: LaneParts;
  readonly #waiters: Waiters;
  readonly #sender: Sender;
  readonly #watcher: Watcher;
  #ready: Promise<void> | undefined;
  #purge: Timer | undefined;
  #isClosed = false;
  #isTaking = true;

  constructor(parts: LaneParts) {
    this.#parts = parts;
    this.#waiters = new Waiters(parts.alarms, parts.clock);
    const events = {
      onDone: (item: Sent, outcome: BatchOutcome, batchId: string | undefined) =>
        this.#done(item, outcome, batchId),
      onRetry: (item: Sent, outcome: BatchOutcome) =>
        this.#parts.telemetry.retried(item, errorTypeOf(outcome) ?? 'api_error'),
      onRoom: () => void this.#sender.refresh().catch((error: unknown) => this.#journalFails(error)),
    };
    this.#watcher = new Watcher(parts, events);
    this.#sender = new Sender(parts, this.#watcher, events);
    this.#begin();
  }

  /** Requests without a result. */
  get pendingCount(): number {
    return this.#sender.waitingCount + this.#watcher.processing;
  }

  /** Takes up what there is; where the journal fails, as while another process has not let go of it, again and again. */
  #begin(): void {
    this.#resumed().catch((error: unknown) => {
      this.#journalFails(error);
      if (this.#isClosed) return;
      const { alarms, clock } = this.#parts;
      this.#purge = alarms.set(clock.now() + AGAIN_MS, () => this.#begin());
    });
  }

  /** What the journal has from before is taken up. A journal that fails is tried again with the next call. */
  #resumed(): Promise<void> {
    this.#ready ??= this.#resume().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  async #resume(): Promise<void> {
    const { journal, account } = this.#parts;
    await this.#watcher.resume(await journal.submissions(account), await journal.inProcessing(account));
    this.#sender.resume(await journal.waiting(account));
    this.#armPurge();
  }

  async submit(params: BatchParams, options: SubmitOptions = {}): Promise<BatchHandle> {
    const { id } = await this.#add(params, options);
    return this.#handle(id);
  }

  /** The same for a call that nobody will ask for again once its process is gone: its result is its caller's at once. */
  async through(params: unknown): Promise<BatchOutcome> {
    const { id } = await this.#add(params, {});
    return this.#outcome(id);
  }

  async #add(
    params: unknown,
    { customId, caller: source, flush = false }: SubmitOptions,
  ): Promise<{ id: string }> {
    const { journal, rules } = this.#parts;
    const call = readParams(params);
    const id = customId === undefined ? undefined : checkId(customId);
    const caller = await callerOf(this.#parts, source);
    await this.#resumed();
    if (this.#isClosed || !this.#isTaking) throw closedError();
    if (id !== undefined && (await this.#known(id)) !== undefined) return { id };
    const { config, policy } = rules();
    if (this.pendingCount >= config.batch.maxPending) {
      throw new QueueFullError(`the batch lane has ${this.pendingCount} requests without a result`, {
        reason: 'queue_full',
        rule: 'batch.maxPending',
      });
    }
    const item = makeItem(this.#parts, call, policy.plan(call, caller), id);
    let isNew = false;
    try {
      isNew = await journal.add(item);
    } finally {
      if (!isNew) this.#parts.admission.settleAhead(item.charges, ownerOf(item));
    }
    if (isNew) this.#sender.added(item.params.length, item.submittedAt);
    if (flush) this.#sender.flush();
    return item;
  }

  /** A request of this lane by its id. @throws TypeError where it is another account's: ids are for all of them. */
  async #known(id: string): Promise<BatchState | undefined> {
    const state = await this.#parts.journal.state(id);
    if (state === undefined || state.account === this.#parts.account) return state;
    throw new TypeError(
      `Headgate batch customId: expected one that no other account has, received ${JSON.stringify(id)}, which is of account "${state.account}"`,
    );
  }

  async get(id: string): Promise<BatchHandle | undefined> {
    await this.#resumed();
    const state = await this.#parts.journal.state(checkId(id));
    return state?.account === this.#parts.account ? this.#handle(id) : undefined;
  }

  async pending(): Promise<BatchHandle[]> {
    await this.#resumed();
    const pending = await this.#parts.journal.pending(this.#parts.account);
    return pending.map(({ id }) => this.#handle(id));
  }

  flush(): void {
    this.#sender.flush();
  }

  async cancel(id?: string): Promise<{ canceled: number; canceling: number }> {
    await this.#resumed();
    const { journal, account } = this.#parts;
    const all = id === undefined ? await journal.pending(account) : [await this.#known(checkId(id))];
    let canceled = 0;
    for (const each of all) {
      if (each?.state !== 'waiting') continue;
      if (await this.#withdraw(each.id, { type: 'canceled' })) canceled++;
    }
    if (canceled > 0) await this.#sender.refresh();
    const canceling = id === undefined ? await this.#watcher.cancelAll() : 0;
    return { canceled, canceling };
  }

  async #withdraw(id: string, outcome: BatchOutcome): Promise<boolean> {
    const { journal, clock } = this.#parts;
    const item = await journal.withdraw(id, JSON.stringify(outcome), clock.wall());
    if (item === undefined) return false;
    this.#done(item, outcome, undefined);
    return true;
  }

  #handle(id: string): BatchHandle {
    let result: Promise<Anthropic.Message> | undefined;
    return {
      id,
      result: () => {
        result ??= this.#outcome(id).then((outcome) => messageOf(id, outcome));
        return result;
      },
    };
  }

  #outcome(id: string): Promise<BatchOutcome> {
    if (this.#isClosed) return Promise.reject(closedError());
    return this.#waiters.of(id, () => void this.#look(id));
  }

  /** Somebody waits for a request that may be done already. */
  async #look(id: string): Promise<void> {
    try {
      const state = await this.#parts.journal.state(id);
      if (state === undefined) this.#deliver(id, { type: 'gone' });
      else if (state.outcome !== undefined) this.#deliver(id, JSON.parse(state.outcome) as BatchOutcome);
    } catch (error) {
      this.#waiters.reject(id, error);
    }
  }

  #deliver(id: string, outcome: BatchOutcome): void {
    const { journal, clock } = this.#parts;
    if (!this.#waiters.resolve(id, outcome)) return;
    // Kept for a while all the same: who took it may be killed before it has done anything with it.
    journal.delivered(id, clock.wall()).catch((error: unknown) => this.#journalFails(error));
  }

  /** A request is done, and the journal has it. */
  #done(item: Sent, outcome: BatchOutcome, batchId: string | undefined): void {
    settleItem(this.#parts, item, outcome, batchId);
    this.#deliver(item.id, outcome);
  }

  #armPurge(): void {
    const { alarms, clock } = this.#parts;
    if (this.#isClosed) return;
    this.#purge?.cancel();
    this.#purge = alarms.set(clock.now() + PURGE_MS, () => void this.#purgeOld());
  }

  async #purgeOld(): Promise<void> {
    const { journal, clock, account, rules } = this.#parts;
    const { keep, keepDelivered } = rules().config.batch;
    const wall = clock.wall();
    try {
      const stale = await journal.stale(account, wall - keep, STALE_AT_ONCE);
      for (const id of stale) await this.#withdraw(id, { type: 'stale' });
      if (stale.length > 0) await this.#sender.refresh();
      await journal.purge({ deliveredBefore: wall - keepDelivered, doneBefore: wall - keep });
    } catch (error) {
      this.#journalFails(error);
    }
    this.#armPurge();
  }

  #journalFails(error: unknown): void {
    if (this.#isClosed) return;
    this.#parts.once.warn('HG_JOURNAL', 'journal', `the batch journal fails: ${String(error)}`);
  }

  snapshot() {
    return {
      account: this.#parts.account,
      waiting: this.#sender.waitingCount,
      processing: this.#watcher.processing,
      ...this.#watcher.snapshot(),
    };
  }

  /** Refuses new requests; those that there are go on. */
  stopTaking(): void {
    this.#isTaking = false;
  }

  /** Stops sending and looking; what is pending stays in the journal. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#purge?.cancel();
    await Promise.all([this.#sender.close(), this.#watcher.close(), this.#ready?.catch(() => undefined)]);
    this.#purge?.cancel();
    this.#waiters.rejectAll(closedError());
  }
}
