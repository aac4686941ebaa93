import type { AmountName, LedgerEvent, Path } from '../store.ts';
import {
  availableOf,
  behindOf,
  boundBy,
  capacityOf,
  charge,
  emptyUntil,
  grow,
  hold,
  type LimitState,
  levelOf,
  NEVER,
  observe,
  openLimit,
  refillOf,
  refused,
  resize,
  sendOff,
  slow,
  visibleOf,
  waitForAmount,
} from './limit.ts';
import { addSum, emptySum, flatten, lowestAhead, mostAhead, type PathSum, sumOf, unflatten } from './path.ts';
import type { Books, BucketState } from './state.ts';
import type { ProcessState } from './turns.ts';

/** The bucket of an account, as admission/upstream.ts keeps it, over all processes. */
export const NAMES: readonly AmountName[] = ['requests', 'inputTokens', 'outputTokens'];
const EMPTY: Record<AmountName, number> = { requests: 0, inputTokens: 1_000, outputTokens: 500 };
const REASON: Record<AmountName, string> = {
  requests: 'requests_per_minute',
  inputTokens: 'input_tokens_per_minute',
  outputTokens: 'output_tokens_per_minute',
};
const LEAST_RAMP_MS = 500;
const GUESS_MARGIN = 1.5;
/** A forecast that moves is asked again so much later at the least: each asking is a message. */
const RECHECK_MS = 50;
/** Where the sums over all processes are kept; they are made anew when they are not there. */
export const SUM = 's';
/** How old the sums may be. */
const SUM_MS = 200;
/** Of a bucket whose ledger has lost part of its memory: what it lost may be the rest. */
const LOSSY = 0.5;
const DECREASE = 0.7;
const EPOCH_MS = 10_000;
const HEADROOM = 1.25;
/** No wait is known: an event must come first. */
export const UNKNOWN_WAIT = -1;

export interface Asked {
  readonly chargesTokens: boolean;
  readonly inputTokens: number;
  readonly inputHeld: number;
  readonly outputTokens: number;
  readonly path: Path | undefined;
}

export interface Short {
  readonly reason: string;
  readonly waitMs: number;
}

/** The limits that hold are the smallest that any process is configured with: so two policies can share a ledger. */
export function configure(state: BucketState, books: Books, now: number): void {
  const least: Record<string, number> = {};
  for (const process of Object.keys(state.processes).sort())
    for (const [name, value] of Object.entries(state.processes[process]?.limits ?? {}))
      least[name] = Math.min(least[name] ?? Number.POSITIVE_INFINITY, value);
  const burst = least.burst ?? 0;
  const isOtherBurst = burst !== (state.configured.burst ?? 0);
  for (const name of NAMES) {
    const perMinute = least[name];
    const known = state.limits[name];
    if (known === undefined || known.source === 'probe') {
      if (perMinute !== undefined)
        state.limits[name] = openLimit(name, perMinute, 'configured', { burst }, now);
    } else if ((perMinute !== undefined && perMinute !== state.configured[name]) || isOtherBurst)
      resize(known, perMinute ?? known.perMinute, burst, books.side, now);
  }
  const count = NAMES.filter((name) => state.limits[name] !== undefined).length;
  if (count === 0) state.limits.requests = openLimit('requests', 60, 'probe', {}, now);
  else if (count > 1 && state.limits.requests?.source === 'probe') delete state.limits.requests;
  state.configured = least;
}

export function callsOf(state: BucketState): number {
  let calls = 0;
  for (const process of Object.values(state.processes)) calls += process.calls;
  return calls;
}

export function mostCalls(state: BucketState): number {
  const learned = state.learnedCalls > 0 ? Math.floor(state.learnedCalls) : Number.POSITIVE_INFINITY;
  return Math.min(state.configured.concurrency ?? Number.POSITIVE_INFINITY, learned);
}

function varianceOf(state: BucketState): number {
  let variance = 0;
  for (const name of Object.keys(state.processes).sort()) variance += state.processes[name]?.variance ?? 0;
  return variance;
}

/** Sums of what the calls of all processes are going to produce. */
export function pathSum(state: BucketState, books: Books, now: number): PathSum {
  const kept = books.side.get(SUM);
  if (kept !== undefined) {
    const known = unflatten(kept);
    if (now - known.base < SUM_MS && now >= known.base) return known;
  }
  const sum = emptySum(now);
  for (const name of Object.keys(state.processes).sort()) {
    const own = books.side.get(`v:${name}`);
    if (own !== undefined) addSum(sum, unflatten(own));
  }
  books.side.set(SUM, flatten(sum));
  return sum;
}

