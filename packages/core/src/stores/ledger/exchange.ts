import {
  type AmountName,
  type Answer,
  type Exchange,
  HEARTBEAT_MS,
  LEASE_MS,
  type LevelTold,
  QUIET_MS,
  type Result,
  type Wake,
} from '../store.ts';
import { arrive } from './asks.ts';
import { happened } from './events.ts';
import { charge, hold, told } from './limit.ts';
import { endsOf, flatten, sumOf } from './path.ts';
import { change, commit } from './quotas.ts';
import { sent } from './ramp.ts';
import type { Books, BucketState } from './state.ts';
import { type Asking, isBefore, startOf, Turn } from './turn.ts';
import { type Head, isInUse, isWaiting, laneOf, type ProcessState, usersOf } from './turns.ts';
import {
  bound,
  bury,
  callsOf,
  configure,
  knowsNoLimit,
  mostCalls,
  NAMES,
  setClock,
  UNKNOWN_WAIT,
} from './upstream.ts';

/** A turn announced is announced again when it has moved by more than this. */
const MOVED_MS = 25;
/** A process that is only silent may go on with its calls to their end. */
const NEVER_ENDED = Number.POSITIVE_INFINITY;

export interface Exchanged {
  readonly answer: Answer;
  /** To be told to all that wait. */
  readonly announce: Wake | undefined;
}

/** Applies one exchange. What it does is written a second time in Lua, line by line: packages/redis/src/lua. */
export function applyExchange(
  state: BucketState,
  books: Books,
  exchange: Exchange,
  isFresh: boolean,
  now: number,
): Exchanged {
  const { process: name, seq, acked } = exchange;
  setClock(state, now);
  let me = state.processes[name];
  const isUnknown = me === undefined || me.seq < acked;
  // What a process was answered and we do not know, we have lost; and not its own exchanges alone.
  const isLossy = isUnknown && acked > 0;
  const isOurLoss = isLossy && (isFresh || me !== undefined);
  for (const other of Object.keys(state.processes).sort()) {
    const seenAt = state.processes[other]?.seenAt ?? 0;
    if (other === name || seenAt >= now - QUIET_MS) continue;
    if (seenAt < now - LEASE_MS) bury(state, books, other, now, NEVER_ENDED);
    else if (books.isGone(other)) bury(state, books, other, now, seenAt + HEARTBEAT_MS);
  }
  if (me === undefined) {
    me = newProcess(now);
    state.processes[name] = me;
  }
  me.seenAt = now;
  me.seq = seq;
  me.isLate = false;
  if (exchange.limits !== undefined) me.limits = { ...(exchange.limits as Record<string, number>) };
  configure(state, books, now);
  if (isLossy) bound(state, books, exchange.hints ?? {}, isOurLoss, now);
  settle(state, books, me, exchange, now);
  // The tags of a lane that is not told of are out of reach.
  for (const event of exchange.events)
    if (event.type !== 'corrected' || exchange.lanes[event.lane] !== undefined)
      happened(state, books, event, now);
  for (const ask of exchange.spent) commit(books.quota(ask.key), { ...ask, isHeld: false }, name, now);
  for (const each of exchange.quotas) change(books.quota(each.key), each, name, now);

  const results: Result[] = [];
  for (const { id, quotas } of exchange.reserve) {
    const exceeded = arrive(books, id, quotas, name, now);
    results.push(exceeded ?? { id, type: 'waits', reason: 'queue', lead: 0 });
  }
  const wake = takeTurns(state, books, me, exchange, results, now);
  const answer = answerOf(state, books, isUnknown, results, wake, now);
  return { answer, announce: announcementOf(state, name, wake, now) };
}

const newProcess = (now: number): ProcessState => ({
  seenAt: now,
  seq: 0,
  calls: 0,
  inputHeld: 0,
  variance: 0,
  users: {},
  heads: {},
  ahead: { use: 0, spread: 0, most: 0 },
  isLate: false,
  limits: {},
});

/** What was used is charged, what is held is held: as the process says, whatever we thought. */
function settle(state: BucketState, books: Books, me: ProcessState, exchange: Exchange, now: number): void {
  const { charges, holds, path, process } = exchange;
  for (const name of NAMES) {
    const limit = state.limits[name];
    if (limit !== undefined) charge(limit, charges[name], books.side, now);
  }
  // These went without asking.
  if (charges.requests > 0) sent(state.ramp, charges.requests, now);
  const { inputTokens } = state.limits;
  if (inputTokens !== undefined) hold(inputTokens, holds.inputTokens - me.inputHeld, books.side, now);
  me.inputHeld = holds.inputTokens;
  me.calls = holds.calls;
  me.variance = holds.variance;
  if (path === undefined) return;
  books.side.set(`v:${process}`, flatten(sumOf(path, now)));
  me.ahead = endsOf(path);
}

