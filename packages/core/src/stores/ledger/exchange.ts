import {
  type AmountName,
  type Answer,
  type Candidate,
  type Exchange,
  GRACE_MS,
  LEASE_MS,
  type LevelTold,
  type Result,
  type Wake,
} from '../store.ts';
import { charge, hold, told } from './limit.ts';
import { flatten, sumOf, unflatten } from './path.ts';
import { bindingOf, change, commit, forgetDead, NEVER_FITS, reserve, UNTIL_ANOTHER_ENDS } from './quotas.ts';
import type { Books, BucketState } from './state.ts';
import { comesBefore, type Head, isWaiting, laneOf, type ProcessState, serveLane } from './turns.ts';
import {
  type Asked,
  admit,
  bound,
  bury,
  callsOf,
  configure,
  happened,
  inputOf,
  mostCalls,
  NAMES,
  type Short,
  SUM,
  setClock,
  shortageOf,
  UNKNOWN_WAIT,
} from './upstream.ts';

/** Share of the input refill that is put by for a large call that stands first. */
const SAVING = 0.5;
/** A wait that nobody knows is looked at again after this. */
const LOOK_MS = 1_000;
/** A turn announced is announced again when it has moved by more than this. */
const MOVED_MS = 25;

export interface Exchanged {
  readonly answer: Answer;
  /** To be told to all that wait. */
  readonly announce: Wake | undefined;
}

/** A call that asks to go, with what is known of it as the exchange goes on. */
interface Asking {
  readonly call: Candidate;
  start: number;
  readonly since: number;
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
  for (const other of Object.keys(state.processes).sort())
    if (other !== name && (state.processes[other]?.seenAt ?? 0) < now - LEASE_MS)
      bury(state, books, other, now);
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
  for (const each of exchange.quotas) change(books.quota(each.key), each, name);

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
  const { inputTokens } = state.limits;
  if (inputTokens !== undefined) hold(inputTokens, holds.inputTokens - me.inputHeld, books.side, now);
  me.inputHeld = holds.inputTokens;
  me.calls = holds.calls;
  me.variance = holds.variance;
  if (path === undefined) return;
  books.side.set(`v:${process}`, flatten(sumOf(path, now)));
  books.side.delete(SUM);
}

/** A call comes: what its quotas refuse is refused now, and what they grant is reserved. */
function arrive(
  books: Books,
  id: number,
  quotas: Candidate['quotas'],
  process: string,
  now: number,
): Result | undefined {
  for (const [index, ask] of quotas.entries()) {
    if (ask.isHeld || ask.onExceed === 'shadow') continue;
    const state = books.quota(ask.key);
    forgetDead(state, (other) => (other === process ? now : books.seenAt(other)), now);
    const binding = bindingOf(state, ask, now);
    if (binding !== undefined && (ask.onExceed === 'refuse' || binding.waitMs === NEVER_FITS))
      return exceeded(id, index, 'refuse', binding);
  }
  for (const ask of quotas)
    if (!ask.isHeld && ask.onExceed !== 'wait') reserve(books.quota(ask.key), ask, process);
  return undefined;
}

function exceeded(
  id: number,
  quota: number,
  onExceed: 'refuse' | 'wait',
  { reason, waitMs }: { reason: string; waitMs: number },
): Result {
  const wait = waitMs === UNTIL_ANOTHER_ENDS ? {} : { waitMs };
  return { id, type: 'exceeded', quota, onExceed, reason, ...wait };
}

/** The quota that makes a call wait. */
function parkedBy(books: Books, { call }: Asking, process: string, now: number): Result | undefined {
  for (const [index, ask] of call.quotas.entries()) {
    if (ask.onExceed !== 'wait') continue;
    const state = books.quota(ask.key);
    forgetDead(state, (other) => (other === process ? now : books.seenAt(other)), now);
    const binding = bindingOf(state, ask, now);
    if (binding !== undefined) return exceeded(call.id, index, 'wait', binding);
  }
  return undefined;
}

const askedOf = (call: Candidate): Asked => ({ ...call, path: call.path });

function headAsked(books: Books, process: string, lane: string, head: Head): Asked {
  const values = head.hasPath ? books.side.get(`h:${process}:${lane}`) : undefined;
  return { ...head, path: values === undefined ? undefined : unflatten(values) };
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
    if (terms.users > 0 && usersOf(state, lane) === 0) {
      known.finish = Math.max(known.finish, state.laneTime);
      known.owedFrom = Math.max(known.owedFrom, now);
    }
  }
  me.users = {};
  for (const [lane, { users }] of Object.entries(lanes)) if (users > 0) me.users[lane] = users;
  const before = me.heads;
  me.heads = {};

  const asking: Asking[] = [];
  for (const call of exchange.candidates) {
    const lane = state.lanes[call.lane];
    if (lane === undefined) continue;
    const refusal = arrive(books, call.id, call.quotas, name, now);
    if (refusal !== undefined) results.push(refusal);
    else {
      const start = Math.max(lane.time, books.tagOf(call.lane, call.user) ?? lane.time);
      asking.push({ call, start, since: now - call.waitedMs });
    }
  }
  const turn = new Turn(state, books, me, name, asking, results, now);
  while (turn.move());
  register(state, books, me, name, asking, before, turn, Object.keys(lanes).sort(), results, now);
  return turn.wake;
}