/** What stands in the way of a call, or nothing. `saved`: input put by for another. */
export function shortageOf(
  state: BucketState,
  books: Books,
  asked: Asked,
  reserve: number,
  saved: number,
  now: number,
): Short | undefined {
  if (now < state.pausedUntil) return { reason: 'upstream_paused', waitMs: state.pausedUntil - now };
  const calls = callsOf(state);
  if (calls >= mostCalls(state)) return { reason: 'concurrency', waitMs: UNKNOWN_WAIT };
  let worst: Short | undefined;
  for (const name of NAMES) {
    const limit = state.limits[name];
    if (limit === undefined) continue;
    const reserved = capacityOf(limit) * reserve + (name === 'inputTokens' ? saved : 0);
    const waitMs =
      name === 'outputTokens' && asked.path !== undefined
        ? outputWait(state, books, limit, asked.path, reserved, calls, now)
        : amountWait(limit, amountOf(asked, name), reserved, now);
    if (waitMs > 0 && waitMs > (worst?.waitMs ?? 0)) worst = { reason: REASON[name], waitMs };
  }
  return worst;
}

const amountWait = (limit: LimitState, amount: number, reserved: number, now: number): number =>
  amount <= 0 ? 0 : waitForAmount(limit, amount, reserved, now);

function amountOf(asked: Asked, name: AmountName): number {
  if (name === 'requests') return 1;
  if (!asked.chargesTokens) return 0;
  return name === 'inputTokens' ? asked.inputTokens + asked.inputHeld : asked.outputTokens;
}

function outputWait(
  state: BucketState,
  books: Books,
  limit: LimitState,
  path: Path,
  reserved: number,
  calls: number,
  now: number,
): number {
  const unsure = GUESS_MARGIN * Math.sqrt(varianceOf(state));
  const level = availableOf(limit, now) - reserved - behindOf(limit) - visibleOf(limit) - unsure;
  const capacity = capacityOf(limit) - reserved - visibleOf(limit) - unsure;
  const isIdle = calls === 0 && level >= capacity - 1;
  if (isIdle) return 0;
  const sum = pathSum(state, books, now);
  // With room for all of it at once, no path ahead is too low.
  if (level >= mostAhead(sum, path)) return 0;
  const missing = -lowestAhead(sum, path, level, capacity, refillOf(limit), now);
  if (missing <= 0) return 0;
  grow(limit, now);
  return Math.max(RECHECK_MS, missing / Math.max(1e-9, refillOf(limit)));
}

/** Takes what a call asks for. */
export function admit(
  state: BucketState,
  books: Books,
  asked: Asked,
  name: string,
  process: ProcessState,
  now: number,
): void {
  const { requests, inputTokens, outputTokens } = state.limits;
  if (requests !== undefined) sendOff(requests, 1, 0, books.side, now);
  process.calls += 1;
  if (!asked.chargesTokens) return;
  process.inputHeld += asked.inputHeld;
  if (inputTokens !== undefined) sendOff(inputTokens, asked.inputTokens, asked.inputHeld, books.side, now);
  if (asked.path === undefined) {
    if (outputTokens !== undefined) sendOff(outputTokens, asked.outputTokens, 0, books.side, now);
    return;
  }
  const next = sumOf(asked.path, now);
  const sum = pathSum(state, books, now);
  addSum(sum, next);
  books.side.set(SUM, flatten(sum));
  const own = books.side.get(`v:${name}`);
  const mine = own === undefined ? emptySum(now) : unflatten(own);
  addSum(mine, next);
  books.side.set(`v:${name}`, flatten(mine));
}

/** What a dead process held is charged: nobody knows what became of it. */
export function bury(state: BucketState, books: Books, name: string, now: number): void {
  const process = state.processes[name];
  if (process === undefined) return;
  const { inputTokens, outputTokens } = state.limits;
  if (inputTokens !== undefined && process.inputHeld > 0) {
    charge(inputTokens, process.inputHeld, books.side, now);
    hold(inputTokens, -process.inputHeld, books.side, now);
  }
  const own = books.side.get(`v:${name}`);
  if (own !== undefined && outputTokens !== undefined) {
    const rest = unflatten(own).use.at(-1) ?? 0;
    if (rest > 0) charge(outputTokens, rest, books.side, now);
  }
  books.side.delete(`v:${name}`);
  for (const lane of Object.keys(process.heads)) books.side.delete(`h:${name}:${lane}`);
  books.forget(name);
  books.side.delete(SUM);
  delete state.processes[name];
}

export function happened(state: BucketState, books: Books, event: LedgerEvent, now: number): void {
  switch (event.type) {
    case 'headers':
      merge(state, books, event, now);
      break;
    case 'pause':
      pause(state, now + event.ms, now);
      break;
    case 'endPause':
      state.pausedUntil = NEVER;
      break;
    case 'overloaded':
      overloaded(state, now - event.startedAgo, now);
      break;
    case 'ended':
      ended(state, now - event.startedAgo);
      break;
    case 'corrected':
      correct(state, books, event);
      break;
  }
}

function correct(state: BucketState, books: Books, event: Extract<LedgerEvent, { type: 'corrected' }>): void {
  const lane = state.lanes[event.lane];
  if (lane === undefined) return;
  if (!event.isOwed) lane.finish += event.delta / lane.weight;
  else if (lane.guarantee > 0) lane.owedFrom += event.delta / lane.guarantee;
  if (event.epoch !== lane.epoch) return;
  const tag = books.tagOf(event.lane, event.user);
  const later = (tag ?? lane.time) + event.delta;
  if (tag !== undefined || later > lane.time) books.setTag(event.lane, event.user, later);
}

