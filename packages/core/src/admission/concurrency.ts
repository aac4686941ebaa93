import { remember } from '../remember.ts';
import { keptSlots } from '../slots.ts';
import { Opening } from './opening.ts';
import { OverloadCap } from './overload-cap.ts';
import type { OwnPlace } from './own-crowd.ts';
import { OwnCrowds } from './own-crowds.ts';
import { RefusalCap } from './refusal-cap.ts';

/**
 * How many calls may be in flight at once. What is configured holds always. Beyond it there is no cap while the API
 * keeps up: an API that charges by the minute is used best by as many calls as fit its minute, however long each takes.
 * Three things cap it: a bucket that is new (opening.ts), refusals that name no time (refusal-cap.ts) and overload
 * (overload-cap.ts). What was learned is forgotten once nothing has pressed against it for five minutes. What the API
 * refuses one caller alone, while it answers others, caps that caller's calls (own-crowds.ts).
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
  /** Its place among its caller's calls, where these are capped. */
  own: OwnPlace | undefined;
}

/** Calls in flight, the one that is asked about among them. */
export interface Flying<T extends Placed = Placed> extends Iterable<T> {
  readonly size: number;
}

/**
 * What a refusal that names no time was for: too many calls at once for all; too many of its caller's; or nothing that
 * has to do with how many there are.
 */
export type Congestion = 'all' | 'own' | 'none';

export class Concurrency {
  #configured: number | undefined;
  readonly #opening = new Opening();
  #refusals = new RefusalCap();
  #overload = new OverloadCap();
  /** Callers that were refused, or met an overloaded API, each with the last time. */
  readonly #refused = new Map<string, number>();
  readonly #overloaded = new Map<string, number>();
  /** Who was answered last, and when; and when anybody else was. */
  #answeredBy: string | undefined;
  #answeredAt = Number.NEGATIVE_INFINITY;
  #otherAnsweredAt = Number.NEGATIVE_INFINITY;
  /** The caller who was the only one there when a cap was learned. */
  #lone: string | undefined;
  /** Caps of single callers. */
  readonly own = new OwnCrowds();
  /** Other callers may be known to other processes alone. */
  readonly #isShared: boolean;
  /** When a learned cap was last as good as used up. */
  #pressedAt = Number.NEGATIVE_INFINITY;

