import { createHash } from 'node:crypto';
import type { Alarms } from '../../alarms.ts';
import type { Clock, Random } from '../../clock.ts';
import type { LaneConfig } from '../../config/schema.ts';
import { type HeadgateError, type Reason, UpstreamUnavailableError } from '../../errors.ts';
import type { Estimator } from '../../estimate/estimator.ts';
import {
  type Answer,
  type Candidate,
  type Exchange,
  GRACE_MS,
  type QuotaAsk,
  type Result,
  type Store,
  type Wake,
} from '../../stores/store.ts';
import type { Demand, Flight } from '../flight.ts';
import { type Lane, Lanes } from '../lanes.ts';
import { Parking } from '../parking.ts';
import { Predictor } from '../predict.ts';
import * as refusals from '../refusals.ts';
import { Scheduler } from '../scheduler.ts';
import type { Binding, QuotaTicket } from '../ticket.ts';
import type { Arrival, Passage, Waiter } from '../waiter.ts';
import { Debts } from './debts.ts';
import { FleetQuotas } from './fleet-quotas.ts';
import type { FleetUpstream } from './fleet-upstream.ts';
import { Line, type Mode } from './line.ts';
import { candidateOf } from './statement.ts';

/** Calls of each lane that are put forward: the first ones of so many users. */
const PUT_FORWARD = 4;
/** What is to be put right waits so long for more of it. */
const GATHER_MS = 300;
/** The same for what frees nothing: it goes with what is said sooner, as a rule. */
const PATIENT_MS = 800;
/** A turn that is somebody else's is asked about again so much later than it should have been taken, at random. */
const SPREAD_MS = 25;
/** A slot of a quota that another process holds is asked for again after this. */
const SLOT_MS = 1_000;
/** Calls whose quotas are reserved with one message, at most. */
const MAX_RESERVED = 100;
const MAX_BYTES = 256 * 2 ** 20;
const SPREAD = 0.2;
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

export interface FleetParts {
  readonly upstream: FleetUpstream;
  readonly lanes: Readonly<Record<string, LaneConfig>>;
  readonly store: Store;
  readonly process: string;
  readonly estimator: Estimator;
  readonly alarms: Alarms;
  readonly clock: Clock;
  readonly random: Random;
  readonly onMode: (mode: Mode, error: unknown) => void;
}

/**
 * The gate of a bucket that several processes share. Calls wait here, each process its own; who goes is the ledger's word,
 * which knows the first of every process. When the ledger is not there a scheduler like that of a single process takes over,
 * with this process's share.
 */
export class FleetScheduler {
  readonly upstream: FleetUpstream;
  readonly #local: Scheduler;
  readonly #lanes: Lanes<Waiter>;
  readonly #parking: Parking;
  readonly #predictor = new Predictor();
  readonly #line: Line;
  readonly #parts: FleetParts;
  readonly #waiters = new Map<number, Waiter>();
  readonly #standings = new Map<Waiter, Standing>();
  /** Those among them whose quotas are not reserved yet. */
  readonly #unreserved = new Set<Waiter>();
  readonly #debts = new Debts();
  readonly #quotas: FleetQuotas;
  #unlisten: (() => void) | undefined;
  #nextId = 1;
  #areLimitsTold = false;
  #closed: HeadgateError | undefined;

