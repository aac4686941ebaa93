import type { Clock } from '../clock.ts';
import { MAX_NOTICES } from '../notice.ts';

/** Attempts, and those of them that failed. */
export interface Counts {
  readonly sent: number;
  readonly failed: number;
}

interface Slice {
  readonly since: number;
  failed: number;
  sent: number;
}

/** How far back attempts count. */
const WINDOW_MS = 5_000;
const SLICES = 10;
/** What was sent to a model in the last five seconds, and what of it failed: here, and in other processes as they tell. */
export class Tally {
  readonly #clock: Clock;
  #slices: Slice[] = [];
  readonly #heard = new Map<string, Counts & { readonly until: number }>();
  #isFailing = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  sent(): void {
    this.#slice().sent++;
  }

  failed(): void {
    this.#slice().failed++;
    this.#isFailing = true;
  }

  /** What another process has told, in place of what it told before. */
  heard(process: string, { sent, failed }: Counts, ageMs: number): void {
    this.#heard.delete(process);
    const now = this.#clock.now();
    const until = now + WINDOW_MS - ageMs;
    if (sent === 0 || until <= now || this.#heard.size >= MAX_NOTICES) return;
    this.#heard.set(process, { sent, failed, until });
    if (failed > 0) this.#isFailing = true;
  }

  get own(): Counts {
    this.#forget();
    let sent = 0;
    let failed = 0;
    for (const slice of this.#slices) {
      sent += slice.sent;
      failed += slice.failed;
    }
    return { sent, failed };
  }

  /** Of all processes. */
  get all(): Counts {
    const now = this.#clock.now();
    let { sent, failed } = this.own;
    for (const [process, counts] of this.#heard) {
      if (counts.until <= now) {
        this.#heard.delete(process);
        continue;
      }
      sent += counts.sent;
      failed += counts.failed;
    }
    return { sent, failed };
  }

  /** Something has failed lately, here or elsewhere: then everybody's counts are of use. */
  get isFailing(): boolean {
    this.#isFailing &&= this.all.failed > 0;
    return this.#isFailing;
  }

  clear(): void {
    this.#slices = [];
    this.#heard.clear();
    this.#isFailing = false;
  }

  #forget(): void {
    const now = this.#clock.now();
    while (this.#slices[0] !== undefined && now - this.#slices[0].since >= WINDOW_MS) this.#slices.shift();
  }

  /** The slice of the window that is now. */
  #slice(): Slice {
    this.#forget();
    const now = this.#clock.now();
    let last = this.#slices.at(-1);
    if (last === undefined || now - last.since >= WINDOW_MS / SLICES) {
      last = { since: now, failed: 0, sent: 0 };
      this.#slices.push(last);
    }
    return last;
  }
}
