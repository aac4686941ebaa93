import type { Alarms } from '../alarms.ts';
import type { Clock, Timer } from '../clock.ts';
import { NOTICE_LENGTH } from '../notice.ts';
import type { Board } from './board.ts';

/** How soon others are to know: at once, or with the next notice. */
export type Haste = 'now' | 'soon';

export interface TopicOptions {
  readonly board: Board;
  readonly name: string;
  /** This one: what it says itself is not news to it. */
  readonly process: string;
  /** For how long a notice stays up. */
  readonly ttlMs: number;
  /** Between two notices, unless one is to be known at once. */
  readonly gapMs: number;
  /** After so long the same is said again, where there is still reason to say it. */
  readonly againMs: number;
  readonly alarms: Alarms;
  readonly clock: Clock;
  /** All that there is to say now; nothing where there is nothing. */
  readonly write: () => string | undefined;
  /** What another process says. Whatever it throws is kept to itself. */
  readonly hear: (process: string, notice: string, ageMs: number) => void;
  /** A notice is up, or would have said what the last did. */
  readonly onPosted?: () => void;
}

/** Milliseconds until one that could not be put up is tried again. */
const RETRY_MS = 2_000;
/** And that one may take, whatever board it is. */
const POST_MS = 2_000;

/**
 * One process's part in one topic of the notice board. What is to be said is gathered, and one notice is under way at a
 * time, however often something changes. Nobody waits for it, and whatever fails is tried again and told to nobody: the board
 * is where the ledger is, and that this cannot be reached is told already.
 */
export class Topic {
  readonly #options: TopicOptions;
  readonly #unwatch: () => void;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #writtenAt = Number.NEGATIVE_INFINITY;
  #last: { readonly notice: string; readonly at: number } | undefined;
  #underWay: Promise<void> | undefined;
  /** What has changed while a notice was under way. */
  #missed: Haste | undefined;
  #isClosed = false;

  constructor(options: TopicOptions) {
    this.#options = options;
    const { board, name, process, hear } = options;
    let unwatch = () => {};
    try {
      unwatch = board.watch(name, (other, notice, ageMs) => {
        if (this.#isClosed || other === process || notice.length > NOTICE_LENGTH || !(ageMs >= 0)) return;
        try {
          hear(other, notice, ageMs);
        } catch {
          // Not as we write it.
        }
      });
    } catch {
      // A board that is none.
    }
    this.#unwatch = unwatch;
  }

  /** There is something to say. */
  changed(haste: Haste): void {
    if (this.#isClosed) return;
    if (this.#underWay !== undefined) {
      if (this.#missed !== 'now') this.#missed = haste;
      return;
    }
    const { clock, gapMs } = this.#options;
    const now = clock.now();
    this.#wakeAt(haste === 'now' ? now : Math.max(now, this.#writtenAt + gapMs));
  }

  #wakeAt(at: number): void {
    if (at >= this.#timerAt) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    this.#timer = this.#options.alarms.set(at, () => {
      this.#forgetTimer();
      this.#underWay = this.#post().then((isUp) => this.#posted(isUp));
    });
  }

  #forgetTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
  }

  /** False where it could not be put up. */
  async #post(): Promise<boolean> {
    const { board, name, process, ttlMs, againMs, write, clock } = this.#options;
    try {
      const at = clock.now();
      this.#writtenAt = at;
      const notice = write();
      if (notice === undefined || notice.length > NOTICE_LENGTH) return true;
      if (notice === this.#last?.notice && at - this.#last.at < againMs) return true;
      await this.#bounded(board.post(name, process, notice, ttlMs));
      this.#last = { notice, at };
      return true;
    } catch {
      return false;
    }
  }

  async #bounded(posting: Promise<void>): Promise<void> {
    const { alarms, clock } = this.#options;
    let timer: Timer | undefined;
    const isLate = new Promise<never>((_, reject) => {
      timer = alarms.set(clock.now() + POST_MS, () => reject(new Error('the board does not answer')));
    });
    await Promise.race([posting, isLate]).finally(() => timer?.cancel());
  }

  #posted(isUp: boolean): void {
    this.#underWay = undefined;
    const missed = this.#missed;
    this.#missed = undefined;
    if (this.#isClosed) return;
    if (!isUp) this.#wakeAt(this.#options.clock.now() + RETRY_MS);
    else {
      if (missed !== undefined) this.changed(missed);
      this.#options.onPosted?.();
    }
  }

  /** Says what is still to be said, and is silent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#unwatch();
    const isSaid = this.#timer === undefined && this.#missed === undefined;
    this.#forgetTimer();
    await this.#underWay;
    if (!isSaid) await this.#post();
  }
}
