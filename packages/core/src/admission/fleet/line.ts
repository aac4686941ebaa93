import type { Alarms } from '../../alarms.ts';
import type { Clock, Timer } from '../../clock.ts';
import { type Answer, type Exchange, HEARTBEAT_MS, type Store } from '../../stores/store.ts';

/** How often a process with nothing to say tells that it lives: it counts where the others share the limits. */
const IDLE_MS = 4_000;
/** How often a ledger that did not answer is tried again. */
const PROBE_MS = 400;
/** Answers in a row before it is trusted again. */
const HEALTHY = 4;

const NEVER = Number.POSITIVE_INFINITY;

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
  /** The store will never take that message; what it told has still to be told. */
  readonly onRefused: (exchange: Exchange) => void;
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
  #saying: Promise<void> = Promise.resolve();
  #isKnown = false;
  #healthy = 0;
  #timerAt = NEVER;
  #liveAt = NEVER;
  #mode: Mode = 'shared';
  #timer: Timer | undefined;
  /** When there is something to be told, and when it is worth to ask: the first ends with each message, the second is moved by whatever is heard. */
  #tellAt = NEVER;
  #askAt = NEVER;
  /** Somebody asked while a message was under way, whose reply may know nothing of why. */
  #asksAgain = false;
  #isClosed = false;

  constructor(parts: LineParts) {
    this.#parts = parts;
  }

  get mode(): Mode {
    return this.#mode;
  }

  /** There is something to tell: by `at`, or with what is said sooner. */
  tellBy(at: number): void {
    if (at >= this.#tellAt) return;
    this.#tellAt = at;
    this.#arm();
  }

  /** Asks at `at`, and no more at the time set before. */
  askAt(at: number): void {
    this.#askAt = at;
    this.#arm();
  }

  /** As soon as the line is free, whatever time the reply to the message under way sets. */
  ask(): void {
    this.#askAt = Number.NEGATIVE_INFINITY;
    if (this.#isUnderWay) this.#asksAgain = true;
    else if (this.#mode === 'shared' && !this.#isClosed) this.#start();
  }

  /** While a message is under way, or the ledger away, the times are kept for afterwards. */
  #arm(): void {
    if (this.#isClosed || this.#isUnderWay || this.#mode === 'degraded') return;
    this.#wakeAt(Math.min(this.#tellAt, this.#askAt, this.#liveAt));
  }

  #wakeAt(at: number): void {
    if (this.#timer !== undefined && this.#timerAt === at) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#parts.alarms.set(at, () => this.#start());
  }

  #start(): void {
    if (!this.#isUnderWay) this.#saying = this.#say();
  }

  async #say(): Promise<void> {
    const { store, bucket, process, clock, build, onAnswer } = this.#parts;
    this.#isUnderWay = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#tellAt = NEVER;
    this.#askAt = NEVER;
    this.#asksAgain = false;
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
      // Said again it would be refused again, and nothing else ever be heard.
      if (isFinal(error) && this.#said !== undefined) {
        const said = this.#said;
        this.#said = undefined;
        this.#parts.onRefused(said);
      }
      this.#failed(error);
    }
    if (this.#isClosed) return;
    const now = clock.now();
    const { isBusy } = this.#parts;
    // Who has nothing to say tells that he lives.
    this.#liveAt = now + (isBusy() ? HEARTBEAT_MS : IDLE_MS);
    if (this.#mode === 'degraded') this.#wakeAt(now + PROBE_MS);
    else if (this.#asksAgain) this.#start();
    else if (this.#isKnown) this.#arm();
    else this.#wakeAt(now);
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
    await this.#saying;
    // One that was not answered has to be said again before another: there is no time for that now.
    if (this.#mode === 'degraded' || this.#said !== undefined) return;
    const last = { ...build(clock.now(), this.#isKnown), process, seq: ++this.#seq, acked: this.#acked };
    await store.exchange(bucket, last).catch(() => {});
  }
}

const isFinal = (error: unknown): boolean =>
  typeof error === 'object' && error !== null && 'isFinal' in error && error.isFinal === true;
