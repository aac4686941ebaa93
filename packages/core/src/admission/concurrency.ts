import { remember } from '../remember.ts';
import { keptSlots } from '../slots.ts';
import { Opening } from './opening.ts';
import { OverloadCap } from './overload-cap.ts';
import { RefusalCap } from './refusal-cap.ts';

/**
 * How many calls may be in flight at once. What is configured holds always. Beyond it there is no cap while the API
 * keeps up: an API that charges by the minute is used best by as many calls as fit its minute, however long each takes.
 * Three things cap it: a bucket that is new (opening.ts), refusals that name no time (refusal-cap.ts) and overload
 * (overload-cap.ts). What was learned is forgotten once nothing has pressed against it for five minutes.
 */
const FORGET_MS = 5 * 60_000;
/** Callers whose refusals belong together, in milliseconds; those of one caller alone say nothing of the API. */
const TOGETHER_MS = 1_000;
/** An API that has answered within this time takes some calls, in milliseconds. */
const ALIVE_MS = 10_000;
/** Refused callers that are told apart: two are enough. */
const MAX_REFUSED = 16;

/** A call as far as its place among others is concerned. */
export interface Placed {
  readonly startedAt: number;
  /** Calls in flight when it was sent, itself included. */
  readonly among: number;
  /** On whose behalf it was sent. */
  readonly caller: string;
}

/** What a refusal that names no time was for: too many calls at once for all, or something of its caller's own. */
export type Congestion = 'all' | 'own';

export class Concurrency {
  #configured: number | undefined;
  readonly #opening = new Opening();
  readonly #refusals = new RefusalCap();
  readonly #overload = new OverloadCap();
  /** Callers that were refused, or met an overloaded API, each with the last time. */
  readonly #refused = new Map<string, number>();
  readonly #overloaded = new Map<string, number>();
  /** The largest number of calls in flight that the API has lately answered one of, by caller. */
  #borne: { among: number; caller: string; sentAt: number } | undefined;
  #answeredAt = Number.NEGATIVE_INFINITY;
  #answeredBy: string | undefined;
  /** When a learned cap was last as good as used up. */
  #pressedAt = Number.NEGATIVE_INFINITY;

  constructor(configured: number | undefined) {
    this.#configured = configured;
  }

  configure(configured: number | undefined): void {
    this.#configured = configured;
  }

