import type { Alarms } from '../../alarms.ts';
import type { Clock, Timer } from '../../clock.ts';
import { type Answer, type Exchange, HEARTBEAT_MS, type Store } from '../../stores/store.ts';

/** How often a process with nothing to say tells that it lives: it counts where the others share the limits. */
const IDLE_MS = 4_000;
/** How often a ledger that did not answer is tried again. */
const PROBE_MS = 400;
/** Answers in a row before it is trusted again. */
const HEALTHY = 4;

export type Mode = 'shared' | 'degraded';

export interface LineParts {
  readonly store: Store;
  readonly bucket: string;
  /** Of this start of this process. */
  readonly process: string;
  readonly clock: Clock;
  readonly alarms: Alarms;
  /** What is to be said now. Called once for each message, and what it gives is not said again. */
  readonly build: (now: number, isKnown: boolean) => Omit<Exchange, 'process' | 'seq' | 'acked'>;
  /** `exchange`: what was said. */
  readonly onAnswer: (answer: Answer, exchange: Exchange) => void;
  readonly onMode: (mode: Mode, error: unknown) => void;
  /** Whether anything runs or waits. */
  readonly isBusy: () => boolean;
}

/**
 * The line of one bucket to the ledger: one message at a time, and what comes up meanwhile goes with the next. So under
 * load each carries more, and never are two of one process on their way in an order that nobody knows. One that was not
 * answered is said again, word for word, until it is: whether it was heard or not, it is applied once.
 */
export class Line {
  readonly #parts: LineParts;
  #seq = 0;
  #acked = 0;
  #said: Exchange | undefined;
  #isUnderWay = false;
  #isKnown = false;
  #healthy = 0;
  #mode: Mode = 'shared';
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #isClosed = false;

  constructor(parts: LineParts) {
    this.#parts = parts;
  }

  get mode(): Mode {
    return this.#mode;
  }

  /** Says what there is to say by `at`, or sooner. */
  by(at: number): void {
    if (this.#isClosed || at >= this.#timerAt) return;
    if (this.#isUnderWay) {
      // Said with the next, as soon as this one is answered.
      this.#timerAt = at;
      return;
    }
    this.#arm(at);
  }

  /** As soon as the line is free. */
  ask(): void {
    if (this.#mode === 'degraded' || this.#isClosed) return;
    if (this.#isUnderWay) this.#timerAt = Number.NEGATIVE_INFINITY;
    else void this.#say();
  }

  #arm(at: number): void {
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#parts.alarms.set(at, () => void this.#say());
  }

  async #say(): Promise<void> {
    const { store, bucket, process, clock, build, onAnswer } = this.#parts;
    if (this.#isUnderWay) return;
    this.#isUnderWay = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
    try {
      this.#said ??= { ...build(clock.now(), this.#isKnown), process, seq: ++this.#seq, acked: this.#acked };
      const said = this.#said;
      const answer = await store.exchange(bucket, said);
      this.#said = undefined;
      this.#acked = said.seq;
      this.#isKnown = !answer.isUnknown || said.limits !== undefined;
      this.#isUnderWay = false;
      onAnswer(answer, said);
      this.#answered();
    } catch (error) {
      this.#isUnderWay = false;
      this.#failed(error);
    }
    if (this.#isClosed) return;
    const now = clock.now();
    const { isBusy } = this.#parts;
    // What came up meanwhile has set a time; what has not is a sign of life.
    const next = this.#mode === 'degraded' ? PROBE_MS : isBusy() ? HEARTBEAT_MS : IDLE_MS;
    const at = this.#mode === 'degraded' ? now + next : Math.min(this.#timerAt, now + next);
    if (!this.#isKnown && this.#mode === 'shared') this.#arm(now);
    else this.#arm(Math.max(now, at));
  }

  #answered(): void {
    if (this.#mode === 'shared') return;
    this.#healthy++;
    if (this.#healthy < HEALTHY) return;
    this.#mode = 'shared';
    this.#parts.onMode('shared', undefined);
  }

  #failed(error: unknown): void {
    this.#healthy = 0;
    if (this.#mode === 'degraded') return;
    this.#mode = 'degraded';
    this.#parts.onMode('degraded', error);
  }

  /** Says the last word, if the ledger listens. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    const { store, bucket, process, clock, build } = this.#parts;
    // One that is under way will be answered or not; the next one has its number.
    if (this.#mode === 'degraded' || this.#isUnderWay || this.#said !== undefined) return;
    const last = { ...build(clock.now(), this.#isKnown), process, seq: ++this.#seq, acked: this.#acked };
    await store.exchange(bucket, last).catch(() => {});
  }
}
