import type { Alarms } from '../../alarms.ts';
import type { Clock, Random } from '../../clock.ts';
import { compositeKey } from '../../composite-key.ts';
import type { LaneConfig } from '../../config/schema.ts';
import { closedError, type HeadgateError } from '../../errors.ts';
import type { Estimator } from '../../estimate/estimator.ts';
import { Slices } from '../../slices.ts';
import {
  type Answer,
  type Candidate,
  type Exchange,
  GRACE_MS,
  type Result,
  type Store,
  type Wake,
} from '../../stores/store.ts';
import type { Demand, Flight } from '../flight.ts';
import { goneRefusal, quotaRefusal } from '../refusals.ts';
import { Scheduler } from '../scheduler.ts';
import type { QuotaTicket } from '../ticket.ts';
import type { Arrival, Passage, Waiter } from '../waiter.ts';
import { FleetQueue } from './fleet-queue.ts';
import { FleetQuotas } from './fleet-quotas.ts';
import type { FleetUpstream, Haste } from './fleet-upstream.ts';
import { Line, type Mode } from './line.ts';

/**
 * How long a change waits for more of its kind, in milliseconds. A free slot waits for the end of the present turn of the event
 * loop alone: somebody else may stand before it. What frees nothing goes with an earlier message, as a rule.
 */
const GATHERED_MS = { slot: 0, soon: 400, patient: 800 } as const;
/** A turn that is somebody else's is asked about again so much later than it should have been taken, at random. */
const SPREAD_MS = 25;

export interface FleetParts {
  readonly upstream: FleetUpstream;
  readonly lanes: Readonly<Record<string, LaneConfig>>;
  readonly store: Store;
  readonly process: string;
  readonly estimator: Estimator;
  readonly alarms: Alarms;
  readonly clock: Clock;
  readonly random: Random;
  readonly slices?: Slices | undefined;
  readonly onMode: (mode: Mode, error: unknown) => void;
  /** Share of the limits and quotas that this process gives from now on, while the ledger is lost. */
  readonly onShare: (share: number) => void;
  /** What a user has spent while the ledger is lost is forgotten, since more users came than are kept. */
  readonly onForgotten: () => void;
}

/**
 * The gate of a bucket that several processes share. Calls wait here, each process its own; who goes is the ledger's word,
 * which knows the first of every process. When the ledger is not there a scheduler like that of a single process takes over,
 * with this process's share.
 */
export class FleetScheduler {
  readonly upstream: FleetUpstream;
  readonly #local: Scheduler;
  readonly #queue: FleetQueue;
  readonly #quotas: FleetQuotas;
  readonly #line: Line;
  readonly #parts: FleetParts;
  readonly #slices: Slices;
  #unlisten: (() => void) | undefined;
  #areLimitsTold = false;
  #closed: HeadgateError | undefined;