  constructor(parts: FleetParts) {
    const { upstream, lanes, alarms, clock, random, store, process } = parts;
    this.#parts = parts;
    this.upstream = upstream;
    this.#lanes = new Lanes(lanes);
    this.#local = new Scheduler(upstream.mirror, lanes, alarms, clock, random);
    this.#quotas = new FleetQuotas(clock, () => this.#soon());
    this.#parking = new Parking(
      alarms,
      () => clock.now(),
      (waiter) => {
        this.#enqueue(waiter, true);
        this.#line.ask();
      },
    );
    this.#line = new Line({
      store,
      bucket: `${upstream.account}\n${upstream.name}`,
      process,
      clock,
      alarms,
      build: (now, isKnown) => this.#build(now, isKnown),
      onAnswer: (answer, said) => this.#answered(answer, said),
      onMode: (mode, error) => this.#turned(mode, error),
      isBusy: () => this.upstream.active > 0 || this.#lanes.size > 0,
    });
    upstream.onChange = (haste) => {
      if (haste === 'now') this.#line.ask();
      else this.#soon(haste === 'soon' ? GATHER_MS : PATIENT_MS);
    };
  }

  get size(): number {
    return this.#lanes.size + this.#parking.size + this.#local.size;
  }

  get mode(): Mode {
    return this.#line.mode;
  }

  configure(lanes: Readonly<Record<string, LaneConfig>>): void {
    this.#lanes.configure(lanes);
    this.#local.configure(lanes);
    this.#areLimitsTold = false;
    this.#soon();
  }

  /** Admits a call when its turn has come. @throws HeadgateError when it is refused; then nothing is taken. */
  enter(arrival: Arrival): Promise<Passage> {
    if (this.mode === 'degraded') return this.#enterLocal(arrival);
    const { clock } = this.#parts;
    const now = clock.now();
    const lane = this.#lanes.get(arrival.lane) ?? this.#lanes.last;
    if (lane === undefined) throw new TypeError(`Headgate: no lane "${arrival.lane}"`);
    const { waitMs, mostMs, queueMs } = this.#predict(lane, arrival, now);
    const refusal =
      this.#impossible(arrival, lane) ??
      (arrival.isRetry ? undefined : this.#tooLong(arrival, lane, waitMs, mostMs, now));
    if (refusal !== undefined) {
      arrival.ticket.cancel();
      return Promise.reject(refusal);
    }
    return new Promise((resolve, reject) => {
      const waiter = this.#waiter(arrival, lane, queueMs, now, resolve, reject);
      this.#predictor.joined(lane, waiter.cost, now);
      const isFirst = lane.queue.size === 0;
      this.#enqueue(waiter, arrival.isRetry);
      // Behind others it is known to the ledger in time: nobody of its lane can go before they do.
      if (isFirst || arrival.isRetry) this.#line.ask();
      else this.#soon();
    });
  }

  #predict(lane: Lane<Waiter>, arrival: Pick<Arrival, 'demand' | 'flowKey'>, now: number) {
    const { upstream } = this;
    let users = 0;
    for (const { queue } of this.#lanes.all()) users += queue.users;
    const seen = {
      share: upstream.shareOf(users),
      shortage: (demand: Demand, reserve: number) => upstream.shortage(demand, reserve, now),
    };
    return this.#predictor.predict(seen, this.#lanes, lane, arrival, now);
  }

  #impossible({ demand, signals }: Arrival, lane: Lane<Waiter>): HeadgateError | undefined {
    if (this.#closed !== undefined) return this.#closed;
    if (signals.some((signal) => signal.aborted)) return refusals.goneRefusal(lane.name);
    const large = this.upstream.tooLarge(demand);
    if (large === undefined) return undefined;
    return refusals.tooLargeRefusal(demand.estimate.inputTokens, large.limit, this.upstream.name, lane.name);
  }

  #tooLong(
    arrival: Arrival,
    lane: Lane<Waiter>,
    waitMs: number,
    mostMs: number,
    now: number,
  ): HeadgateError | undefined {
    const { queue, config } = lane;
    const { name } = this.upstream;
    const isFull = lane.held >= config.maxQueued || lane.bytes + (arrival.bytes ?? 0) > MAX_BYTES;
    if (isFull || queue.backlogOf(arrival.flowKey) >= config.maxQueuedPerUser) {
      const whose = isFull ? `lane "${lane.name}" has` : 'this user has';
      return refusals.fullRefusal(whose, name, lane.name, waitMs);
    }
    const left = arrival.deadlineAt - now;
    if (mostMs <= Math.min(config.maxWait, left)) return undefined;
    const retryAfterMs = Math.max(1_000, waitMs - config.maxWait / 2) * (1 + SPREAD * this.#parts.random());
    return refusals.tooLongRefusal(mostMs, left < config.maxWait, name, lane.name, retryAfterMs);
  }

  #waiter(
    arrival: Arrival,
    lane: Lane<Waiter>,
    predictedMs: number,
    now: number,
    resolve: (passage: Passage) => void,
    reject: (error: HeadgateError) => void,
  ): Waiter {
    const { deadlineAt, signals, bytes = 0, flowKey, demand } = arrival;
    const { estimate, chargesTokens } = demand;
    const expiresAt = arrival.isRetry ? deadlineAt : Math.min(deadlineAt, now + lane.config.maxWait);
    const expiry = this.#parts.alarms.set(expiresAt, () => this.#expire(waiter));
    const onAbort = () => this.#refuse(waiter, refusals.hungUpRefusal(lane.name));
    for (const signal of signals) signal.addEventListener('abort', onAbort, { once: true });
    const id = this.#nextId++;
    const waiter: Waiter = {
      flowKey,
      cost: chargesTokens
        ? this.upstream.cost(estimate.inputTokens, estimate.outputTokens)
        : this.upstream.cost(0, 0),
      arrival,
      lane,
      arrivedAt: now,
      expiresAt,
      predictedMs,
      waitedFor: undefined,
      leave: () => {
        expiry.cancel();
        for (const signal of signals) signal.removeEventListener('abort', onAbort);
        lane.queue.remove(waiter);
        this.#lanes.count(lane, -1, bytes);
        this.#parking.leave(waiter);
        this.#waiters.delete(id);
        this.#standings.delete(waiter);
        this.#unreserved.delete(waiter);
      },
      resolve,
      reject,
    };
    const isQueued = arrival.isRetry || this.#lanes.size > 0;
    this.#lanes.count(lane, 1, bytes);
    this.#waiters.set(id, waiter);
    this.#unreserved.add(waiter);
    this.#standings.set(waiter, {
      id,
      user: hashOf(flowKey),
      isQueued,
      isReserved: false,
      cost: waiter.cost,
    });
    return waiter;
  }

  #enqueue(waiter: Waiter, front: boolean): void {
    waiter.lane.queue.push(waiter, { front });
  }

  #expire(waiter: Waiter): void {
    const now = this.#parts.clock.now();
    this.#predictor.learn(waiter, now - waiter.arrivedAt, true, now);
    const { waitMs } = this.#predict(waiter.lane, waiter.arrival, now);
    this.#refuse(waiter, refusals.expiredRefusal(waiter, this.upstream.name, waitMs));
  }

  #refuse(waiter: Waiter, error: HeadgateError): void {
    this.#unreserve(waiter);
    waiter.leave();
    waiter.arrival.ticket.cancel();
    waiter.reject(error);
    // A debt is of those who wait: with none of its user's left, it is forgotten as an idle user's is.
    const { lane, flowKey } = waiter;
    if (lane.queue.backlogOf(flowKey) === 0) this.#debts.forget(lane.name, flowKey);
    this.#soon();
  }

  /** What is reserved for a call that leaves is free. */
  #unreserve(waiter: Waiter): void {
    if (this.#standings.get(waiter)?.isReserved !== true) return;
    this.#quotas.release(this.#quotas.asks(waiter.arrival.ticket, true));
  }

  #soon(ms = GATHER_MS): void {
    this.#line.tellBy(this.#parts.clock.now() + ms);
  }

  /** What the ledger is told, and asked. */
  #build(now: number, isKnown: boolean): Omit<Exchange, 'process' | 'seq' | 'acked'> {
    const isDegraded = this.mode === 'degraded';
    const lanes: Record<string, Exchange['lanes'][string]> = {};
    const candidates: Candidate[] = [];
    const putForward = new Set<Waiter>();
    for (const { name, order, config, queue } of this.#lanes.all()) {
      const { weight, guarantee, reserve } = config;
      lanes[name] = { weight, guarantee, reserve, order, users: queue.users };
      if (isDegraded) continue;
      for (const waiter of queue.peekFlows(PUT_FORWARD)) {
        candidates.push(this.#candidate(waiter));
        putForward.add(waiter);
      }
    }
    const limits = isKnown && this.#areLimitsTold ? {} : { limits: this.upstream.limits };
    this.#areLimitsTold = true;
    return {
      ...this.upstream.statement(now),
      ...limits,
      lanes,
      ...this.#quotas.take(),
      reserve: isDegraded ? [] : this.#reservations(putForward),
      candidates,
    };
  }

  #candidate(waiter: Waiter): Candidate {
    const standing = this.#standingOf(waiter);
    const { id, user, isQueued, isReserved } = standing;
    standing.cost = this.upstream.costOf(waiter.arrival.demand);
    const debt = this.#debts.of(waiter.lane.name, waiter.flowKey);
    return candidateOf(this.#parts.estimator, waiter.arrival.demand, this.upstream.isRealtime, {
      id,
      lane: waiter.lane.name,
      user,
      cost: Math.max(0, standing.cost + debt),
      waitedMs: this.#parts.clock.now() - waiter.arrivedAt,
      isQueued,
      quotas: this.#quotas.asks(waiter.arrival.ticket, isReserved),
    });
  }

  /** Calls that came behind others: what their quotas refuse is refused now, and not when their turn comes. */
  #reservations(putForward: ReadonlySet<Waiter>): Exchange['reserve'] {
    const reservations: { id: number; quotas: QuotaAsk[] }[] = [];
    for (const waiter of this.#unreserved) {
      const standing = this.#standingOf(waiter);
      if (standing.isReserved || putForward.has(waiter)) continue;
      if (reservations.length >= MAX_RESERVED) {
        this.#soon();
        break;
      }
      const quotas = this.#quotas.asks(waiter.arrival.ticket, false);
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

  #answered(answer: Answer, said: Exchange): void {
    const { clock, store } = this.#parts;
    const now = clock.now();
    this.#quotas.heard(answer.now);
    this.upstream.answered(answer, now);
    const mayRefuse = new Map([...said.candidates, ...said.reserve].map((each) => [each.id, each]));
    let hasGranted = false;
    for (const result of answer.results) {
      const waiter = this.#waiters.get(result.id);
      const asked = mayRefuse.get(result.id);
      if (asked === undefined) continue;
      if (waiter === undefined || this.mode === 'degraded') this.#tooLate(result, asked, waiter);
      else this.#told(waiter, result, asked);
      hasGranted ||= result.type === 'granted';
    }
    if (this.mode === 'degraded') return;
    if (this.#lanes.size > 0)
      this.#unlisten ??= store.listen(`${this.upstream.account}\n${this.upstream.name}`, (wake) =>
        this.#woken(wake),
      );
    const stillFirst = answer.results.some(({ type }) => type === 'waits');
    // More may go than was put forward.
    if (this.#lanes.size > 0 && hasGranted && !stillFirst) this.#line.ask();
    else if (answer.wake !== undefined) this.#woken(answer.wake);
  }

  #told(waiter: Waiter, result: Result, asked: Candidate | Exchange['reserve'][number]): void {
    const standing = this.#standingOf(waiter);
    switch (result.type) {
      case 'granted':
        this.#admit(waiter, result, 'cost' in asked ? asked.cost : 0);
        break;
      case 'waits':
        this.#reserved(waiter, standing);
        standing.isQueued = true;
        if (result.reason === 'queue') break;
        waiter.waitedFor ??= result.reason as Reason;
        waiter.lane.queue.lead(waiter.flowKey, result.lead);
        break;
      case 'exceeded':
        this.#exceeded(waiter, standing, result);
        break;
    }
  }

  #exceeded(waiter: Waiter, standing: Standing, result: Extract<Result, { type: 'exceeded' }>): void {
    const entry = waiter.arrival.ticket.stateAt(result.quota);
    if (entry === undefined) return;
    const waitMs =
      result.waitMs === undefined ? undefined : result.waitMs < 0 ? Number.POSITIVE_INFINITY : result.waitMs;
    const binding: Binding = { rule: entry.rule, reason: result.reason as Reason, waitMs };
    const { clock } = this.#parts;
    // Nothing was reserved of a call that is refused as it comes; of one that is to wait, all that can be.
    if (result.onExceed === 'wait') this.#reserved(waiter, standing);
    const isFull = this.#parking.sizeOf(entry.state) >= waiter.lane.config.maxQueuedPerUser;
    if (result.onExceed === 'refuse' || isFull || clock.now() + (waitMs ?? 0) > waiter.expiresAt) {
      this.#refuse(waiter, refusals.quotaRefusal(binding, waiter.lane.name));
      return;
    }
    waiter.waitedFor ??= binding.reason;
    standing.isQueued = true;
    waiter.lane.queue.remove(waiter);
    this.#parking.park(waiter, entry.state, waitMs ?? SLOT_MS);
  }

  #admit(waiter: Waiter, { turn }: Extract<Result, { type: 'granted' }>, paid: number): void {
    const now = this.#parts.clock.now();
    const { lane, arrival, waitedFor } = waiter;
    const waitedMs = now - waiter.arrivedAt;
    this.#predictor.learn(waiter, waitedMs, false, now);
    const { cost } = this.#standingOf(waiter);
    lane.queue.serve(waiter, paid);
    this.#quotas.commit(arrival.ticket);
    const flight = this.upstream.granted(arrival.demand, now);
    waiter.leave();
    if (turn !== undefined) {
      flight.turn = { ...turn, thought: cost, cost };
      this.#owe(lane, arrival.flowKey, cost - paid, turn);
    }
    waiter.resolve({ flight, waitedMs, waitedFor, mode: 'shared' });
  }

  /** What was granted or reserved for a call that has left, or was served otherwise meanwhile, goes back. */
  #tooLate(result: Result, asked: Candidate | Exchange['reserve'][number], waiter: Waiter | undefined): void {
    if (result.type === 'granted' && 'cost' in asked) {
      this.upstream.giveBack(asked.inputTokens, asked.outputTokens);
      this.#quotas.giveBack(asked.quotas);
      return;
    }
    // Reserved by this very message: what was reserved before is given back by whoever took the call out.
    if (
      waiter === undefined &&
      (result.type === 'waits' || (result.type === 'exceeded' && result.onExceed === 'wait'))
    )
      this.#quotas.release(asked.quotas.filter(({ isHeld }) => !isHeld));
  }

  #woken({ process, waitMs }: Wake): void {
    if (this.#lanes.size === 0) return;
    const now = this.#parts.clock.now();
    if (process !== this.#parts.process)
      this.#line.askAt(now + waitMs + GRACE_MS + SPREAD_MS * this.#parts.random());
    else if (waitMs <= 0) this.#line.ask();
    else this.#line.askAt(now + waitMs);
  }

  /** The ledger is not there, or there again. */
  #turned(mode: Mode, error: unknown): void {
    const now = this.#parts.clock.now();
    if (mode === 'shared') {
      this.upstream.restore(now);
      for (const waiter of this.#local.handOver()) this.#moveToFleet(waiter);
      this.#line.ask();
    } else {
      this.upstream.degrade(now);
      for (const waiter of [...this.#standings.keys()]) this.#moveToLocal(waiter);
    }
    this.#parts.onMode(mode, error);
  }

  #moveToLocal(waiter: Waiter): void {
    this.#unreserve(waiter);
    const { arrival, arrivedAt, expiresAt, resolve, reject } = waiter;
    waiter.leave();
    // It has been let into the queue before: it keeps its place, and the end of its wait.
    this.#enterLocal({ ...arrival, isRetry: true, deadlineAt: expiresAt }).then(
      (passage) => resolve({ ...passage, waitedMs: this.#parts.clock.now() - arrivedAt }),
      reject,
    );
  }

  #moveToFleet({ arrival, expiresAt, arrivedAt, resolve, reject, lane: { name } }: Waiter): void {
    const lane = this.#lanes.get(name) ?? this.#lanes.last;
    if (lane === undefined) return;
    const retry = { ...arrival, isRetry: true, deadlineAt: expiresAt };
    this.#enqueue(this.#waiter(retry, lane, 0, arrivedAt, resolve, reject), true);
  }

  async #enterLocal(arrival: Arrival): Promise<Passage> {
    const { flight, ...rest } = await this.#local.enter(arrival);
    // It was still waiting when the ledger came back, and the ledger has let it in.
    if (rest.mode === 'shared') return { ...rest, flight };
    this.#quotas.spend(arrival.ticket);
    this.upstream.adopt(flight);
    return { ...rest, flight, mode: 'degraded' };
  }

  /** In shadow: records what would have held the call up, and lets it pass. */
  pass(demand: Demand, ticket: QuotaTicket): Passage {
    const now = this.#parts.clock.now();
    const shortage = this.upstream.shortage(demand, 0, now);
    ticket.commit();
    this.#quotas.spend(ticket);
    const flight = this.upstream.mirror.admit(demand, now);
    this.upstream.adopt(flight);
    return { flight, waitedMs: 0, waitedFor: shortage?.reason, mode: this.mode };
  }

  foresee(demand: Demand, laneName: string, flowKey: string): number {
    if (this.mode === 'degraded') return this.#local.foresee(demand, laneName, flowKey);
    const lane = this.#lanes.get(laneName) ?? this.#lanes.last;
    if (lane === undefined) return 0;
    return this.#predict(lane, { demand, flowKey }, this.#parts.clock.now()).waitMs;
  }

  /** A call ended that did cost `cost`: that is put on its user's account. */
  settled(name: string, flowKey: string, cost: number, flight: Flight): void {
    const { turn } = flight;
    if (this.upstream.wasLocal(flight)) this.#local.settled(name, flowKey, cost, flight);
    else if (turn !== undefined) {
      const lane = this.#lanes.get(name);
      if (lane !== undefined) this.#owe(lane, flowKey, cost - turn.cost, turn);
    }
    this.wake();
  }

  /**
   * A user has cost `delta` more than it was charged. One with calls waiting pays it with the next of them, so that nothing is
   * lost of what it was charged too much; of one without, the ledger is told.
   */
  #owe(
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
      this.upstream.corrected({ lane: lane.name, user: hashOf(flowKey), delta: debt, isOwed, epoch });
  }

  /** Something may have changed. */
  wake(): void {
    // What the ledger is to be told of it has been said to the line by whoever changed it.
    if (this.mode === 'degraded') this.#local.wake();
  }

  /** Refuses all that wait and all that come. */
  close(): void {
    this.#closed = new UpstreamUnavailableError('the governor is closed', { reason: 'closed' });
    for (const waiter of [...this.#standings.keys()]) this.#refuse(waiter, this.#closed);
    this.#local.close();
  }

  /** Says the last word to the ledger, and hangs up. */
  async hangUp(): Promise<void> {
    this.#unlisten?.();
    this.#unlisten = undefined;
    await this.#line.close();
  }

  snapshot(now: number) {
    const own = this.#local.snapshot(now);
    const lanes = [...this.#lanes.all()].map(
      ({ name, queue }) =>
        [
          name,
          {
            queued: queue.size + (own.lanes[name]?.queued ?? 0),
            users: queue.flows + (own.lanes[name]?.users ?? 0),
          },
        ] as const,
    );
    return {
      ...own,
      ...this.upstream.snapshot(now),
      lanes: Object.fromEntries(lanes),
      parked: this.#parking.size + own.parked,
      fleet: { mode: this.mode, processes: this.upstream.processes },
    };
  }
}

/** The ledger knows nobody. */
const hashOf = (flowKey: string): string =>
  createHash('sha256').update(flowKey).digest('base64url').slice(0, 22);
