import { keptSlots } from '../../slots.ts';
import type { AmountName, Path } from '../store.ts';
import {
  availableOf,
  behindOf,
  boundBy,
  capacityOf,
  charge,
  grow,
  hold,
  type LimitState,
  levelOf,
  openLimit,
  refillOf,
  resize,
  sendOff,
  visibleOf,
  waitForAmount,
} from './limit.ts';
import {
  addSum,
  type Ends,
  emptySum,
  endsOf,
  flatten,
  hasRoom,
  lowestAhead,
  type PathSum,
  sumOf,
  unflatten,
  usedBy,
} from './path.ts';
import { rampWait, sent } from './ramp.ts';
import type { Books, BucketState } from './state.ts';
import type { ProcessState } from './turns.ts';

/** The bucket of an account, as admission/upstream.ts keeps it, over all processes. */
export const NAMES: readonly AmountName[] = ['requests', 'inputTokens', 'outputTokens'];
const REASON: Record<AmountName, string> = {
  requests: 'requests_per_minute',
  inputTokens: 'input_tokens_per_minute',
  outputTokens: 'output_tokens_per_minute',
};
const GUESS_MARGIN = 1.5;
/** A forecast that moves is asked again so much later at the least: each asking is a message. */
const RECHECK_MS = 100;
/** Of a bucket whose ledger has lost part of its memory: what it lost may be the rest. */
const LOSSY = 0.5;
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
      if (perMinute === undefined) continue;
      const opened = openLimit(name, perMinute, 'configured', { burst }, now);
      state.limits[name] = opened;
      if (name === 'inputTokens') holdAll(state, opened, books, now);
    } else if ((perMinute !== undefined && perMinute !== state.configured[name]) || isOtherBurst)
      resize(known, perMinute ?? known.perMinute, burst, books.side, now);
  }
  const count = NAMES.filter((name) => state.limits[name] !== undefined).length;
  if (count === 0) state.limits.requests = openLimit('requests', 60, 'probe', {}, now);
  else if (count > 1 && state.limits.requests?.source === 'probe') delete state.limits.requests;
  state.configured = least;
}

/** No limit is known: each call that goes is a look at what the API tells. */
export const knowsNoLimit = (state: BucketState): boolean => state.limits.requests?.source === 'probe';

/** Calls in flight hold of a limit that comes later too. */
export function holdAll(state: BucketState, limit: LimitState, books: Books, now: number): void {
  for (const { inputHeld } of Object.values(state.processes)) hold(limit, inputHeld, books.side, now);
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

export function varianceOf(state: BucketState): number {
  let variance = 0;
  for (const name of Object.keys(state.processes).sort()) variance += state.processes[name]?.variance ?? 0;
  return variance;
}

/** What the calls of all processes are going to produce, as of now. */
function pathSum(state: BucketState, books: Books, now: number): PathSum {
  const sum = emptySum(now);
  for (const name of Object.keys(state.processes).sort()) {
    const own = books.side.get(`v:${name}`);
    if (own !== undefined) addSum(sum, unflatten(own));
  }
  return sum;
}

/** The ends of it, with one more path. */
function endsWith(state: BucketState, next: Ends): Ends {
  const sum = { ...next };
  for (const { ahead } of Object.values(state.processes)) extend(sum, ahead);
  return sum;
}

export function extend(sum: Ends, by: Ends): void {
  sum.use += by.use;
  sum.spread += by.spread;
  sum.most += by.most;
}

/** What the limit of requests lets through, in a millisecond; 0 where none is known. */
export function requestsPerMs(state: BucketState): number {
  const { requests } = state.limits;
  return requests === undefined || requests.source === 'probe' ? 0 : requests.perMinute / 60_000;
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
  const slots = mostCalls(state);
  if (calls >= slots - keptSlots(slots, reserve)) return { reason: 'concurrency', waitMs: UNKNOWN_WAIT };
  const rampMs = rampWait(state.ramp, requestsPerMs(state), now);
  let worst: Short | undefined = rampMs > 0 ? { reason: 'upstream_paused', waitMs: rampMs } : undefined;
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
  const full = capacityOf(limit) - reserved - visibleOf(limit) - unsure;
  const level = availableOf(limit, now) - reserved - behindOf(limit) - visibleOf(limit) - unsure;
  // An idle bucket takes any call: one that is longer than the bucket is deep goes into debt.
  const isIdle = calls === 0 && level + behindOf(limit) >= full - 1;
  if (isIdle) return 0;
  if (hasRoom(level, endsWith(state, endsOf(path)))) return 0;
  const missing = -lowestAhead(pathSum(state, books, now), path, level, full, refillOf(limit));
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
  sent(state.ramp, 1, now);
  if (!asked.chargesTokens) return;
  process.inputHeld += asked.inputHeld;
  if (inputTokens !== undefined) sendOff(inputTokens, asked.inputTokens, asked.inputHeld, books.side, now);
  if (asked.path === undefined) {
    if (outputTokens !== undefined) sendOff(outputTokens, asked.outputTokens, 0, books.side, now);
    return;
  }
  extend(process.ahead, endsOf(asked.path));
  const own = books.side.get(`v:${name}`);
  const mine = own === undefined ? emptySum(now) : unflatten(own);
  addSum(mine, sumOf(asked.path, now));
  books.side.set(`v:${name}`, flatten(mine));
}

/** What a dead process held is charged: nobody knows what became of it. */
export function bury(state: BucketState, books: Books, name: string, now: number, endedBy: number): void {
  const process = state.processes[name];
  if (process === undefined) return;
  const { inputTokens, outputTokens } = state.limits;
  if (inputTokens !== undefined && process.inputHeld > 0) {
    charge(inputTokens, process.inputHeld, books.side, now);
    hold(inputTokens, -process.inputHeld, books.side, now);
  }
  if (outputTokens !== undefined) {
    const own = books.side.get(`v:${name}`);
    const used =
      Number.isFinite(endedBy) && own !== undefined ? usedBy(unflatten(own), endedBy) : process.ahead.use;
    charge(outputTokens, used, books.side, now);
  }
  books.side.delete(`v:${name}`);
  for (const lane of Object.keys(process.heads)) books.side.delete(`h:${name}:${lane}`);
  books.forget(name);
  delete state.processes[name];
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