  constructor(parts: FleetParts) {
    const { upstream, lanes, alarms, clock, random, store, process, slices = new Slices() } = parts;
    this.#parts = parts;
    this.#slices = slices;
    this.upstream = upstream;
    this.#local = new Scheduler(upstream.mirror, lanes, alarms, clock, random, slices);
    this.#quotas = new FleetQuotas(clock, (haste) => this.#change(haste), parts.onForgotten);
    this.#queue = new FleetQueue({
      ...parts,
      slices,
      quotas: this.#quotas,
      onReturned: () => this.#line.ask(),
      onChange: () => this.#soon(),
    });
    this.#line = new Line({
      store,
      bucket: compositeKey(upstream.account, upstream.name),
      process,
      clock,
      alarms,
      build: (now, isKnown) => this.#build(now, isKnown),
      onAnswer: (answer, said) => this.#answered(answer, said),
      onRefused: (said) => {
        this.#quotas.refused(said);
        this.upstream.refused(said);
      },
      onMode: (mode, error) => this.#turned(mode, error),
      isBusy: () => this.upstream.active > 0 || this.#queue.waiting > 0,
    });
    upstream.onChange = (haste) => this.#change(haste);
  }

  get size(): number {
    return this.#queue.waiting + this.#queue.parked + this.#local.size;
  }

  get processes(): number {
    return this.upstream.processes;
  }

  get mode(): Mode {
    return this.#line.mode;
  }

  configure(lanes: Readonly<Record<string, LaneConfig>>): void {
    this.#queue.configure(lanes);
    this.#local.configure(lanes);
    this.#areLimitsTold = false;
    this.#soon();
  }

  /** Admits a call when its turn has come. @throws HeadgateError when it is refused; then nothing is taken. */
  enter(arrival: Arrival): Promise<Passage> {
    if (this.mode === 'degraded') return this.#enterLocal(arrival);
    const now = this.#parts.clock.now();
    const lane = this.#queue.lane(arrival.lane);
    const prediction = this.#queue.predict(lane, arrival, now);
    const refusal = this.#closed ?? this.#queue.refusalOf(arrival, lane, prediction, now);
    if (refusal !== undefined) {
      arrival.ticket.cancel();
      return Promise.reject(refusal);
    }
    return new Promise((resolve, reject) => {
      const isFirst = this.#queue.join(arrival, lane, prediction.queueMs, now, { resolve, reject });
      // Behind others it is known to the ledger in time: nobody of its lane can go before they do.
      if (isFirst || arrival.isRetry) this.#line.ask();
      else this.#soon();
    });
  }

  /** There is something to tell the ledger. */
  #change(haste: Haste): void {
    if (haste === 'now') this.#line.ask();
    else this.#soon(GATHERED_MS[haste]);
  }

  #soon(ms: number = GATHERED_MS.soon): void {
    this.#line.tellBy(this.#parts.clock.now() + ms);
  }

  /** What the ledger is told, and asked. */
  #build(now: number, isKnown: boolean): Omit<Exchange, 'process' | 'seq' | 'acked'> {
    const limits = isKnown && this.#areLimitsTold ? {} : { limits: this.upstream.limits };
    this.#areLimitsTold = true;
    return {
      ...this.upstream.statement(now),
      ...limits,
      ...this.#queue.putForward(this.mode === 'degraded'),
      ...this.#quotas.take(),
    };
  }

  #answered(answer: Answer, said: Exchange): void {
    const { clock, store } = this.#parts;
    const now = clock.now();
    const hasWithheld = this.#quotas.heard(answer.now);
    const { processes } = this.upstream;
    this.upstream.answered(answer, now);
    if (this.mode === 'degraded' && this.upstream.processes !== processes) this.#reshare();
    const mayRefuse = new Map([...said.candidates, ...said.reserve].map((each) => [each.id, each]));
    let hasGranted = false;
    let stillFirst = false;
    for (const result of answer.results) {
      const waiter = this.#queue.find(result.id);
      const asked = mayRefuse.get(result.id);
      if (asked === undefined) continue;
      if (waiter === undefined || this.mode === 'degraded') this.#tooLate(result, asked, waiter);
      else this.#told(waiter, result, asked);
      hasGranted ||= result.type === 'granted';
      // One that has only reserved its quotas says nothing of whether the next may go.
      stillFirst ||= result.type === 'waits' && 'cost' in asked;
    }
    if (this.mode === 'degraded') return;
    if (this.#queue.waiting > 0)
      this.#unlisten ??= store.listen(compositeKey(this.upstream.account, this.upstream.name), (wake) =>
        this.#woken(wake),
      );
    // More may go than was put forward, or could be.
    if (this.#queue.waiting > 0 && (hasWithheld || (hasGranted && !stillFirst))) this.#line.ask();
    else if (answer.wake !== undefined) this.#woken(answer.wake);
  }

  #told(waiter: Waiter, result: Result, asked: Candidate | Exchange['reserve'][number]): void {
    if (result.type === 'granted') this.#admit(waiter, result, 'cost' in asked ? asked.cost : 0);
    else if (result.type === 'waits') this.#queue.held(waiter, result);
    else this.#queue.exceeded(waiter, result);
  }

  #admit(waiter: Waiter, { turn, tag }: Extract<Result, { type: 'granted' }>, paid: number): void {
    const now = this.#parts.clock.now();
    const { lane, arrival, waitedFor } = waiter;
    const { cost, waitedMs } = this.#queue.served(waiter, paid, tag, now);
    this.#quotas.commit(arrival.ticket);
    const flight = this.upstream.granted(arrival.demand, now);
    // Last: whoever is parked behind it sees the room that is left.
    waiter.leave();
    if (turn !== undefined) {
      flight.turn = { ...turn, thought: cost, cost };
      this.#queue.owe(lane, arrival.flowKey, cost - paid, turn);
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
    if (this.#queue.waiting === 0) {
      // A turn of ours that nobody takes any more: the ledger passes it on as soon as it is told.
      if (process === this.#parts.process && waitMs <= 0) this.#line.ask();
      return;
    }
    const now = this.#parts.clock.now();
    if (process !== this.#parts.process)
      this.#line.askAt(now + waitMs + GRACE_MS + SPREAD_MS * this.#parts.random());
    else if (waitMs <= 0) this.#line.ask();
    else this.#line.askAt(now + waitMs);
  }

  /**
   * The ledger is lost, or back. First nobody waits and no waiting call holds a quota, then the share of each quota
   * holds, and only then the calls move: a claim made by the whole rule would be a claim on what others give.
   */
  #turned(mode: Mode, error: unknown): void {
    const now = this.#parts.clock.now();
    const waiting = mode === 'shared' ? this.#local.handOver() : this.#queue.takeAll();
    for (const { arrival } of waiting) arrival.ticket.withdraw();
    if (mode === 'degraded') this.#parts.onShare(this.upstream.degradedShare);
    this.#parts.onMode(mode, error);
    if (mode === 'shared') this.upstream.restore(now);
    else this.upstream.degrade(now);
    this.#moveAll(waiting);
  }

  /** The ledger has told of other processes before it is trusted again: their shares are made from this one's. */
  #reshare(): void {
    const waiting = this.#local.handOver();
    for (const { arrival } of waiting) arrival.ticket.withdraw();
    this.#parts.onShare(this.upstream.degradedShare);
    this.upstream.reshare(this.#parts.clock.now());
    this.#moveAll(waiting);
  }

  /** Those that have left one gate join the other: whichever it is when their turn comes to be moved. */
  #moveAll(waiting: readonly Waiter[]): void {
    void this.#slices
      .each(waiting, (waiter) => this.#move(waiter))
      .then(() => {
        if (this.mode === 'shared') this.#line.ask();
      });
  }

  #move({ arrival, arrivedAt, expiresAt, resolve, reject, lane }: Waiter): void {
    const isGone = arrival.signals.some(({ aborted }) => aborted);
    const ended = this.#closed ?? (isGone ? goneRefusal(lane.name) : undefined);
    if (ended !== undefined) {
      arrival.ticket.cancel();
      reject(ended);
      return;
    }
    const binding = arrival.ticket.renew();
    if (binding !== undefined) {
      reject(quotaRefusal(binding, lane.name));
      return;
    }
    const moved = { ...arrival, moved: { arrivedAt, expiresAt } };
    if (this.mode === 'degraded') {
      this.#enterLocal(moved).then(
        (passage) => resolve({ ...passage, waitedMs: this.#parts.clock.now() - arrivedAt }),
        reject,
      );
      return;
    }
    const shared = this.#queue.lane(lane.name);
    if (this.#queue.join(moved, shared, 0, arrivedAt, { resolve, reject })) this.#line.ask();
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
    if (this.#closed !== undefined) {
      ticket.cancel();
      throw this.#closed;
    }
    const now = this.#parts.clock.now();
    const shortage = this.upstream.shortage(demand, 0, now);
    ticket.commit();
    this.#quotas.spend(ticket);
    const flight = this.upstream.mirror.admit(demand, now);
    this.upstream.adopt(flight);
    return { flight, waitedMs: 0, waitedFor: shortage?.reason, mode: this.mode };
  }

  /** Charges quotas for what was used of them without a turn of its own; the ledger is told. */
  charge(ticket: QuotaTicket): void {
    ticket.commit();
    this.#quotas.spend(ticket);
    this.#soon();
  }

  foresee(demand: Demand, laneName: string, flowKey: string): number {
    if (this.mode === 'degraded') return this.#local.foresee(demand, laneName, flowKey);
    const lane = this.#queue.lane(laneName);
    return this.#queue.predict(lane, { demand, flowKey }, this.#parts.clock.now()).waitMs;
  }

  /** A call ended that did cost `cost`: that is put on its user's account. */
  settled(name: string, flowKey: string, cost: number, flight: Flight): void {
    const { turn } = flight;
    if (this.upstream.wasLocal(flight)) this.#local.settled(name, flowKey, cost, flight);
    else if (turn !== undefined) {
      const lane = this.#queue.lane(name);
      // One that is gone has no more turns.
      if (lane.name === name) this.#queue.owe(lane, flowKey, cost - turn.cost, turn);
    }
    this.wake();
  }

  /** Something may have changed. */
  wake(): void {
    // What the ledger is to be told of it has been said to the line by whoever changed it.
    if (this.mode === 'degraded') this.#local.wake();
  }

  /** Refuses all that come, and all that wait; resolves when they are. */
  async close(): Promise<void> {
    this.#closed = closedError();
    await Promise.all([this.#queue.refuseAll(this.#closed), this.#local.close()]);
  }

  /** Says the last word to the ledger, and hangs up. */
  async hangUp(): Promise<void> {
    this.#queue.close();
    this.#unlisten?.();
    this.#unlisten = undefined;
    await this.#line.close();
  }

  snapshot(now: number) {
    const own = this.#local.snapshot(now);
    const lanes = [...this.#queue.lanes()].map(
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
      parked: this.#queue.parked + own.parked,
      fleet: { mode: this.mode, processes: this.processes },
    };
  }
}