function pause(state: BucketState, until: number, now: number): void {
  state.pausedUntil = Math.max(state.pausedUntil, until);
  for (const name of state.culprits) {
    const limit = state.limits[name];
    if (limit !== undefined) emptyUntil(limit, until, now);
  }
  state.culprits = [];
  const isRamp = state.isRamp && until - state.refusedAt >= LEAST_RAMP_MS;
  state.isRamp = false;
  if (!isRamp) return;
  state.slowedAt = until;
  if (state.limits.requests !== undefined) slow(state.limits.requests, until, now);
}

function overloaded(state: BucketState, startedAt: number, now: number): void {
  if (startedAt < state.decreasedAt || now - state.decreasedAt < EPOCH_MS) return;
  const calls = Math.max(1, callsOf(state));
  state.decreasedAt = now;
  if (state.learnedCalls === 0) state.callsBefore = calls;
  state.learnedCalls = Math.max(
    1,
    DECREASE * (state.learnedCalls > 0 ? Math.min(state.learnedCalls, calls) : calls),
  );
}

function ended(state: BucketState, startedAt: number): void {
  if (state.learnedCalls === 0 || startedAt < state.decreasedAt) return;
  if (callsOf(state) + 1 < state.learnedCalls / 2) return;
  state.learnedCalls += 1 / state.learnedCalls;
  if (state.learnedCalls > HEADROOM * state.callsBefore) state.learnedCalls = 0;
}

function merge(
  state: BucketState,
  books: Books,
  event: Extract<LedgerEvent, { type: 'headers' }>,
  now: number,
): void {
  const sentAt = now - event.sentAgo;
  const { headroom, isAnswer } = event;
  if (!isAnswer) refuse(state, books, headroom, sentAt, now);
  for (const name of NAMES) {
    const shown = headroom[name];
    const known = state.limits[name];
    if (shown === undefined) {
      if (isAnswer && known?.source === 'probe') delete state.limits[name];
      continue;
    }
    const perMinute = Math.min(shown.limit, state.configured[name] ?? Number.POSITIVE_INFINITY);
    let limit = known;
    if (limit === undefined || limit.source === 'probe') {
      const burst = state.configured.burst ?? 0;
      limit = openLimit(name, perMinute, 'learned', { burst }, now);
      state.limits[name] = limit;
      if (name === 'requests') charge(limit, callsOf(state), books.side, now);
      if (name === 'inputTokens')
        for (const { inputHeld } of Object.values(state.processes)) hold(limit, inputHeld, books.side, now);
    } else if (limit.perMinute !== perMinute) resize(limit, perMinute, limit.burst, books.side, now);
    const unsure = name === 'outputTokens' ? 2 * Math.sqrt(varianceOf(state)) : 0;
    observe(limit, shown.remaining, sentAt, unsure, books.side, now);
  }
}

function refuse(
  state: BucketState,
  books: Books,
  headroom: Extract<LedgerEvent, { type: 'headers' }>['headroom'],
  sentAt: number,
  now: number,
): void {
  const culprits = NAMES.filter((name) => {
    const shown = headroom[name];
    return shown !== undefined && shown.remaining <= EMPTY[name];
  });
  if (culprits.length === 0 && NAMES.every((name) => headroom[name] === undefined)) return;
  state.culprits = culprits;
  state.refusedAt = now;
  for (const name of culprits) {
    const limit = state.limits[name];
    if (limit !== undefined) refused(limit, sentAt, books.side, now);
  }
  state.isRamp =
    sentAt > state.slowedAt &&
    NAMES.every((name) => {
      const limit = state.limits[name];
      if (limit === undefined) return true;
      const remaining = headroom[name]?.remaining;
      return remaining !== undefined && remaining > capacityOf(limit) / 2;
    });
}

/** A store's clock may step back, as after a failover: what lies far ahead of it is as of now. */
export function setClock(state: BucketState, now: number): void {
  for (const name of NAMES) {
    const limit = state.limits[name];
    if (limit !== undefined && limit.at > now + 1_000) limit.at = now;
  }
}

export function bound(
  state: BucketState,
  books: Books,
  hints: Partial<Record<AmountName, number>>,
  isLoss: boolean,
  now: number,
): void {
  for (const name of NAMES) {
    const limit = state.limits[name];
    if (limit === undefined) continue;
    const most = isLoss ? LOSSY * capacityOf(limit) : capacityOf(limit);
    boundBy(limit, Math.min(most, hints[name] ?? most), books.side, now);
  }
}

/** Input tokens that can be taken now, and those that come back in a millisecond. */
export function inputOf(state: BucketState, now: number): { level: number; refill: number } {
  const limit = state.limits.inputTokens;
  if (limit === undefined) return { level: 0, refill: 0 };
  return { level: levelOf(limit, now) - limit.held, refill: refillOf(limit) };
}
