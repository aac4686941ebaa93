import type { Alarms } from '../alarms.ts';
import type { Clock, Random, Timer } from '../clock.ts';
import type { LaneConfig } from '../config/schema.ts';
import {
  AbortedError,
  type HeadgateError,
  QueueFullError,
  QueueTimeoutError,
  QuotaExceededError,
  type Reason,
  UpstreamUnavailableError,
} from '../errors.ts';
import { type Lane, Lanes } from './lanes.ts';
import type { Binding, QuotaState, QuotaTicket } from './quotas.ts';
import type { Demand, Flight, Shortage, UpstreamBucket } from './upstream.ts';

/** A call at the gate. */
export interface Arrival {
  readonly demand: Demand;
  readonly lane: string;
  readonly flowKey: string;
  readonly ticket: QuotaTicket;
  /** On the clock; the call must be done by then. */
  readonly deadlineAt: number;
  /** A call that was admitted before: it keeps its turn, and only its deadline bounds its wait. */
  readonly isRetry: boolean;
  readonly signals: readonly AbortSignal[];
}

/** What the gate answers. */
export interface Passage {
  readonly flight: Flight;
  readonly waitedMs: number;
  /** What the call waited for first, if it waited. */
  readonly waitedFor: Reason | undefined;
}

interface Waiter {
  readonly flowKey: string;
  readonly cost: number;
  readonly arrival: Arrival;
  readonly lane: Lane<Waiter>;
  readonly arrivedAt: number;
  readonly expiresAt: number;
  waitedFor: Reason | undefined;
  /** Leaves the queue, or the place where it is parked, and takes its timer and listeners along. */
  leave: () => void;
  resolve: (passage: Passage) => void;
  reject: (error: HeadgateError) => void;
  parkedAt: QuotaState | undefined;
  parkTimer: Timer | undefined;
  unpark: () => void;
}

/** Users whose first call is tried when a large one stands first. */
const BACKFILL = 32;
/** Share of the input refill that is put by for a large call that stands first; the rest goes to those that pass it. */
const SAVING = 0.5;

/**
 * The gate of one upstream bucket. Lanes take turns, inside a lane users do; the call whose turn it is goes as soon
 * as every dimension has room for it and nobody passes it, but for one case: a call that waits for much input is
 * put half of the refill by, and smaller calls may use the other half meanwhile. So it waits at most twice as
 * long as alone, and the other dimensions are not idle. A call held back by a quota of its own is parked outside the queue
 * and delays nobody. One timer stands for all that wait.
 */
export class Scheduler {
  readonly upstream: UpstreamBucket;
  readonly #lanes: Lanes<Waiter>;
  readonly #alarms: Alarms;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #parked = new Set<Waiter>();
  #timer: Timer | undefined;
  #isPumping = false;
  #savings: { waiter: Waiter; since: number; base: number } | undefined;
  #closed: HeadgateError | undefined;

  constructor(
    upstream: UpstreamBucket,
    lanes: Readonly<Record<string, LaneConfig>>,
    alarms: Alarms,
    clock: Clock,
    random: Random,
  ) {
    this.upstream = upstream;
    this.#lanes = new Lanes(lanes);
    this.#alarms = alarms;
    this.#clock = clock;
    this.#random = random;
  }

  /** Other lanes from now on; what waits goes on waiting, with its turn. */
  configure(lanes: Readonly<Record<string, LaneConfig>>): void {
    this.#lanes.configure(lanes);
    this.wake();
  }

  /** Calls waiting, parked ones included. */
  get size(): number {
    return this.#lanes.size + this.#parked.size;
  }

  /** Admits a call, at once or when its turn has come. @throws HeadgateError when it is refused; then nothing is taken. */
  enter(arrival: Arrival): Promise<Passage> {
    const now = this.#clock.now();
    const lane = this.#lanes.get(arrival.lane);
    // Lanes are checked where the plan is made; this is for the compiler and for a lane dropped since.
    if (lane === undefined) throw new TypeError(`Headgate: no lane "${arrival.lane}"`);
    const impossible = this.#impossible(arrival, lane);
    if (impossible === undefined && this.#isFree(arrival, lane, now)) {
      arrival.ticket.commit();
      return Promise.resolve({
        flight: this.upstream.admit(arrival.demand, now),
        waitedMs: 0,
        waitedFor: undefined,
      });
    }
    const refusal = impossible ?? this.#tooLong(arrival, lane, now);
    if (refusal !== undefined) {
      arrival.ticket.cancel();
      return Promise.reject(refusal);
    }
    return new Promise((resolve, reject) => {
      const waiter = this.#waiter(arrival, lane, now, resolve, reject);
      this.#enqueue(waiter, arrival.isRetry);
      this.#pump();
    });
  }

