import { type Candidate, GRACE_MS, type Result, type Wake } from '../store.ts';
import { lostBy, parkedBy } from './asks.ts';
import { unflatten } from './path.ts';
import { commit, isReserved } from './quotas.ts';
import type { Books, BucketState } from './state.ts';
import {
  comesBefore,
  type Head,
  isWaiting,
  type LaneState,
  type ProcessState,
  reserveOf,
  serveLane,
  usersOf,
} from './turns.ts';
import {
  type Asked,
  admit,
  inputOf,
  knowsNoLimit,
  type Short,
  shortageOf,
  UNKNOWN_WAIT,
} from './upstream.ts';

/** Share of the input refill that is put by for a large call that stands first. */
const SAVING = 0.5;
/** A wait that nobody knows is looked at again after this. */
const LOOK_MS = 1_000;
function reserveIn(state: BucketState, name: string, now: number): number {
  const lane = state.lanes[name];
  return lane === undefined ? 0 : reserveOf(lane, now);
}

/** A call that asks to go, with what is known of it as the exchange goes on. */
export interface Asking {
  readonly call: Candidate;
  start: number;
  readonly since: number;
}

const askedOf = (call: Candidate): Asked => ({ ...call, path: call.path });

function headAsked(books: Books, process: string, lane: string, head: Head): Asked {
  const values = head.hasPath ? books.side.get(`h:${process}:${lane}`) : undefined;
  return { ...head, path: values === undefined ? undefined : unflatten(values) };
}

interface First {
  readonly lane: string;
  readonly process: string;
  readonly start: number;
  readonly since: number;
  readonly mine: Asking | undefined;
}

/** How far a user was served: nothing where its lane's time has passed that. */
export function tagOf(lane: LaneState, name: string, user: string, books: Books): number | undefined {
  const tag = books.tagOf(name, user);
  return tag !== undefined && tag > lane.time ? tag : undefined;
}

/** Where a call starts: not before its user's last one has ended, in whichever process that was. */
export function startOf(lane: LaneState, call: Candidate, books: Books): number {
  const own = call.tag !== undefined && call.tag.epoch === lane.epoch ? call.tag.at : lane.time;
  return Math.max(own, tagOf(lane, call.lane, call.user, books) ?? own);
}

/** The order between users: by what they were served, then by how long they have waited. All processes see the same. */
export function isBefore(
  a: Pick<First, 'start' | 'since' | 'process'>,
  b: Pick<First, 'start' | 'since' | 'process'>,
): boolean {
  if (a.start !== b.start) return a.start < b.start;
  if (a.since !== b.since) return a.since < b.since;
  return a.process < b.process;
}

/** One exchange's look at who stands first. */
export class Turn {
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
      const reserveShare = reserveIn(this.#state, lane, this.#now);
      if (mine !== undefined) {
        const parked = parkedBy(this.#books, mine.call, this.#name, this.#now);
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
          this.#go(mine, isAlone && !mine.call.isQueued && !knowsNoLimit(this.#state));
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

  /** There is room for it. */
  #go(asking: Asking, isFree: boolean): void {
    const lost = lostBy(this.#books, asking.call, this.#name, this.#now);
    if (lost === undefined) this.#grant(asking, isFree);
    else {
      this.#results.push(lost);
      this.#remove(asking);
    }
  }

  #grant(asking: Asking, isFree: boolean): void {
    const { call, start } = asking;
    const now = this.#now;
    for (const ask of call.quotas) {
      const state = this.#books.quota(ask.key);
      const isHeld = ask.onExceed !== 'wait' && isReserved(state, ask, this.#name);
      commit(state, { ...ask, isHeld }, this.#name, now);
    }
    const lane = this.#state.lanes[call.lane];
    if (isFree || lane === undefined) this.#results.push({ id: call.id, type: 'granted' });
    else {
      const served = serveLane(lane, call.cost, this.#state.laneTime, now);
      this.#state.laneTime = served.time;
      // A look may teach nothing: whoever comes after it looks before its caller does again.
      const least = knowsNoLimit(this.#state) ? 2 : 1;
      lane.time = Math.max(start, lane.time + call.cost / Math.max(least, usersOf(this.#state, call.lane)));
      this.#books.setTag(call.lane, call.user, start + call.cost);
      this.#books.forgetTags(call.lane, lane.time);
      const turn = { epoch: lane.epoch, isOwed: served.isOwed };
      const tag = { epoch: lane.epoch, at: start + call.cost };
      this.#results.push({ id: call.id, type: 'granted', turn, tag });
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
    if (lane !== undefined) other.start = startOf(lane, call, this.#books);
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
      const reserveShare = reserveIn(this.#state, asking.call.lane, this.#now);
      if (parkedBy(this.#books, asking.call, this.#name, this.#now) !== undefined) continue;
      const short = shortageOf(
        this.#state,
        this.#books,
        askedOf(asking.call),
        reserveShare,
        putBy,
        this.#now,
      );
      if (short !== undefined) continue;
      this.#go(asking, false);
      return true;
    }
    return false;
  }
}
