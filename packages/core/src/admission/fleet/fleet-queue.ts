import type { Alarms } from '../../alarms.ts';
import type { Clock, Random } from '../../clock.ts';
import { compositeKey } from '../../composite-key.ts';
import type { LaneConfig } from '../../config/schema.ts';
import type { HeadgateError, Reason } from '../../errors.ts';
import type { Estimator } from '../../estimate/estimator.ts';
import { hashOfName } from '../../hash.ts';
import type { Slices } from '../../slices.ts';
import type { Candidate, Exchange, Path, QuotaAsk, Result, Store, Tag } from '../../stores/store.ts';
import * as entry from '../entry.ts';
import { type Demand, expectedCost, type Reserve } from '../flight.ts';
import { type Lane, Lanes } from '../lanes.ts';
import { Parking } from '../parking.ts';
import { type Prediction, Predictor } from '../predict.ts';
import * as refusals from '../refusals.ts';
import type { Binding } from '../ticket.ts';
import {
  type Arrival,
  joinsFront,
  openWaiter,
  type Passage,
  type Waiter,
  type WaiterHost,
} from '../waiter.ts';
import { Debts } from './debts.ts';
import type { FleetQuotas } from './fleet-quotas.ts';
import type { FleetUpstream } from './fleet-upstream.ts';
import { SlotListeners } from './slot-listeners.ts';
import { candidateOf, startingPaths } from './statement.ts';

/** Calls of each lane that are put forward: the first ones of so many users. */
const PUT_FORWARD = 4;
/** A slot of a quota that another process holds is asked for again after this. */
const SLOT_MS = 1_000;
/** Calls whose quotas are reserved with one message, at most. */
const MAX_RESERVED = 100;
/** What the fleet knows of a call that waits. */
interface Standing {
  readonly id: number;
  readonly user: string;
  /** Others stood before it, or it has been told to wait. */
  isQueued: boolean;
  /** Its quotas that refuse are reserved in the ledger. */
  isReserved: boolean;
  /** What it was last thought to cost. */
  cost: number;
}

export interface FleetQueueParts {
  readonly upstream: FleetUpstream;
  readonly quotas: FleetQuotas;
  readonly store: Store;
  readonly process: string;
  readonly lanes: Readonly<Record<string, LaneConfig>>;
  readonly estimator: Estimator;
  readonly alarms: Alarms;
  readonly clock: Clock;
  readonly random: Random;
  readonly slices: Slices;
  /** A call is back in the queue that a quota of its own had held back. */
  readonly onReturned: () => void;
  /** There is something that the ledger should know soon. */
  readonly onChange: () => void;
}

/** How a call's promise ends. */
export interface Ends {
  readonly resolve: (passage: Passage) => void;
  readonly reject: (error: HeadgateError) => void;
}

/**
 * The calls of one process that wait for a bucket of the fleet, in lanes and by user as in a process alone; who of them goes is
 * the ledger's word.
 */
export class FleetQueue {
  readonly #parts: FleetQueueParts;
  readonly #lanes: Lanes<Waiter>;
  readonly #parking: Parking;
  readonly #predictor = new Predictor();
  readonly #host: WaiterHost;
  readonly #waiters = new Map<number, Waiter>();
  readonly #standings = new Map<Waiter, Standing>();
  /** Those among them whose quotas are not reserved yet. */
  readonly #unreserved = new Set<Waiter>();
  readonly #slots: SlotListeners;
  readonly #debts = new Debts();
  /** Where the users who wait start, by the ledger's word. */
  readonly #tags = new Map<string, Tag>();
  #nextId = 1;