  /** In shadow: records what would have held the call up, and lets it pass. */
  pass(demand: Demand, ticket: QuotaTicket): Passage {
    const now = this.#clock.now();
    const shortage = this.upstream.shortage(demand, 0, 0, now);
    ticket.commit();
    return {
      flight: this.upstream.admit(demand, now),
      waitedMs: 0,
      waitedFor: shortage?.reason,
    };
  }

  /** With nobody waiting there is no turn to wait for. */
  #isFree({ demand, ticket }: Arrival, lane: Lane<Waiter>, now: number): boolean {
    return (
      this.#lanes.size === 0 &&
      ticket.ready() === undefined &&
      this.upstream.shortage(demand, lane.config.reserve, 0, now) === undefined
    );
  }

  /** What no waiting would help. */
  #impossible(arrival: Arrival, lane: Lane<Waiter>): HeadgateError | undefined {
    if (this.#closed !== undefined) return this.#closed;
    if (arrival.signals.some((signal) => signal.aborted)) {
      return new AbortedError('the caller was gone before the call was admitted', {
        reason: 'aborted',
        lane: lane.name,
      });
    }
    const large = this.upstream.tooLarge(arrival.demand);
    if (large !== undefined) {
      const { inputTokens } = arrival.demand.estimate;
      return new QueueFullError(
        `the prompt is about ${inputTokens} tokens and "${this.upstream.name}" allows ${large.limit} a minute: it can never be admitted`,
        {
          reason: 'input_tokens_per_minute',
          rule: this.upstream.name,
          lane: lane.name,
        },
      );
    }
    return undefined;
  }

  /** A wait that is too long, or too many that wait. */
  #tooLong(arrival: Arrival, lane: Lane<Waiter>, now: number): HeadgateError | undefined {
    if (arrival.isRetry) return undefined;
    const { queue, config } = lane;
    if (
      queue.size + this.#parked.size >= config.maxQueued ||
      queue.backlogOf(arrival.flowKey) >= config.maxQueuedPerUser
    ) {
      const whose =
        queue.size + this.#parked.size >= config.maxQueued ? `lane "${lane.name}" has` : 'this user has';
      return new QueueFullError(`${whose} as many calls waiting as it may`, {
        reason: 'queue_full',
        rule: this.upstream.name,
        lane: lane.name,
        retryAfterMs: Math.max(1_000, this.#predict(arrival, lane, now)),
      });
    }
    const predictedMs = this.#predict(arrival, lane, now);
    const leftMs = arrival.deadlineAt - now;
    if (predictedMs <= Math.min(config.maxWait, leftMs)) return undefined;
    // Spread, so that those who are told to come back do not come back together.
    const retryAfterMs = Math.max(1_000, predictedMs - config.maxWait / 2) * (1 + 0.2 * this.#random());
    return new QueueFullError(
      `the wait would be about ${Math.ceil(predictedMs / 1000)} s, longer than ${
        predictedMs > config.maxWait ? `lane "${lane.name}" allows` : 'the call has left'
      }`,
      {
        reason: predictedMs > config.maxWait ? 'queue_full' : 'deadline',
        rule: this.upstream.name,
        lane: lane.name,
        retryAfterMs,
      },
    );
  }

  /**
   * Milliseconds until a newcomer's turn: its own shortage, and what stands before it served at its lane's share.
   * Others of its lane count with no more calls than it has itself, which is what fair queueing gives them.
   */
  #predict(arrival: Arrival, lane: Lane<Waiter>, now: number): number {
    const shortage = this.upstream.shortage(arrival.demand, lane.config.reserve, 0, now);
    const ahead = lane.queue.aheadOf(arrival.flowKey);
    if (shortage === undefined && ahead === 0) return 0;
    return (shortage?.waitMs ?? 0) + (ahead * lane.queue.meanCost) / this.#lanes.shareOf(lane);
  }

  #waiter(
    arrival: Arrival,
    lane: Lane<Waiter>,
    now: number,
    resolve: (passage: Passage) => void,
    reject: (error: HeadgateError) => void,
  ): Waiter {
    const expiresAt = arrival.isRetry
      ? arrival.deadlineAt
      : Math.min(arrival.deadlineAt, now + lane.config.maxWait);
    const onAbort = () =>
      this.#refuse(
        waiter,
        new AbortedError('the caller hung up while the call was queued', {
          reason: 'aborted',
          lane: lane.name,
        }),
      );
    const expiry = this.#alarms.set(expiresAt, () => this.#refuse(waiter, this.#expired(waiter)));
    for (const signal of arrival.signals) signal.addEventListener('abort', onAbort, { once: true });
    const waiter: Waiter = {
      flowKey: arrival.flowKey,
      cost: costOf(this.upstream, arrival.demand),
      arrival,
      lane,
      arrivedAt: now,
      expiresAt,
      waitedFor: undefined,
      parkedAt: undefined,
      parkTimer: undefined,
      leave: () => {
        expiry.cancel();
        for (const signal of arrival.signals) signal.removeEventListener('abort', onAbort);
        lane.queue.remove(waiter);
        this.#leaveParking(waiter);
        if (this.#savings?.waiter === waiter) this.#savings = undefined;
      },
      unpark: () => this.#unpark(waiter),
      resolve,
      reject,
    };
    return waiter;
  }

  #expired(waiter: Waiter): HeadgateError {
    const { arrival, lane } = waiter;
    const isDeadline = waiter.expiresAt >= arrival.deadlineAt;
    const reason = isDeadline ? 'deadline' : 'queue_timeout';
    const retryAfterMs = Math.max(1_000, this.#predict(arrival, lane, this.#clock.now()));
    const text = isDeadline
      ? 'the deadline passed while the call was queued'
      : `the call was queued for ${lane.config.maxWait / 1000} s, the longest that lane "${lane.name}" allows`;
    return new QueueTimeoutError(text, {
      reason,
      rule: this.upstream.name,
      lane: lane.name,
      retryAfterMs,
    });
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
    if (this.#isPumping) return;
    this.#isPumping = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    try {
      let waitMs: number | undefined = 0;
      while (waitMs === 0) waitMs = this.#step();
      if (waitMs !== undefined)
        this.#timer = this.#alarms.set(this.#clock.now() + waitMs, () => this.#pump());
    } finally {
      this.#isPumping = false;
    }
  }

  /** One move: 0 when something moved, else milliseconds until the next look, or nothing when an event must come first. */
  #step(): number | undefined {
    const now = this.#clock.now();
    let soonest: number | undefined;
    for (const lane of this.#lanes.turn(now)) {
      const head = lane.queue.peek();
      if (head === undefined) continue;
      const shortage = this.#tryAdmit(head, 0, now);
      if (shortage === 'moved') return 0;
      head.waitedFor ??= shortage.reason;
      if (shortage.waitMs !== undefined)
        soonest = Math.min(soonest ?? Number.POSITIVE_INFINITY, shortage.waitMs);
      // Room that is kept for more urgent lanes is theirs: the next lane may have it.
      const isOwnReserve =
        lane.config.reserve > 0 && this.upstream.shortage(head.arrival.demand, 0, 0, now) === undefined;
      if (isOwnReserve) continue;
      if (shortage.reason === 'input_tokens_per_minute' && this.#backfill(head, now)) return 0;
      break;
    }
    return soonest === undefined ? undefined : Math.max(1, soonest);
  }

  #tryAdmit(waiter: Waiter, saved: number, now: number): Shortage | 'moved' {
    const own = waiter.arrival.ticket.ready();
    if (own !== undefined) {
      this.#park(waiter, own.binding, own.state, now);
      return 'moved';
    }
    const shortage = this.upstream.shortage(waiter.arrival.demand, waiter.lane.config.reserve, saved, now);
    if (shortage !== undefined) return shortage;
    this.#admit(waiter, now);
    return 'moved';
  }

  #admit(waiter: Waiter, now: number): void {
    const { lane, arrival } = waiter;
    lane.queue.serve(waiter);
    this.#lanes.served(lane, waiter.cost, now);
    waiter.leave();
    arrival.ticket.commit();
    const flight = this.upstream.admit(arrival.demand, now);
    waiter.resolve({
      flight,
      waitedMs: now - waiter.arrivedAt,
      waitedFor: waiter.waitedFor,
    });
  }

  /** Lets a smaller call pass `head`, out of the half of the input refill that is not put by for it. */
  #backfill(head: Waiter, now: number): boolean {
    if (this.#savings?.waiter !== head)
      this.#savings = {
        waiter: head,
        since: now,
        base: this.upstream.inputLevel(now),
      };
    const { since, base } = this.#savings;
    const saved = Math.max(0, base + SAVING * this.upstream.inputRefill(now - since));
    let tried = 0;
    for (const lane of this.#lanes.turn(now)) {
      for (const candidate of lane.queue.peekFlows(BACKFILL - tried)) {
        tried++;
        if (candidate === head || candidate.arrival.ticket.ready() !== undefined) continue;
        const shortage = this.upstream.shortage(candidate.arrival.demand, lane.config.reserve, saved, now);
        if (shortage !== undefined) continue;
        this.#admit(candidate, now);
        return true;
      }
    }
    return false;
  }

  #park(waiter: Waiter, binding: Binding, state: QuotaState, now: number): void {
    const { reason, waitMs } = binding;
    if (now + (waitMs ?? 0) > waiter.expiresAt || state.parked.size >= waiter.lane.config.maxQueuedPerUser) {
      // Waiting longer than it may would end in the same refusal, later.
      this.#refuse(waiter, quotaRefusal(binding, waiter.lane.name));
      return;
    }
    waiter.waitedFor ??= reason;
    waiter.lane.queue.remove(waiter);
    waiter.parkedAt = state;
    state.parked.add(waiter.unpark);
    this.#parked.add(waiter);
    if (waitMs !== undefined) {
      waiter.parkTimer = this.#alarms.set(now + Math.max(1, waitMs), waiter.unpark);
    }
  }

  #leaveParking(waiter: Waiter): void {
    if (!this.#parked.delete(waiter)) return;
    waiter.parkedAt?.parked.delete(waiter.unpark);
    waiter.parkedAt = undefined;
    waiter.parkTimer?.cancel();
    waiter.parkTimer = undefined;
  }

  #unpark(waiter: Waiter): void {
    if (!this.#parked.has(waiter)) return;
    this.#leaveParking(waiter);
    this.#enqueue(waiter, true);
    this.#pump();
  }

  /** A call ended: what it really cost is put on its user's account, and its room is given to others. */
  settled(lane: string, flowKey: string, costDelta: number): void {
    this.#lanes.get(lane)?.queue.correct(flowKey, costDelta);
    this.wake();
  }

  /** Refuses all that wait and all that come. */
  close(): void {
    this.#closed = new UpstreamUnavailableError('the governor is closed', {
      reason: 'closed',
    });
    const waiting: Waiter[] = [...this.#parked];
    for (const { queue } of this.#lanes.all()) {
      for (let head = queue.peek(); head !== undefined; head = queue.peek()) {
        queue.remove(head);
        waiting.push(head);
      }
    }
    for (const waiter of waiting) this.#refuse(waiter, this.#closed);
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  snapshot(now: number) {
    const lanes = [...this.#lanes.all()].map(
      ({ name, queue }) => [name, { queued: queue.size, users: queue.flows }] as const,
    );
    return {
      ...this.upstream.snapshot(now),
      lanes: Object.fromEntries(lanes),
      parked: this.#parked.size,
    };
  }
}

function costOf(upstream: UpstreamBucket, { chargesTokens, estimate }: Demand): number {
  return chargesTokens ? upstream.cost(estimate.inputTokens, estimate.outputTokens) : upstream.cost(0, 0);
}

/** The refusal that a quota's answer becomes. */
export function quotaRefusal({ rule, reason, waitMs }: Binding, lane: string): QuotaExceededError {
  const never = waitMs === Number.POSITIVE_INFINITY;
  const text = never
    ? `the call asks for more than quota "${rule.name}" ever allows`
    : reason === 'concurrency'
      ? `quota "${rule.name}" allows ${rule.concurrency} calls at once`
      : `quota "${rule.name}" is used up`;
  // With no time known, a slot is likely to be free soon: a second is what a client should at least wait.
  const retryAfterMs = never ? undefined : (waitMs ?? 1_000);
  return new QuotaExceededError(text, {
    reason,
    rule: rule.name,
    lane,
    retryAfterMs,
  });
}
