import type { Clock } from '../clock.ts';
import { hashOfName } from '../hash.ts';
import { MAX_NOTICES } from '../notice.ts';
import { remember } from '../remember.ts';

/** Attempts, and those of them that failed. */
export interface Counts {
  readonly sent: number;
  readonly failed: number;
}

/** What one process has seen in its window, in bounded size. */
export interface Summary extends Counts {
  /** Callers that have sent something, and those of them half of whose attempts failed. */
  readonly callers: number;
  readonly failing: number;
  /** The failing caller with the most failures, by the hash of its name. */
  readonly top?: Counts & { readonly hash: string };
}

/** How far back attempts count, in milliseconds, in slices. */
const WINDOW_MS = 5_000;
const SLICES = 10;
/** Callers of one window that are told apart: past it the oldest are forgotten. */
const MAX_CALLERS = 1_024;
/** Attempts that are enough to tell, of all callers, and without the caller that fails most. */
const ENOUGH = 20;
const ENOUGH_WITHOUT_TOP = 10;
const FAILED_SHARE = 0.5;

const isFailing = ({ sent, failed }: Counts) => failed > 0 && failed >= FAILED_SHARE * sent;

/** Whether enough of one caller's own attempts failed. Pure. */
export const isEnoughOfOne = (counts: Counts) => counts.sent >= ENOUGH && isFailing(counts);

/**
 * Whether most callers fail, each counted once, and not by the doing of one: without the caller that fails most the rest
 * must show it too. Pure.
 */
export function isOutOfOrder(summaries: readonly Summary[]): boolean {
  let [sent, callers, failing] = [0, 0, 0];
  const tops = new Map<string, { failed: number; sent: number; places: number }>();
  for (const summary of summaries) {
    sent += summary.sent;
    callers += summary.callers;
    failing += summary.failing;
    const { top } = summary;
    if (top === undefined) continue;
    const known = tops.get(top.hash) ?? { failed: 0, sent: 0, places: 0 };
    tops.set(top.hash, {
      failed: known.failed + top.failed,
      sent: known.sent + top.sent,
      places: known.places + 1,
    });
  }
  if (sent < ENOUGH || failing <= FAILED_SHARE * callers) return false;
  let top = { failed: 0, sent: 0, places: 0 };
  for (const each of tops.values()) if (each.failed > top.failed) top = each;
  const [rest, restFailing] = [callers - top.places, failing - top.places];
  return sent - top.sent >= ENOUGH_WITHOUT_TOP && restFailing > 0 && restFailing >= FAILED_SHARE * rest;
}

interface Slice {
  readonly since: number;
  readonly byCaller: Map<string, { sent: number; failed: number }>;
}

interface Heard {
  readonly summary: Summary;
  readonly until: number;
}

/** What was sent to a model in the last five seconds, and what of it failed, by caller; and in other processes as they tell. */
export class FailureWindow {
  readonly #clock: Clock;
  #slices: Slice[] = [];
  /** The sum of the slices. */
  #byCaller = new Map<string, { sent: number; failed: number }>();
  readonly #heard = new Map<string, Heard>();
  #isFailing = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  sent(caller: string): void {
    this.#add(caller, 1, 0);
  }

  failed(caller: string): void {
    this.#add(caller, 0, 1);
    this.#isFailing = true;
  }

  #add(caller: string, sent: number, failed: number): void {
    const slice = this.#slice();
    for (const counts of [slice.byCaller, this.#byCaller]) {
      const known = counts.get(caller);
      if (known === undefined) remember(counts, caller, { sent, failed }, MAX_CALLERS);
      else {
        known.sent += sent;
        known.failed += failed;
      }
    }
  }

  /** What another process has told, in place of what it told before. */
  heard(process: string, summary: Summary, ageMs: number): void {
    this.#heard.delete(process);
    const until = this.#clock.now() + WINDOW_MS - ageMs;
    if (summary.sent === 0 || until <= this.#clock.now()) return;
    remember(this.#heard, process, { summary, until }, MAX_NOTICES);
    if (summary.failed > 0) this.#isFailing = true;
  }

  /** Of this process. */
  get own(): Summary {
    this.#forget();
    let [sent, failed, failing] = [0, 0, 0];
    let top: (Counts & { readonly name: string }) | undefined;
    for (const [name, counts] of this.#byCaller) {
      sent += counts.sent;
      failed += counts.failed;
      if (!isFailing(counts)) continue;
      failing++;
      if (counts.failed > (top?.failed ?? 0)) top = { ...counts, name };
    }
    const summary = { sent, failed, callers: this.#byCaller.size, failing };
    if (top === undefined) return summary;
    return { ...summary, top: { hash: hashOfName(top.name), sent: top.sent, failed: top.failed } };
  }

  /** Of every process that has sent something. */
  get all(): Summary[] {
    const now = this.#clock.now();
    const { own } = this;
    const all = own.sent > 0 ? [own] : [];
    for (const [process, { summary, until }] of this.#heard) {
      if (until <= now) this.#heard.delete(process);
      else all.push(summary);
    }
    return all;
  }

  /** Of one caller: here, and where it is the one that fails most. */
  of(caller: string): Counts {
    this.#forget();
    let { sent, failed } = this.#byCaller.get(caller) ?? { sent: 0, failed: 0 };
    if (this.#heard.size === 0) return { sent, failed };
    const hash = hashOfName(caller);
    const now = this.#clock.now();
    for (const { summary, until } of this.#heard.values()) {
      if (until <= now || summary.top?.hash !== hash) continue;
      sent += summary.top.sent;
      failed += summary.top.failed;
    }
    return { sent, failed };
  }

  /** Something has failed lately, here or elsewhere: then everybody's counts are of use. */
  get isFailing(): boolean {
    this.#isFailing &&= this.all.some(({ failed }) => failed > 0);
    return this.#isFailing;
  }

  /** What a caller has sent says nothing any more. */
  forget(caller: string): void {
    for (const { byCaller } of this.#slices) byCaller.delete(caller);
    this.#byCaller.delete(caller);
  }

  clear(): void {
    this.#slices = [];
    this.#byCaller.clear();
    this.#heard.clear();
    this.#isFailing = false;
  }

  #forget(): void {
    const now = this.#clock.now();
    while (this.#slices[0] !== undefined && now - this.#slices[0].since >= WINDOW_MS) {
      for (const [caller, { sent, failed }] of this.#slices.shift()?.byCaller ?? []) {
        const sum = this.#byCaller.get(caller);
        if (sum === undefined) continue;
        sum.sent -= sent;
        sum.failed -= failed;
        if (sum.sent <= 0 && sum.failed <= 0) this.#byCaller.delete(caller);
      }
    }
  }

  /** The slice of the window that is now. */
  #slice(): Slice {
    this.#forget();
    const now = this.#clock.now();
    let last = this.#slices.at(-1);
    if (last === undefined || now - last.since >= WINDOW_MS / SLICES) {
      last = { since: now, byCaller: new Map() };
      this.#slices.push(last);
    }
    return last;
  }
}
