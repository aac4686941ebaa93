import type { Clock } from '../clock.ts';

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
/** Processes whose counts are kept, at most. */
const MAX_PROCESSES = 64;
/**
 * So long after the first failure that is known here everybody has told of what it sent: before that, who fails would be
 * seen and who does not would be missing.
 */
const SETTLED_MS = 1_000;

/** What was sent to a model in the last five seconds, and what of it failed: here, and in other processes as they tell. */
export class Tally {
  readonly #clock: Clock;
  #slices: Slice[] = [];
  readonly #heard = new Map<string, Counts & { readonly until: number }>();
  #failingSince: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  sent(): void {
    this.#slice().sent++;
  }

  failed(): void {
    this.#slice().failed++;
    this.#failingSince ??= this.#clock.now();
  }

  /** What another process has told, in place of what it told before. */
  heard(process: string, { sent, failed }: Counts, ageMs: number): void {
    this.#heard.delete(process);
    const now = this.#clock.now();
    const until = now + WINDOW_MS - ageMs;
    if (sent === 0 || until <= now || this.#heard.size >= MAX_PROCESSES) return;
    this.#heard.set(process, { sent, failed, until });
    if (failed > 0) this.#failingSince ??= now;
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
    if (this.#failingSince === undefined) return false;
    if (this.all.failed > 0) return true;
    this.#failingSince = undefined;
    return false;
  }

  /** Everybody has had the time to tell. */
  get isSettled(): boolean {
    return (
      this.isFailing && this.#clock.now() - (this.#failingSince ?? Number.POSITIVE_INFINITY) >= SETTLED_MS
    );
  }

  clear(): void {
    this.#slices = [];
    this.#heard.clear();
    this.#failingSince = undefined;
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
