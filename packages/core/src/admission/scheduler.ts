import type { Alarms } from '../alarms.ts';
import type { Clock, Random, Timer } from '../clock.ts';
import type { LaneConfig } from '../config/schema.ts';
import { closedError, type HeadgateError, type Reason } from '../errors.ts';
import { Slices } from '../slices.ts';
import { Backfill } from './backfill.ts';
import * as entry from './entry.ts';
import { type Demand, expectedCost, type Flight, NO_RESERVE, type Shortage } from './flight.ts';
import { type Lane, Lanes } from './lanes.ts';
import { Parking } from './parking.ts';
import { Predictor } from './predict.ts';
import * as refusals from './refusals.ts';
import type { QuotaTicket } from './ticket.ts';
import type { UpstreamBucket } from './upstream.ts';
import {
  type Arrival,
  joinsFront,
  openWaiter,
  type Passage,
  type Waiter,
  type WaiterHost,
} from './waiter.ts';

export type { Arrival, Passage } from './waiter.ts';

/** How often a call that waits for output is looked at: as often as the running answers are. */
const LOOK_MS = 200;
/** Users among whom one is looked for that has not seen an unknown bucket yet. */
const LOOKERS = 32;
/**
 * The gate of one upstream bucket. Lanes take turns, inside a lane users do; the call whose turn it is goes as soon
 * as every dimension has room for it and nobody passes it, but for a large prompt that waits for input (backfill.ts). A
 * call held back by a quota of its own is parked outside the queue and delays nobody (parking.ts). One that would wait
 * too long is refused as it comes (predict.ts). One timer stands for all that wait.
 */
export class Scheduler {
  readonly upstream: UpstreamBucket;
  readonly #lanes: Lanes<Waiter>;
  readonly #parking: Parking;
  readonly #predictor = new Predictor();
  readonly #backfill = new Backfill();
  readonly #host: WaiterHost;
  readonly #alarms: Alarms;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #slices: Slices;
  /** What the last call that could not go was short of. */
  #heldUpBy: Reason | undefined;
  #timer: Timer | undefined;
  #isPumping = false;
  /** More may go than fits one slice: the rest goes in the next. */
  #isResting = false;
  #closed: HeadgateError | undefined;