function usersOf(state: BucketState, lane: string): number {
  let users = 0;
  for (const process of Object.values(state.processes)) users += process.users[lane] ?? 0;
  return users;
}

interface First {
  readonly lane: string;
  readonly process: string;
  readonly start: number;
  readonly since: number;
  readonly mine: Asking | undefined;
}

/** The order between users: by what they were served, then by how long they have waited. All processes see the same. */
function isBefore(
  a: Pick<First, 'start' | 'since' | 'process'>,
  b: Pick<First, 'start' | 'since' | 'process'>,
): boolean {
  if (a.start !== b.start) return a.start < b.start;
  if (a.since !== b.since) return a.since < b.since;
  return a.process < b.process;
}

/** One exchange's look at who stands first. */
class Turn {
  wake: Wake | undefined;
  /** Reason and wait of each of our calls that was looked at and could not go. */
  readonly waits = new Map<number, Short>();
  readonly #state: BucketState;
  readonly #books: Books;
  readonly #me: ProcessState;
  readonly #name: string;
  readonly #asking: Asking[];
  readonly #results: Result[];
  readonly #now: number;

  constructor(
    state: BucketState,
    books: Books,
    me: ProcessState,
    name: string,
    asking: Asking[],
    results: Result[],
    now: number,
  ) {
    this.#state = state;
    this.#books = books;
    this.#me = me;
    this.#name = name;
    this.#asking = asking;
    this.#results = results;
    this.#now = now;
  }