/** Who may go, goes: lane by lane, user by user, over all processes. Whose turn it is then, if anybody waits. */
function takeTurns(
  state: BucketState,
  books: Books,
  me: ProcessState,
  exchange: Exchange,
  results: Result[],
  now: number,
): Wake | undefined {
  const { process: name, lanes } = exchange;
  for (const lane of Object.keys(lanes).sort()) {
    const terms = lanes[lane];
    if (terms === undefined) continue;
    const known = laneOf(state.lanes, lane, terms, state.laneTime);
    if (terms.users > 0 && !isInUse(state, lane)) {
      known.finish = Math.max(known.finish, state.laneTime);
      known.owedFrom = Math.max(known.owedFrom, now);
      known.dueFrom = Math.max(known.dueFrom, now);
    }
  }
  me.users = {};
  for (const [lane, { users }] of Object.entries(lanes)) if (users > 0) me.users[lane] = users;
  const before = me.heads;
  me.heads = {};

  const asking: Asking[] = [];
  for (const call of exchange.candidates) {
    const lane = state.lanes[call.lane];
    // As with events: what is not told of is out of reach.
    if (lane === undefined || lanes[call.lane] === undefined) continue;
    const refusal = arrive(books, call.id, call.quotas, name, now);
    if (refusal !== undefined) results.push(refusal);
    else {
      const start = startOf(lane, call, books);
      asking.push({ call, start, since: now - call.waitedMs });
    }
  }
  const turn = new Turn(state, books, me, name, asking, results, now);
  while (turn.move());
  register(state, books, me, name, asking, before, turn, Object.keys(lanes).sort(), results, now);
  return turn.wake;
}

/** Who stands first in each of our lanes is known to the others from now on. */
function register(
  state: BucketState,
  books: Books,
  me: ProcessState,
  name: string,
  asking: readonly Asking[],
  before: Readonly<Record<string, Head>>,
  turn: Turn,
  lanes: readonly string[],
  results: Result[],
  now: number,
): void {
  const left = new Map<string, number>();
  for (const { call, start, since } of asking) {
    left.set(call.lane, (left.get(call.lane) ?? 0) + 1);
    const lane = state.lanes[call.lane];
    const short = turn.waits.get(call.id);
    const wait = short === undefined || short.waitMs === UNKNOWN_WAIT ? {} : { waitMs: short.waitMs };
    const lead = start - (lane?.time ?? 0);
    const tag = { epoch: lane?.epoch ?? 0, at: start };
    results.push({ id: call.id, type: 'waits', reason: short?.reason ?? 'queue', lead, tag, ...wait });
    const first = me.heads[call.lane];
    if (first !== undefined && !isBefore({ start, since, process: name }, { ...first, process: name }))
      continue;
    me.heads[call.lane] = {
      id: call.id,
      start,
      since,
      cost: call.cost,
      chargesTokens: call.chargesTokens,
      inputTokens: call.inputTokens,
      inputHeld: call.inputHeld,
      outputTokens: call.outputTokens,
      hasPath: call.path !== undefined,
      fitsSince: 0,
    };
    if (call.path !== undefined) books.side.set(`h:${name}:${call.lane}`, flatten(sumOf(call.path, now)));
  }
  for (const lane of Object.keys(before).sort())
    if (me.heads[lane] === undefined) books.side.delete(`h:${name}:${lane}`);
  // Lanes in which nobody waits any more begin afresh, but for who has looked at an unknown bucket.
  const granted = results.filter(({ type }) => type === 'granted').length;
  // Whether those who went have more calls behind them, the next exchange tells.
  for (const lane of Object.keys(me.users))
    if (!left.has(lane) && (me.users[lane] ?? 0) <= granted) me.users[lane] = 0;
  if (knowsNoLimit(state)) return;
  for (const each of lanes) {
    const lane = state.lanes[each];
    if (lane === undefined || lane.time === 0 || usersOf(state, each) > 0) continue;
    lane.time = 0;
    lane.epoch += 1;
    books.forgetTags(each);
  }
}

function answerOf(
  state: BucketState,
  books: Books,
  isUnknown: boolean,
  results: readonly Result[],
  wake: Wake | undefined,
  now: number,
): Answer {
  const levels: Partial<Record<AmountName, LevelTold>> = {};
  for (const name of NAMES) {
    const limit = state.limits[name];
    if (limit !== undefined) levels[name] = told(limit, now);
  }
  const users: Record<string, number> = {};
  for (const process of Object.values(state.processes))
    for (const [lane, count] of Object.entries(process.users))
      if (count > 0) users[lane] = (users[lane] ?? 0) + count;
  const most = mostCalls(state);
  return {
    now,
    isUnknown,
    results,
    levels,
    pausedMs: Math.max(0, state.pausedUntil - now),
    ...(Number.isFinite(most) ? { concurrency: most } : {}),
    ...(state.ramp.pace > 0 ? { pacePerMs: state.ramp.pace } : {}),
    calls: callsOf(state),
    processes: books.processes,
    users,
    ...(wake === undefined ? {} : { wake }),
  };
}

/** Whether the others are to be told whose turn it is. */
function announcementOf(
  state: BucketState,
  name: string,
  wake: Wake | undefined,
  now: number,
): Wake | undefined {
  if (wake === undefined) return undefined;
  const at = now + wake.waitMs;
  const { announced } = state;
  // One that may go at once was told so when it could first; to say it again changes nothing.
  const isKnown =
    announced.process === wake.process && announced.at <= at + MOVED_MS && announced.at >= at - MOVED_MS;
  const isDue = announced.process === wake.process && wake.waitMs === 0 && announced.at <= now;
  if (isKnown || isDue) return undefined;
  // The asker learns it by its answer. Were that not recorded, the turn that it has just taken would pass for its next one.
  state.announced = { process: wake.process, at };
  const hasListeners = Object.entries(state.processes).some(
    ([other, process]) => other !== name && isWaiting(process, now) && Object.keys(process.heads).length > 0,
  );
  return hasListeners ? wake : undefined;
}