  constructor(parts: FleetQueueParts) {
    const { lanes, alarms, clock, slices, onReturned } = parts;
    this.#parts = parts;
    this.#lanes = new Lanes(lanes);
    this.#slots = new SlotListeners(parts.store, parts.process);
    this.#parking = new Parking(
      alarms,
      () => clock.now(),
      (waiter) => {
        waiter.lane.queue.push(waiter, { front: true });
        onReturned();
      },
    );
    this.#host = {
      lanes: this.#lanes,
      parking: this.#parking,
      alarms,
      slices,
      expire: (waiter) => this.#expire(waiter),
      abort: (waiter) => this.refuse(waiter, refusals.hungUpRefusal(waiter.lane.name)),
      left: (waiter) => this.#forget(waiter),
    };
  }

  /** Calls that wait for their turn. */
  get waiting(): number {
    return this.#lanes.size;
  }

  /** Calls that a quota of their own holds back. */
  get parked(): number {
    return this.#parking.size;
  }

  configure(lanes: Readonly<Record<string, LaneConfig>>): void {
    this.#lanes.configure(lanes);
  }

  /** The lane of that name, or the least urgent where it is gone. */
  lane(name: string): Lane<Waiter> {
    const lane = this.#lanes.get(name) ?? this.#lanes.last;
    if (lane === undefined) throw new TypeError(`Headgate: no lane "${name}"`);
    return lane;
  }

  lanes(): IterableIterator<Lane<Waiter>> {
    return this.#lanes.all();
  }

  find(id: number): Waiter | undefined {
    return this.#waiters.get(id);
  }

  predict(lane: Lane<Waiter>, arrival: Pick<Arrival, 'demand' | 'flowKey'>, now: number): Prediction {
    const { upstream } = this.#parts;
    let users = 0;
    for (const { queue } of this.#lanes.all()) users += queue.users;
    const seen = {
      share: upstream.shareOf(users),
      isUnknown: upstream.isUnknown,
      shortage: (demand: Demand, { least }: Reserve) => upstream.shortage(demand, least, now),
    };
    return this.#predictor.predict(seen, this.#lanes, lane, arrival, now);
  }

  /** Why a call cannot be let into the queue. */
  refusalOf(
    arrival: Arrival,
    lane: Lane<Waiter>,
    prediction: Prediction,
    now: number,
  ): HeadgateError | undefined {
    const { upstream, random } = this.#parts;
    return (
      entry.impossible(arrival, lane, upstream) ??
      (arrival.isRetry ? undefined : entry.tooLong(arrival, lane, upstream, prediction, now, random))
    );
  }

  /** A call joins the queue, at its user's front where it has been in a queue before. True where nobody of its lane waits. */
  join(arrival: Arrival, lane: Lane<Waiter>, predictedMs: number, arrivedAt: number, ends: Ends): boolean {
    const isFirst = lane.queue.size === 0;
    const waiter = this.#waiter(arrival, lane, predictedMs, arrivedAt, ends);
    if (!arrival.isRetry && arrival.moved === undefined) this.#predictor.joined(lane, waiter.cost, arrivedAt);
    lane.queue.push(waiter, { front: joinsFront(arrival) });
    return isFirst;
  }

  #waiter(arrival: Arrival, lane: Lane<Waiter>, predictedMs: number, now: number, ends: Ends): Waiter {
    const { flowKey, demand } = arrival;
    const id = this.#nextId++;
    const isQueued = arrival.isRetry || arrival.moved !== undefined || this.#lanes.size > 0;
    const waiter = openWaiter(this.#host, {
      arrival,
      lane,
      cost: expectedCost(this.#parts.upstream, demand),
      arrivedAt: now,
      predictedMs,
      ...ends,
    });
    this.#waiters.set(id, waiter);
    this.#unreserved.add(waiter);
    const user = hashOfName(flowKey);
    this.#standings.set(waiter, { id, user, isQueued, isReserved: false, cost: waiter.cost });
    return waiter;
  }

  #forget(waiter: Waiter): void {
    const standing = this.#standings.get(waiter);
    if (standing !== undefined) this.#waiters.delete(standing.id);
    this.#standings.delete(waiter);
    this.#unreserved.delete(waiter);
    this.#slots.left(waiter);
  }

  #expire(waiter: Waiter): void {
    const now = this.#parts.clock.now();
    this.#predictor.learn(waiter, now - waiter.arrivedAt, true, now);
    const { waitMs } = this.predict(waiter.lane, waiter.arrival, now);
    this.refuse(waiter, refusals.expiredRefusal(waiter, this.#parts.upstream.name, waitMs));
  }

  refuse(waiter: Waiter, error: HeadgateError): void {
    this.#takeOut(waiter);
    waiter.arrival.ticket.cancel();
    waiter.reject(error);
    this.#parts.onChange();
  }

  /** Waits for nothing any more that other processes do. */
  close(): void {
    this.#slots.close();
  }

  /** Resolves when all that wait are refused. */
  refuseAll(error: HeadgateError): Promise<void> {
    return this.#parts.slices.each([...this.#standings.keys()], (waiter) => {
      if (!waiter.hasLeft) this.refuse(waiter, error);
    });
  }

  /** Takes out all that wait, in their order, for another gate to admit or refuse. */
  takeAll(): Waiter[] {
    const all = [...this.#standings.keys()];
    const isRetry = ({ arrival }: Waiter) => arrival.isRetry;
    const waiting = [...all.filter(isRetry), ...all.filter((waiter) => !isRetry(waiter))];
    for (const waiter of waiting) this.#takeOut(waiter);
    return waiting;
  }

  /** What is reserved for a call that leaves is free. */
  #takeOut(waiter: Waiter): void {
    const { quotas } = this.#parts;
    if (this.#standings.get(waiter)?.isReserved === true)
      quotas.release(quotas.asks(waiter.arrival.ticket, true));
    waiter.leave();
    // A debt is of those who wait: with none of its user's left, it is forgotten as an idle user's is.
    const { lane, flowKey } = waiter;
    if (lane.queue.backlogOf(flowKey) > 0) return;
    this.#debts.forget(lane.name, flowKey);
    this.#tags.delete(tagKey(waiter));
  }

  /** Who stands first, for the ledger: with `isAway`, as while it does not answer, nobody. */
  putForward(isAway: boolean): Pick<Exchange, 'lanes' | 'candidates' | 'reserve'> {
    const lanes: Record<string, Exchange['lanes'][string]> = {};
    const first = new Set<Waiter>();
    for (const { name, order, config, queue } of this.#lanes.all()) {
      const { weight, guarantee, reserve } = config;
      lanes[name] = { weight, guarantee, reserve, order, users: queue.users };
      if (isAway) continue;
      for (const waiter of queue.peekFlows(PUT_FORWARD))
        if (this.#parts.quotas.mayAsk(waiter.arrival.ticket)) first.add(waiter);
    }
    const starting = startingPaths(this.#parts.estimator);
    return {
      lanes,
      candidates: [...first].map((waiter) => this.#candidate(waiter, starting)),
      reserve: isAway ? [] : this.#reservations(first),
    };
  }

  #candidate(waiter: Waiter, starting: (demand: Demand) => Path): Candidate {
    const standing = this.#standingOf(waiter);
    const { id, user, isQueued, isReserved } = standing;
    const { upstream, quotas, clock } = this.#parts;
    standing.cost = upstream.costOf(waiter.arrival.demand);
    const debt = this.#debts.of(waiter.lane.name, waiter.flowKey);
    const tag = this.#tags.get(tagKey(waiter));
    return candidateOf(starting, waiter.arrival.demand, upstream.isRealtime, {
      id,
      lane: waiter.lane.name,
      user,
      cost: Math.max(0, standing.cost + debt),
      waitedMs: clock.now() - waiter.arrivedAt,
      isQueued,
      ...(tag === undefined ? {} : { tag }),
      quotas: quotas.asks(waiter.arrival.ticket, isReserved),
    });
  }

  /** Calls that came behind others: what their quotas refuse is refused now, and not when their turn comes. */
  #reservations(putForward: ReadonlySet<Waiter>): Exchange['reserve'] {
    const reservations: { id: number; quotas: QuotaAsk[] }[] = [];
    for (const waiter of this.#unreserved) {
      const standing = this.#standingOf(waiter);
      if (standing.isReserved || putForward.has(waiter)) continue;
      if (!this.#parts.quotas.mayAsk(waiter.arrival.ticket)) continue;
      if (reservations.length >= MAX_RESERVED) {
        this.#parts.onChange();
        break;
      }
      const quotas = this.#parts.quotas.asks(waiter.arrival.ticket, false);
      if (quotas.some(({ onExceed }) => onExceed !== 'wait')) reservations.push({ id: standing.id, quotas });
      else this.#reserved(waiter, standing);
    }
    return reservations;
  }

  #reserved(waiter: Waiter, standing: Standing): void {
    standing.isReserved = true;
    this.#unreserved.delete(waiter);
  }

  #standingOf(waiter: Waiter): Standing {
    const standing = this.#standings.get(waiter);
    if (standing === undefined) throw new TypeError('Headgate: a call that waits and has no standing');
    return standing;
  }

  /** The ledger has not let it go: what it waits for, and how far its user is ahead of the others. */
  held(waiter: Waiter, { reason, lead, tag }: Extract<Result, { type: 'waits' }>): void {
    const standing = this.#standingOf(waiter);
    this.#reserved(waiter, standing);
    standing.isQueued = true;
    if (tag !== undefined) {
      this.#tags.set(tagKey(waiter), tag);
      waiter.lane.queue.lead(waiter.flowKey, lead);
    }
    if (reason === 'queue') return;
    waiter.waitedFor ??= reason as Reason;
  }

  /** A quota of its own stands in its way: it is refused, or parked. */
  exceeded(waiter: Waiter, result: Extract<Result, { type: 'exceeded' }>): void {
    const standing = this.#standingOf(waiter);
    const entry = waiter.arrival.ticket.stateAt(result.quota);
    if (entry === undefined) return;
    const waitMs =
      result.waitMs === undefined ? undefined : result.waitMs < 0 ? Number.POSITIVE_INFINITY : result.waitMs;
    const binding: Binding = { rule: entry.rule, reason: result.reason as Reason, waitMs };
    const { clock } = this.#parts;
    // Nothing is reserved any more of a call that is refused; of one that is to wait, all that can be.
    if (result.onExceed === 'wait') this.#reserved(waiter, standing);
    else standing.isReserved = false;
    const isFull = this.#parking.sizeOf(entry.state) >= waiter.lane.config.maxQueuedPerUser;
    // What calls in flight were charged by a mere guess comes back when they end, and nobody knows when.
    const mayComeBack = (entry.state.guessed?.size ?? 0) > 0 && waitMs !== Number.POSITIVE_INFINITY;
    const soonestMs = mayComeBack ? 0 : (waitMs ?? 0);
    if (result.onExceed === 'refuse' || isFull || clock.now() + soonestMs > waiter.expiresAt) {
      this.refuse(waiter, refusals.quotaRefusal(binding, waiter.lane.name));
      return;
    }
    waiter.waitedFor ??= binding.reason;
    standing.isQueued = true;
    waiter.lane.queue.remove(waiter);
    // Held back by its own quota, its user does not go on waiting for the others.
    if (waiter.lane.queue.backlogOf(waiter.flowKey) === 0) this.#tags.delete(tagKey(waiter));
    this.#parking.park(waiter, entry.state, mayComeBack ? SLOT_MS : (waitMs ?? SLOT_MS));
    if (waitMs === undefined) this.#slots.parked(waiter, entry.state);
  }

  /** It goes, and its user is charged `paid`; it has still to leave. What it was thought to cost, and how long it waited. */
  served(
    waiter: Waiter,
    paid: number,
    tag: Tag | undefined,
    now: number,
  ): { cost: number; waitedMs: number } {
    const { cost } = this.#standingOf(waiter);
    const waitedMs = now - waiter.arrivedAt;
    this.#predictor.learn(waiter, waitedMs, false, now);
    waiter.lane.queue.serve(waiter, paid);
    if (tag !== undefined && waiter.lane.queue.backlogOf(waiter.flowKey) > 0)
      this.#tags.set(tagKey(waiter), tag);
    else this.#tags.delete(tagKey(waiter));
    return { cost, waitedMs };
  }

  /**
   * A user has cost `delta` more than it was charged. One with calls waiting pays it with the next of them, so that nothing is
   * lost of what it was charged too much; of one without, the ledger is told.
   */
  owe(
    lane: Lane<Waiter>,
    flowKey: string,
    delta: number,
    { isOwed, epoch }: { isOwed: boolean; epoch: number },
  ): void {
    const debt = this.#debts.of(lane.name, flowKey) + delta;
    if (lane.queue.backlogOf(flowKey) > 0) {
      this.#debts.set(lane.name, flowKey, debt);
      return;
    }
    this.#debts.forget(lane.name, flowKey);
    if (debt !== 0)
      this.#parts.upstream.corrected({
        lane: lane.name,
        user: hashOfName(flowKey),
        delta: debt,
        isOwed,
        epoch,
      });
  }
}

const tagKey = ({ lane, flowKey }: Waiter): string => `${compositeKey(lane.name)}\n${flowKey}`;