  constructor(configured: number | undefined, isShared = false) {
    this.#configured = configured;
    this.#isShared = isShared;
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
    if (now - this.#pressedAt > FORGET_MS && Number.isFinite(this.#pressedAt)) this.#forgetAll();
    this.#pressedAt = now;
  }

  /** A call was answered. */
  answered({ startedAt, among, caller, own }: Placed, now: number): void {
    if (caller !== this.#answeredBy) {
      this.#otherAnsweredAt = this.#answeredAt;
      this.#answeredBy = caller;
    }
    this.#answeredAt = now;
    this.#opening.answered(among);
    this.#refusals.answered(startedAt, among);
    own?.crowd.answered(startedAt, own.among);
  }

  /**
   * A call was refused without a time. That concerns everybody where a second caller was refused too, or where there is no
   * other caller; else it concerns the caller's own calls.
   */
  refused(call: Placed, flights: Flying, now: number): Congestion {
    const { caller, startedAt, among } = call;
    const isOne =
      isOnly(caller, this.#refused, TOGETHER_MS, now) && !this.own.hasOther(caller, ALIVE_MS, now);
    // A trial that is refused leaves things as they are, whoever it was.
    const isTrial = call.own === undefined && this.#refusals.isTrial(among);
    if (isOne && !isTrial && this.#hasOthers(caller, flights, now))
      return this.#ownRefused(call, flights, now);
    const active = flights.size - 1;
    if (isOne && !isTrial && active === 0) {
      // Nothing of the volley was taken: this is no matter of how many.
      this.#refusals.forget();
      return 'none';
    }
    if (!Number.isFinite(this.#learned)) this.#opening.restart();
    if (!isOne) this.own.clear(now);
    this.#learns(isOne ? caller : undefined, now);
    this.#refusals.refused(startedAt, among, active, now);
    return active > 0 || now - this.#answeredAt < ALIVE_MS ? 'all' : 'none';
  }

  /** One caller alone was refused: what it has in flight beside is what it may have. */
  #ownRefused(call: Placed, flights: Flying, now: number): Congestion {
    const { caller, startedAt } = call;
    const crowd = this.own.of(caller, now);
    const active = crowd?.active ?? countOf(flights, caller);
    if (crowd === undefined) {
      if (active <= 1) return 'none';
      this.own.open(caller, flights, now).refused(startedAt, call.own?.among ?? active, now);
      return 'own';
    }
    crowd.refused(startedAt, call.own?.among ?? active, now);
    return active > 1 ? 'own' : 'none';
  }

  /** A call met an overloaded API: fewer run where a second caller met it too, or where there is no other. */
  overloaded(call: Placed, flights: Flying, now: number): boolean {
    const { caller, startedAt } = call;
    const isOne = isOnly(caller, this.#overloaded, ALIVE_MS, now);
    if (isOne && this.#hasOthers(caller, flights, now)) {
      const crowd = this.own.of(caller, now) ?? this.own.open(caller, flights, now);
      crowd.overloaded(startedAt, now);
      return false;
    }
    this.#learns(isOne ? caller : undefined, now);
    this.#overload.overloaded(startedAt, flights.size, now);
    return true;
  }

  /** A cap for all is learned, or lowered: of `lone`, where there is nobody else. */
  #learns(lone: string | undefined, now: number): void {
    if (lone === undefined || !Number.isFinite(this.#learned)) this.#lone = lone;
    this.#pressedAt = now;
  }

  /** Whether somebody else has calls in flight, or was answered lately. */
  #hasOthers(caller: string, flights: Flying, now: number): boolean {
    if (this.#isShared) return true;
    const answeredAt = this.#answeredBy === caller ? this.#otherAnsweredAt : this.#answeredAt;
    return now - answeredAt < ALIVE_MS || hasOther(flights, caller);
  }

  /** Whether this caller alone is there, and was answered lately: what it is refused for now is news. */
  isAloneAndWell({ caller }: Placed, flights: Flying, now: number): boolean {
    const isWell = this.#answeredBy === caller && now - this.#answeredAt < ALIVE_MS;
    return isWell && !this.#hasOthers(caller, flights, now);
  }

  /** A call comes: what one caller alone has taught concerns that caller alone from now on. */
  arrives(caller: string, flights: Flying, now: number): void {
    const lone = this.#lone;
    if (lone === undefined || lone === caller) return;
    this.#lone = undefined;
    if (!Number.isFinite(this.#learned)) return;
    this.own.open(lone, flights, now, { refusals: this.#refusals, overload: this.#overload });
    this.#refusals = new RefusalCap();
    this.#overload = new OverloadCap();
  }

  /** A call has ended, and is counted no more; `active` are left. */
  ended({ startedAt, own }: Placed, active: number, now: number): void {
    this.#refusals.ended(startedAt);
    this.#overload.ended(startedAt, active);
    own?.crowd.ended(startedAt, now);
  }

  /** As if the API had always kept up. */
  forget(now: number): void {
    this.#forgetAll();
    this.own.clear(now);
  }

  #forgetAll(): void {
    this.#refusals.forget();
    this.#overload.forget();
    this.#opening.restart();
    this.#refused.clear();
    this.#overloaded.clear();
    this.#lone = undefined;
  }
}

/** Notes that it happened to the caller; whether it has happened to no other caller within `ms`. */
function isOnly(caller: string, times: Map<string, number>, ms: number, now: number): boolean {
  for (const [each, at] of times) if (now - at > ms) times.delete(each);
  remember(times, caller, now, MAX_REFUSED);
  return times.size === 1;
}

function hasOther(flights: Flying, own: string): boolean {
  for (const { caller } of flights) if (caller !== own) return true;
  return false;
}

function countOf(flights: Flying, own: string): number {
  let count = 0;
  for (const { caller } of flights) if (caller === own) count++;
  return count;
}