  /** The first of each lane, in the order of the lanes' turns. */
  #firsts(): First[] {
    const byLane = new Map<string, First>();
    const offer = (first: First) => {
      const known = byLane.get(first.lane);
      if (known === undefined || isBefore(first, known)) byLane.set(first.lane, first);
    };
    const { processes, lanes } = this.#state;
    for (const process of Object.keys(processes).sort()) {
      const other = processes[process];
      if (process === this.#name || other === undefined || !isWaiting(other, this.#now)) continue;
      for (const lane of Object.keys(other.heads).sort()) {
        const head = other.heads[lane];
        if (head !== undefined)
          offer({ lane, process, start: head.start, since: head.since, mine: undefined });
      }
    }
    for (const mine of this.#asking) {
      const { start, since, call } = mine;
      offer({ lane: call.lane, process: this.#name, start, since, mine });
    }
    return [...byLane.values()].sort((a, b) => {
      const laneA = lanes[a.lane];
      const laneB = lanes[b.lane];
      if (laneA === undefined || laneB === undefined) return 0;
      if (comesBefore(laneA, laneB, this.#now)) return -1;
      if (comesBefore(laneB, laneA, this.#now)) return 1;
      return a.lane < b.lane ? -1 : 1;
    });
  }

  /** One move; false where nothing moves any more. */
  move(): boolean {
    this.wake = undefined;
    const firsts = this.#firsts();
    const isAlone = firsts.every(({ process }) => process === this.#name);
    for (const first of firsts) {
      const { lane, process, mine } = first;
      const reserveShare = this.#state.lanes[lane]?.reserve ?? 0;
      if (mine !== undefined) {
        const parked = parkedBy(this.#books, mine, this.#name, this.#now);
        if (parked !== undefined) {
          this.#results.push(parked);
          this.#remove(mine);
          return true;
        }
      }
      const asked = mine === undefined ? this.#askedOf(process, lane) : askedOf(mine.call);
      const short = shortageOf(this.#state, this.#books, asked, reserveShare, 0, this.#now);
      if (short === undefined) {
        if (mine !== undefined) {
          this.#grant(mine, isAlone && !mine.call.isQueued);
          return true;
        }
        if (this.#isOverdue(process, lane)) return true;
        this.wake = { process, waitMs: 0 };
        return false;
      }
      if (mine === undefined) this.#cannotGo(process, lane);
      else this.waits.set(mine.call.id, short);
      const waitMs = short.waitMs === UNKNOWN_WAIT ? LOOK_MS : short.waitMs;
      if (this.wake === undefined || waitMs < this.wake.waitMs) this.wake = { process, waitMs };
      const isOwnReserve =
        reserveShare > 0 && shortageOf(this.#state, this.#books, asked, 0, 0, this.#now) === undefined;
      if (isOwnReserve) continue;
      return short.reason === 'input_tokens_per_minute' && this.#backfill(first, firsts);
    }
    return false;
  }

  #askedOf(process: string, lane: string): Asked {
    const head = this.#state.processes[process]?.heads[lane];
    if (head === undefined) throw new TypeError('Headgate: a head that is not there');
    return headAsked(this.#books, process, lane, head);
  }

  #isOverdue(process: string, lane: string): boolean {
    const other = this.#state.processes[process];
    const head = other?.heads[lane];
    if (other === undefined || head === undefined) return false;
    if (head.fitsSince === 0) head.fitsSince = this.#now;
    if (this.#now - head.fitsSince <= GRACE_MS) return false;
    other.isLate = true;
    return true;
  }

  #cannotGo(process: string, lane: string): void {
    const head = this.#state.processes[process]?.heads[lane];
    if (head !== undefined) head.fitsSince = 0;
  }

  #remove(asking: Asking): void {
    const at = this.#asking.indexOf(asking);
    if (at >= 0) this.#asking.splice(at, 1);
  }

  #grant(asking: Asking, isFree: boolean): void {
    const { call, start } = asking;
    const now = this.#now;
    for (const ask of call.quotas)
      commit(this.#books.quota(ask.key), { ...ask, isHeld: ask.onExceed !== 'wait' }, this.#name, now);
    const lane = this.#state.lanes[call.lane];
    if (isFree || lane === undefined) this.#results.push({ id: call.id, type: 'granted' });
    else {
      const served = serveLane(lane, call.cost, this.#state.laneTime, now);
      this.#state.laneTime = served.time;
      lane.time = Math.max(start, lane.time + call.cost / Math.max(1, usersOf(this.#state, call.lane)));
      this.#books.setTag(call.lane, call.user, start + call.cost);
      this.#books.forgetTags(call.lane, lane.time);
      const turn = { epoch: lane.epoch, isOwed: served.isOwed };
      this.#results.push({ id: call.id, type: 'granted', turn });
      for (const other of this.#asking) this.#defer(other, asking);
    }
    admit(this.#state, this.#books, askedOf(call), this.#name, this.#me, now);
    this.#remove(asking);
  }

  /** The next call of a user who was just served starts later. */
  #defer(other: Asking, served: Asking): void {
    const { call } = other;
    if (call.lane !== served.call.lane) return;
    const lane = this.#state.lanes[call.lane];
    const tag = this.#books.tagOf(call.lane, call.user);
    other.start = Math.max(lane?.time ?? 0, tag ?? lane?.time ?? 0);
  }

  /** Calls of ours that may pass a large prompt which waits for input; see admission/backfill.ts. */
  #backfill(first: First, firsts: readonly First[]): boolean {
    const id = first.mine?.call.id ?? this.#state.processes[first.process]?.heads[first.lane]?.id ?? 0;
    const input = inputOf(this.#state, this.#now);
    let { saved } = this.#state;
    if (saved === undefined || saved.process !== first.process || saved.id !== id) {
      saved = { process: first.process, id, since: this.#now, base: Math.max(0, input.level) };
      this.#state.saved = saved;
    }
    const putBy = saved.base + SAVING * input.refill * (this.#now - saved.since);
    const inTurn = firsts.map(({ lane }) => lane);
    const others = this.#asking
      .filter((asking) => asking !== first.mine)
      .sort(
        (a, b) =>
          inTurn.indexOf(a.call.lane) - inTurn.indexOf(b.call.lane) ||
          a.start - b.start ||
          a.call.id - b.call.id,
      );
    for (const asking of others) {
      const reserveShare = this.#state.lanes[asking.call.lane]?.reserve ?? 0;
      if (parkedBy(this.#books, asking, this.#name, this.#now) !== undefined) continue;
      const short = shortageOf(
        this.#state,
        this.#books,
        askedOf(asking.call),
        reserveShare,
        putBy,
        this.#now,
      );
      if (short !== undefined) continue;
      this.#grant(asking, false);
      return true;
    }
    return false;
  }
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
    const lead = Math.max(0, start - (lane?.time ?? 0));
    results.push({ id: call.id, type: 'waits', reason: short?.reason ?? 'queue', lead, ...wait });
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
  // Lanes in which nobody waits any more begin afresh.
  const granted = results.filter(({ type }) => type === 'granted').length;
  for (const lane of Object.keys(me.users))
    if (!left.has(lane) && (me.users[lane] ?? 0) <= granted) delete me.users[lane];
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
    for (const [lane, count] of Object.entries(process.users)) users[lane] = (users[lane] ?? 0) + count;
  const most = mostCalls(state);
  return {
    now,
    isUnknown,
    results,
    levels,
    pausedMs: Math.max(0, state.pausedUntil - now),
    ...(Number.isFinite(most) ? { concurrency: most } : {}),
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
  const hasListeners = Object.entries(state.processes).some(
    ([other, process]) => other !== name && isWaiting(process, now) && Object.keys(process.heads).length > 0,
  );
  if (!hasListeners) return undefined;
  const at = now + wake.waitMs;
  const { announced } = state;
  // One that may go at once was told so when it could first; to say it again changes nothing.
  const isKnown =
    announced.process === wake.process && announced.at <= at + MOVED_MS && announced.at >= at - MOVED_MS;
  const isDue = announced.process === wake.process && wake.waitMs === 0 && announced.at <= now;
  if (isKnown || isDue) return undefined;
  state.announced = { process: wake.process, at };
  return wake;
}
