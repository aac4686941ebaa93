import type { Timer } from '../clock.ts';
import { AbortedError } from '../errors.ts';
import type { Parts } from './parts.ts';
import type { LinkedSignal } from './signals.ts';

/** How long an answer is read on when its reader is gone, in milliseconds. */
const DRAIN_MS = 30_000;

/**
 * The time limits of one attempt: the call's deadline, and, once the headers are there, how long the body may go
 * without a read asked for or answered. One alarm looks at both now and then; setting one for every chunk of a
 * stream would cost more than the chunk.
 */
export class Watch {
  readonly #parts: Parts;
  readonly #link: LinkedSignal;
  readonly #deadlineAt: number;
  readonly #idleMs: number;
  #alarm: Timer;
  /** Absent until the headers are there: until then only the deadline counts. */
  #activeAt: number | undefined;
  /** A read of the body is not answered yet: the silence is the API's. */
  #isAsked = false;
  #drainUntil: number | undefined;

  constructor(parts: Parts, link: LinkedSignal, deadlineAt: number, idleMs: number) {
    this.#parts = parts;
    this.#link = link;
    this.#deadlineAt = deadlineAt;
    this.#idleMs = idleMs;
    this.#alarm = this.#arm(parts.clock.now() + this.#idleMs);
  }

  /** More of the body is asked for. */
  asked(): void {
    this.#isAsked = true;
    this.#activeAt = this.#parts.clock.now();
  }

  /** Some of the body has come. */
  moved(): void {
    this.#isAsked = false;
    this.#activeAt = this.#parts.clock.now();
  }

  /** The reader is gone, and the body is read on without it: not for ever. */
  drain(): void {
    this.#drainUntil ??= this.#parts.clock.now() + DRAIN_MS;
    this.#alarm.cancel();
    this.#alarm = this.#arm(this.#drainUntil);
  }

  stop(): void {
    this.#alarm.cancel();
  }

  #arm(at: number): Timer {
    return this.#parts.alarms.set(Math.min(at, this.#deadlineAt), () => this.#look());
  }

  #look(): void {
    const now = this.#parts.clock.now();
    const idleAt = (this.#activeAt ?? now) + this.#idleMs;
    if (now >= (this.#drainUntil ?? Number.POSITIVE_INFINITY)) {
      this.#link.abort(
        new AbortedError('the answer took too long to read on for nobody', { reason: 'aborted' }),
      );
    } else if (now >= this.#deadlineAt) {
      this.#link.abort(
        new AbortedError('the deadline passed before the call was done', { reason: 'deadline' }),
      );
    } else if (now >= idleAt) {
      this.#link.abort(
        this.#isAsked
          ? new AbortedError('the API has sent nothing for too long', { reason: 'upstream_stalled' })
          : new AbortedError('nothing was read of the response for too long', { reason: 'stream_idle' }),
      );
    } else this.#alarm = this.#arm(idleAt);
  }
}