  constructor(
    upstream: UpstreamBucket,
    lanes: Readonly<Record<string, LaneConfig>>,
    alarms: Alarms,
    clock: Clock,
    random: Random,
    slices = new Slices(),
  ) {
    this.upstream = upstream;
    this.#lanes = new Lanes(lanes);
    this.#alarms = alarms;
    this.#clock = clock;
    this.#random = random;
    this.#slices = slices;
    this.#parking = new Parking(
      alarms,
      () => clock.now(),
      (waiter) => {
        this.#enqueue(waiter, true);
        this.#pump();
      },
    );
    this.#host = {
      lanes: this.#lanes,
      parking: this.#parking,
      alarms,
      slices,
      expire: (waiter) => this.#expire(waiter),
      abort: (waiter) => this.#refuse(waiter, refusals.hungUpRefusal(waiter.lane.name)),
      left: (waiter) => this.#backfill.left(waiter),
    };
  }

  /** Other lanes from now on; what waits goes on waiting, with its turn. */
  configure(lanes: Readonly<Record<string, LaneConfig>>): void {
    this.#lanes.configure(lanes);
    this.wake();
  }

  /** Its bucket is this process's own. */
  get processes(): number {
    return 1;
  }

  /** Calls waiting, parked ones included. */
  get size(): number {
    return this.#lanes.size + this.#parking.size;
  }

  /** Admits a call, at once or when its turn has come. @throws HeadgateError when it is refused; then nothing is taken. */
  enter(arrival: Arrival): Promise<Passage> {
    const now = this.#clock.now();
    this.upstream.arrives(arrival.demand, now);
    // A lane that is gone since the plan was made.
    const lane = this.#lanes.get(arrival.lane) ?? this.#lanes.last;
    if (lane === undefined) throw new TypeError(`Headgate: no lane "${arrival.lane}"`);
    let refusal = this.#closed ?? entry.impossible(arrival, lane, this.upstream);
    if (refusal === undefined && this.#isFree(arrival, lane, now)) {
      arrival.ticket.commit();
      const flight = this.upstream.admit(arrival.demand, now);
      return Promise.resolve({ flight, waitedMs: 0, waitedFor: undefined });
    }
    const prediction = this.#predictor.predict(this.upstream, this.#lanes, lane, arrival, now);
    if (!arrival.isRetry && arrival.moved === undefined)
      refusal ??= entry.tooLong(arrival, lane, this.upstream, prediction, now, this.#random);
    if (refusal !== undefined) {
      arrival.ticket.cancel();
      return Promise.reject(refusal);
    }
    return new Promise((resolve, reject) => {
      const waiter = openWaiter(this.#host, {
        arrival,
        lane,
        cost: expectedCost(this.upstream, arrival.demand),
        arrivedAt: arrival.moved?.arrivedAt ?? now,
        predictedMs: prediction.queueMs,
        resolve,
        reject,
      });
      this.#predictor.joined(lane, waiter.cost, now);
      this.#enqueue(waiter, joinsFront(arrival));
      this.#pump();
    });
  }

  /** In shadow: records what would have held the call up, and lets it pass. @throws HeadgateError once it is closed. */
  pass(demand: Demand, ticket: QuotaTicket): Passage {
    if (this.#closed !== undefined) {
      ticket.cancel();
      throw this.#closed;
    }
    const now = this.#clock.now();
    const shortage = this.upstream.shortage(demand, NO_RESERVE, 0, now);
    ticket.commit();
    const flight = this.upstream.admit(demand, now);
    return { flight, waitedMs: 0, waitedFor: shortage?.reason };
  }

  /** Charges quotas for what was used of them without a turn of its own. */
  charge(ticket: QuotaTicket): void {
    ticket.commit();
  }

  /** Milliseconds that a call of this lane and user would wait now, as far as can be foreseen. */
  foresee(demand: Demand, laneName: string, flowKey: string): number {
    const lane = this.#lanes.get(laneName) ?? this.#lanes.last;
    if (lane === undefined) return 0;
    return this.#predictor.predict(this.upstream, this.#lanes, lane, { demand, flowKey }, this.#clock.now())
      .waitMs;
  }

  /** With nobody waiting there is no turn to wait for. */
  #isFree({ demand, ticket }: Arrival, lane: Lane<Waiter>, now: number): boolean {
    return (
      this.#lanes.size === 0 &&
      ticket.ready() === undefined &&
      this.upstream.shortage(demand, this.#lanes.reserveOf(lane, now), 0, now) === undefined
    );
  }

  #expire(waiter: Waiter): void {
    const now = this.#clock.now();
    const { arrival, lane } = waiter;
    this.#predictor.learn(waiter, now - waiter.arrivedAt, true, now);
    const { waitMs } = this.#predictor.predict(this.upstream, this.#lanes, lane, arrival, now);
    this.#refuse(waiter, refusals.expiredRefusal(waiter, this.upstream.name, waitMs));
  }

  #refuse(waiter: Waiter, error: HeadgateError): void {
    waiter.leave();
    waiter.arrival.ticket.cancel();
    waiter.reject(error);
    this.#pump();
  }

  #enqueue(waiter: Waiter, front: boolean): void {
    if (waiter.lane.queue.size === 0) this.#lanes.joined(waiter.lane, this.#clock.now());
    waiter.lane.queue.push(waiter, { front });
  }

  /** Something may have changed: admits whatever may go now. */
  wake(): void {
    if (this.#lanes.size > 0) this.#pump();
  }

  #pump(): void {
    // Admitting settles quotas and parks calls, both of which ask for another look.
    if (this.#isPumping || this.#isResting || this.#closed !== undefined) return;
    this.#isPumping = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    try {
      let waitMs = this.#step();
      while (waitMs === 0 && this.#slices.take()) waitMs = this.#step();
      if (waitMs === 0) this.#rest();
      else if (waitMs !== undefined)
        this.#timer = this.#alarms.set(this.#clock.now() + waitMs, () => this.#pump());
    } finally {
      this.#isPumping = false;
    }
  }

  #rest(): void {
    this.#isResting = true;
    this.#slices.next(() => {
      this.#isResting = false;
      this.#pump();
    });
  }

  /** One move: 0 when something moved, else milliseconds until the next look, or nothing when an event must come first. */
  #step(): number | undefined {
    const now = this.#clock.now();
    let soonest: number | undefined;
    for (const lane of this.#lanes.turn(now)) {
      const head = this.upstream.isUnknown ? this.#looker(lane) : lane.queue.peek();
      if (head === undefined) continue;
      const shortage = this.#tryAdmit(head, now);
      if (shortage === 'moved') return 0;
      head.waitedFor ??= shortage.reason;
      this.#heldUpBy = shortage.reason;
      if (shortage.waitMs !== undefined) {
        // Of what running answers are yet to produce more is known each time that they are looked at.
        const waitMs =
          shortage.reason === 'output_tokens_per_minute'
            ? Math.min(LOOK_MS, shortage.waitMs)
            : shortage.waitMs;
        soonest = Math.min(soonest ?? Number.POSITIVE_INFINITY, waitMs);
      }
      // Room that is kept for more urgent lanes is theirs: the next lane may have it.
      const isOwnReserve =
        lane.config.reserve > 0 &&
        this.upstream.shortage(head.arrival.demand, NO_RESERVE, 0, now) === undefined;
      if (isOwnReserve) continue;
      if (shortage.reason === 'input_tokens_per_minute') {
        const other = this.#backfill.find(head, this.#lanes, this.upstream, now);
        if (other !== undefined) {
          this.#admit(other, now);
          return 0;
        }
      }
      break;
    }
    return soonest === undefined ? undefined : Math.max(1, soonest);
  }

  /** The next call, of another caller than the one whose look has taught nothing yet, if there is any. */
  #looker({ queue }: Lane<Waiter>): Waiter | undefined {
    const { lookedBy } = this.upstream;
    for (const call of queue.peekFlows(LOOKERS)) if (call.arrival.demand.caller !== lookedBy) return call;
    return queue.peek();
  }

  #tryAdmit(waiter: Waiter, now: number): Shortage | 'moved' {
    const own = waiter.arrival.ticket.ready();
    if (own !== undefined) {
      const { reason, waitMs, soonestMs = waitMs } = own.binding;
      const isFull = this.#parking.sizeOf(own.state) >= waiter.lane.config.maxQueuedPerUser;
      // Waiting longer than it may would end in the same refusal, later.
      if (isFull || now + (soonestMs ?? 0) > waiter.expiresAt)
        this.#refuse(waiter, refusals.quotaRefusal(own.binding, waiter.lane.name));
      else {
        waiter.waitedFor ??= reason;
        waiter.lane.queue.remove(waiter);
        this.#parking.park(waiter, own.state, waitMs);
      }
      return 'moved';
    }
    const reserve = this.#lanes.reserveOf(waiter.lane, now);
    const shortage = this.upstream.shortage(waiter.arrival.demand, reserve, 0, now);
    if (shortage !== undefined) return shortage;
    this.#admit(waiter, now);
    return 'moved';
  }

  #admit(waiter: Waiter, now: number): void {
    const { lane, arrival, waitedFor } = waiter;
    const waitedMs = now - waiter.arrivedAt;
    this.#predictor.learn(waiter, waitedMs, false, now);
    const kept = this.#lanes.keptFor(lane, waitedMs, now);
    if (kept !== undefined && this.upstream.shortage(arrival.demand, kept, 0, now) !== undefined)
      this.#lanes.raise(now);
    const { epoch } = lane.queue;
    // What it was thought to cost when it came may be long out of date.
    const thought = this.upstream.costOf(arrival.demand);
    const cost = lane.queue.serve(waiter, thought);
    const isOwed = this.#lanes.served(lane, cost, now);
    // Before it leaves: whoever is parked behind it sees the room that is left.
    arrival.ticket.commit();
    const flight = this.upstream.admit(arrival.demand, now);
    flight.turn = { epoch, isOwed, thought, cost };
    waiter.leave();
    // Who waited behind others waited for what they waited for.
    const behind = waitedMs >= 1 ? this.#heldUpBy : undefined;
    waiter.resolve({ flight, waitedMs, waitedFor: waitedFor ?? behind });
  }

  /** A call ended that did cost `cost`: that is put on its user's account, and its room is given to others. */
  settled(name: string, flowKey: string, cost: number, { turn }: Flight): void {
    const lane = this.#lanes.get(name);
    // One that went at once took no turn, and was charged nothing that could be put right.
    if (lane !== undefined && turn !== undefined) {
      const delta = cost - turn.cost;
      this.#lanes.correct(lane, delta, turn.isOwed);
      lane.queue.learn(flowKey, turn.thought, cost);
      if (turn.epoch === lane.queue.epoch) lane.queue.correct(flowKey, delta);
    }
    this.wake();
  }

  /** Hands over everybody who waits, in the order of their turn: somebody else is going to let them in, or to refuse them. */
  handOver(): Waiter[] {
    const waiting = this.#parking.all();
    for (const { queue } of this.#lanes.all()) {
      for (let head = queue.peek(); head !== undefined; head = queue.peek()) {
        queue.remove(head);
        waiting.push(head);
      }
    }
    for (const waiter of waiting) waiter.leave();
    return waiting;
  }

  /** Refuses all that come, and all that wait; resolves when they are. */
  close(): Promise<void> {
    const closed = closedError();
    this.#closed = closed;
    this.upstream.endCrowds(this.#clock.now());
    this.#timer?.cancel();
    this.#timer = undefined;
    const waiting = [...this.#parking.all(), ...[...this.#lanes.all()].flatMap(({ queue }) => queue.all())];
    return this.#slices.each(waiting, (waiter) => {
      if (!waiter.hasLeft) this.#refuse(waiter, closed);
    });
  }

  snapshot(now: number) {
    const lanes = [...this.#lanes.all()].map(
      ({ name, queue }) => [name, { queued: queue.size, users: queue.flows }] as const,
    );
    return {
      ...this.upstream.snapshot(now),
      lanes: Object.fromEntries(lanes),
      parked: this.#parking.size,
    };
  }
}