  /** Calls that may be in flight, where that is bounded by what was configured or learned. */
  get limit(): number | undefined {
    const limit = Math.min(this.#configured ?? Number.POSITIVE_INFINITY, this.#learned);
    return Number.isFinite(limit) ? limit : undefined;
  }

  get #learned(): number {
    return Math.min(this.#refusals.limit, this.#overload.limit);
  }

  /** Rounds in which `calls` are served while overload alone caps how many run; absent where it does not. */
  roundsOf(calls: number): number | undefined {
    const { limit } = this.#overload;
    const others = Math.min(this.#configured ?? Number.POSITIVE_INFINITY, this.#refusals.limit);
    return limit < others ? this.#overload.roundsOf(calls) : undefined;
  }

  /**
   * What holds one more call up beside `active`: how long, where that is known. `reserve`: the share of the slots that the
   * call's lane may not use.
   */
  shortage(
    active: number,
    reserve: number,
    now: number,
  ): { readonly waitMs: number | undefined } | undefined {
    const limit = this.limit ?? Number.POSITIVE_INFINITY;
    const kept = keptSlots(limit, reserve);
    if (active >= (this.#configured ?? Number.POSITIVE_INFINITY) - kept) return { waitMs: undefined };
    if (!Number.isFinite(this.#learned)) {
      // Whoever configures a number knows what the API bears.
      const waitMs = this.#configured === undefined ? this.#opening.waitMs(active, now) : 0;
      return waitMs > 0 ? { waitMs } : undefined;
    }
    const restsMs = this.#refusals.restsMs(now);
    if (restsMs > 0) return { waitMs: restsMs };
    if (active + 1 >= this.#learned) this.#pressed(now);
    const used = active + kept;
    const hasRoom = used < this.#overload.limit && this.#refusals.hasRoom(used);
    return hasRoom ? undefined : { waitMs: undefined };
  }

  #pressed(now: number): void {
    if (now - this.#pressedAt > FORGET_MS && Number.isFinite(this.#pressedAt)) this.forget();
    this.#pressedAt = now;
  }

  /** A call was answered. */
  answered({ startedAt, among, caller }: Placed, now: number): void {
    this.#answeredAt = now;
    this.#answeredBy = caller;
    this.#opening.answered(among);
    this.#refusals.answered(startedAt, among);
    const { sentAt = Number.NEGATIVE_INFINITY } = this.#borne ?? {};
    if (startedAt > sentAt + TOGETHER_MS || among >= (this.#borne?.among ?? 0))
      this.#borne = { among, caller, sentAt: Math.max(startedAt, sentAt) };
  }

  /**
   * A call was refused without a time; `callers` are those of the `active` calls that are still in flight. The refusal
   * concerns everybody where a second caller was refused too, or where there is no other caller, and where no
   * other caller's call was answered that had as many beside it at the same time.
   */
  refused(call: Placed, active: number, callers: Iterable<string>, now: number): Congestion {
    for (const [caller, at] of this.#refused) if (now - at > TOGETHER_MS) this.#refused.delete(caller);
    remember(this.#refused, call.caller, now, MAX_REFUSED);
    // A trial that is refused leaves things as they are, whoever it was.
    const isAlone = this.#refused.size === 1 && !this.#refusals.isTrial(call.among);
    if (isAlone && hasOther(callers, call.caller)) return 'own';
    const { among = 0, caller = call.caller, sentAt = 0 } = this.#borne ?? {};
    const isContradicted =
      isAlone && caller !== call.caller && among >= call.among && call.startedAt - sentAt < TOGETHER_MS;
    if (isContradicted) return 'own';
    if (isAlone && active === 0) {
      // Nothing of the volley was taken: this is no matter of how many.
      this.#refusals.forget();
      return 'own';
    }
    if (!Number.isFinite(this.#learned)) this.#opening.restart();
    this.#pressedAt = now;
    this.#refusals.refused(call.startedAt, call.among, active, now);
    return active > 0 || now - this.#answeredAt < ALIVE_MS ? 'all' : 'own';
  }

  /** A call met an overloaded API: fewer run where a second caller met it too, or where there is no other. */
  overloaded({ startedAt, caller }: Placed, active: number, callers: Iterable<string>, now: number): boolean {
    for (const [each, at] of this.#overloaded) if (now - at > ALIVE_MS) this.#overloaded.delete(each);
    remember(this.#overloaded, caller, now, MAX_REFUSED);
    if (this.#overloaded.size < 2 && this.#hasOthers(caller, callers, now)) return false;
    this.#pressedAt = now;
    this.#overload.overloaded(startedAt, active, now);
    return true;
  }

  /** Whether somebody else has calls in flight, or was answered lately. */
  #hasOthers(caller: string, callers: Iterable<string>, now: number): boolean {
    const isOthers = this.#answeredBy !== undefined && this.#answeredBy !== caller;
    return hasOther(callers, caller) || (isOthers && now - this.#answeredAt < ALIVE_MS);
  }

  /** Whether this caller alone is there, and was answered lately: what it is refused for now is news. */
  isAloneAndWell(call: Pick<Placed, 'caller'>, callers: Iterable<string>, now: number): boolean {
    const isWell = this.#answeredBy === call.caller && now - this.#answeredAt < ALIVE_MS;
    return isWell && !hasOther(callers, call.caller);
  }

  ended(startedAt: number, active: number): void {
    this.#refusals.ended(startedAt);
    this.#overload.ended(startedAt, active);
  }

  /** As if the API had always kept up. */
  forget(): void {
    this.#refusals.forget();
    this.#overload.forget();
    this.#opening.restart();
    this.#refused.clear();
    this.#overloaded.clear();
    this.#borne = undefined;
  }
}

function hasOther(callers: Iterable<string>, own: string): boolean {
  for (const caller of callers) if (caller !== own) return true;
  return false;
}
