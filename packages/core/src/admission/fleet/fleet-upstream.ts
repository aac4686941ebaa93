import type { BucketConfig } from '../../config/schema.ts';
import type { Estimator } from '../../estimate/estimator.ts';
import { keptSlots } from '../../slots.ts';
import type {
  AmountName,
  Amounts,
  Answer,
  ConfiguredLimits,
  Exchange,
  LedgerEvent,
} from '../../stores/store.ts';
import type { Demand, Flight, Shortage } from '../flight.ts';
import { MovingMean, shareAt } from '../moving-mean.ts';
import { Projection } from '../output-rule.ts';
import { DIMENSIONS, type RateHeaders } from '../rate-headers.ts';
import { UpstreamBucket } from '../upstream.ts';
import { guessOf } from './statement.ts';

/** Of a bucket's limits, what all processes together use while the ledger is not there: they know nothing of each other. */
const DEGRADED = 0.8;
/** Events that wait to be told, at most. */
const MAX_EVENTS = 256;
/** The kinds that go first, in this order: a pause of all processes is kept. */
const DROPPED = ['headers', 'ended', 'corrected'] as const;

/** What the ledger was last told of a call. */
interface Told {
  inputCharged: number;
  outputCharged: number;
}

/** When the ledger should know of a change: at once, as soon as a slot is free, soon, or with the next message. */
export type Haste = 'now' | 'slot' | 'soon' | 'patient';

type Dated = { readonly at: number } & LedgerEvent;

/**
 * A bucket whose level is kept by a ledger. This process keeps its own calls, in a bucket like that of a single process (the
 * mirror): it charges answers as they come on, and takes over with a share of the limits when the ledger is not there. What the
 * ledger is told is the difference between what these calls have been charged and what it was told before.
 */
export class FleetUpstream {
  readonly account: string;
  readonly name: string;
  readonly mirror: UpstreamBucket;
  onChange: (haste: Haste) => void = () => {};
  /** What the calls of this process are going to produce. */
  readonly #running: Projection;
  readonly #flights = new Map<Flight, Told>();
  /** Calls that were sent to learn the limits, and have taught nothing yet. */
  readonly #looks = new Set<Flight>();
  readonly #locals = new WeakSet<Flight>();
  #config: Partial<BucketConfig>;
  #owed = { requests: 0, inputTokens: 0, outputTokens: 0 };
  #events: Dated[] = [];
  #answer: Answer | undefined;
  #answeredAt = 0;
  #processes: number;
  #isDegraded = false;
  #learned = '';
  /** What a call costs, on average. */
  readonly #meanCost = new MovingMean();

  constructor(
    account: string,
    name: string,
    config: Partial<BucketConfig>,
    estimator: Estimator,
    processes: number,
    now: number,
  ) {
    this.account = account;
    this.name = name;
    this.#config = config;
    this.#running = new Projection(estimator);
    this.#processes = processes;
    this.mirror = new UpstreamBucket(account, name, config, estimator, now, undefined, true);
  }

  get active(): number {
    return this.#flights.size;
  }

  get isRealtime(): boolean {
    return this.#config.outputCharging !== 'reserve-max';
  }

  /** Share of the limits that the calls of this process can count on: by users that wait, here and elsewhere. */
  shareOf(ownUsers: number): number {
    const { users = {}, levels = {}, pacePerMs } = this.#answer ?? {};
    let share = shareAt(pacePerMs, this.#meanCost.value);
    for (const { ratePerMs, perMinute } of Object.values(levels))
      share = Math.min(share, (ratePerMs * 60_000) / perMinute);
    const all = Object.values(users).reduce((sum, count) => sum + count, 0);
    return Math.max(0.05, share) * (all > ownUsers ? Math.max(1, ownUsers) / all : 1);
  }

  /** No limit is configured, and none was told yet. */
  get isUnknown(): boolean {
    const { levels } = this.#answer ?? {};
    return levels === undefined ? this.mirror.isUnknown : levels.requests?.source === 'probe';
  }

  /** How the ledger is told to limit the bucket. */
  get limits(): ConfiguredLimits {
    const { requestsPerMinute, inputTokensPerMinute, outputTokensPerMinute, burst, concurrency } =
      this.#config;
    return {
      ...(requestsPerMinute === undefined ? {} : { requests: requestsPerMinute }),
      ...(inputTokensPerMinute === undefined ? {} : { inputTokens: inputTokensPerMinute }),
      ...(outputTokensPerMinute === undefined ? {} : { outputTokens: outputTokensPerMinute }),
      ...(burst === undefined ? {} : { burst }),
      ...(concurrency === undefined ? {} : { concurrency }),
    };
  }

  configure(config: Partial<BucketConfig>, now: number): void {
    this.#config = config;
    this.#reshape(now);
    this.onChange('soon');
  }

  cost(inputTokens: number, outputTokens: number, slotMs?: number): number {
    return this.mirror.cost(inputTokens, outputTokens, slotMs);
  }

  costOf(demand: Demand): number {
    return this.mirror.costOf(demand);
  }

  tooLarge(demand: Demand): ReturnType<UpstreamBucket['tooLarge']> {
    return this.mirror.tooLarge(demand);
  }

  /** What would stand in the way of a call, by what the ledger last told. */
  shortage(demand: Demand, reserve: number, now: number): Shortage | undefined {
    const answer = this.#answer;
    if (answer === undefined) return undefined;
    const since = now - this.#answeredAt;
    if (answer.pausedMs > since) return { reason: 'upstream_paused', waitMs: answer.pausedMs - since };
    const slots = answer.concurrency ?? Number.POSITIVE_INFINITY;
    if (answer.calls >= slots - keptSlots(slots, reserve))
      return { reason: 'concurrency', waitMs: undefined };
    const { inputTokens } = demand.estimate;
    const amounts = demand.chargesTokens
      ? { requests: 1, inputTokens, outputTokens: 0 }
      : { requests: 1, inputTokens: 0, outputTokens: 0 };
    let worst: Shortage | undefined;
    for (const name of DIMENSIONS) {
      const told = answer.levels[name];
      if (told === undefined) continue;
      const level = Math.min(told.capacity, told.level + told.ratePerMs * since);
      const missing = Math.min(amounts[name], told.capacity) - (level - told.capacity * reserve);
      const waitMs = missing / Math.max(1e-9, told.ratePerMs);
      if (missing > 0 && waitMs > (worst?.waitMs ?? 0))
        worst = {
          reason:
            name === 'requests'
              ? 'requests_per_minute'
              : name === 'inputTokens'
                ? 'input_tokens_per_minute'
                : 'output_tokens_per_minute',
          waitMs,
        };
    }
    return worst;
  }

  /** A call starts that the ledger has granted. */
  granted(demand: Demand, now: number): Flight {
    const flight = this.mirror.admit(demand, now);
    if (this.#answer?.pacePerMs !== undefined) this.#meanCost.add(this.costOf(demand));
    const { inputCharged, outputCharged } = flight;
    this.#flights.set(flight, { inputCharged, outputCharged });
    if (this.isUnknown) this.#looks.add(flight);
    return flight;
  }

  /** A call has started that the ledger knows nothing of. */
  adopt(flight: Flight): void {
    this.#locals.add(flight);
    this.#flights.set(flight, { inputCharged: 0, outputCharged: 0 });
    this.#owed.requests += 1;
    this.onChange('soon');
  }

  /** Whether it was let in by this process's own share. */
  wasLocal(flight: Flight): boolean {
    return this.#locals.has(flight);
  }

  /** Granted to a call that had left meanwhile: all of it goes back. */
  giveBack(inputTokens: number, outputTokens: number): void {
    this.#owed.requests -= 1;
    this.#owed.inputTokens -= inputTokens;
    this.#owed.outputTokens -= outputTokens;
    this.onChange(this.#answer?.concurrency === undefined ? 'soon' : 'slot');
  }

  inputKnown(flight: Flight, tokens: number, now: number): void {
    this.mirror.inputKnown(flight, tokens, now);
    this.onChange('patient');
  }

  progress(flight: Flight, produced: number, now: number): void {
    this.mirror.progress(flight, produced, now);
  }

  settle(
    flight: Flight,
    truth: { requests: 0 | 1; inputTokens: number; outputTokens: number },
    now: number,
  ): void {
    const told = this.#flights.get(flight);
    if (told === undefined) return;
    this.#flights.delete(flight);
    // A look that has taught nothing makes way for the next one.
    const isVain = this.#looks.delete(flight);
    if (truth.requests === 0 || isVain) this.#owed.requests -= 1;
    if (flight.demand.chargesTokens) {
      this.#owed.inputTokens += truth.inputTokens - told.inputCharged;
      this.#owed.outputTokens += truth.outputTokens - told.outputCharged;
    }
    this.mirror.settle(flight, truth, now);
    const isLimited = this.#answer?.concurrency !== undefined;
    if (isLimited) this.#push({ type: 'ended', startedAgo: 0, at: flight.startedAt });
    this.onChange(isLimited || isVain ? 'slot' : 'soon');
  }

  /** Takes what another bucket's call has used of this one. */
  charge(amounts: Amounts, now: number): void {
    this.mirror.charge(amounts, now);
    this.#owed.requests += amounts.requests;
    this.#owed.inputTokens += amounts.inputTokens;
    this.#owed.outputTokens += amounts.outputTokens;
    this.onChange('soon');
  }

  merge(headroom: RateHeaders, isAnswer: boolean, flight: Flight, sentAt: number, now: number): void {
    this.#push({ type: 'headers', sentAgo: 0, isAnswer, headroom, at: sentAt });
    if (isAnswer || Object.keys(headroom).length > 0) this.#looks.delete(flight);
    // A share of the limits is not what a response tells of; that it was refused, is.
    if (this.#isDegraded && !isAnswer) this.mirror.merge(headroom, false, flight, sentAt, now);
    else this.mirror.see(headroom, isAnswer, flight, sentAt, now);
    this.onChange(isAnswer ? 'patient' : 'now');
  }

  pause(until: number, now: number, rampSentAt?: number): number | undefined {
    this.#push({ type: 'pause', ms: 0, at: until });
    const sentAt = this.mirror.pause(until, now, rampSentAt);
    // Use grows too fast: all processes go more slowly.
    if (sentAt !== undefined) this.#push({ type: 'ramp', sentAgo: 0, ms: until - now, at: sentAt });
    this.onChange('now');
    return sentAt;
  }

  endPause(now: number): void {
    this.#push({ type: 'endPause', at: 0 });
    this.mirror.endPause(now);
    this.onChange('now');
  }

  overloaded(flight: Flight, now: number): boolean {
    if (!this.mirror.overloaded(flight, now)) return false;
    this.#push({ type: 'overloaded', startedAgo: 0, at: flight.startedAt });
    this.onChange('soon');
    return true;
  }

  get isOfLimit(): boolean {
    return this.mirror.isOfLimit;
  }

  crowdOf(caller: string, now: number): ReturnType<UpstreamBucket['crowdOf']> {
    return this.mirror.crowdOf(caller, now);
  }

  get meanSlotMs(): number {
    return this.mirror.meanSlotMs;
  }

  /** What one caller alone is refused for slows no other process. */
  refusedAlone(flight: Flight, ms: number, now: number): void {
    this.mirror.refusedAlone(flight, ms, now);
  }

  congested(flight: Flight, now: number): ReturnType<UpstreamBucket['congested']> {
    const whose = this.mirror.congested(flight, now);
    if (whose === 'all') {
      this.#push({ type: 'overloaded', startedAgo: 0, at: flight.startedAt });
      this.onChange('now');
    }
    return whose;
  }

  /** A call that took a turn of the fleet has cost more than was thought. */
  corrected(event: Omit<Extract<LedgerEvent, { type: 'corrected' }>, 'type'>): void {
    this.#push({ type: 'corrected', ...event, at: 0 });
  }

  #push(event: Dated): void {
    this.#events.push(event);
    if (this.#events.length <= MAX_EVENTS) return;
    for (const dropped of DROPPED) {
      const oldest = this.#events.findIndex(({ type }) => type === dropped);
      if (oldest < 0) continue;
      this.#events.splice(oldest, 1);
      return;
    }
    this.#events.shift();
  }

  /** What the ledger is to be told now. What is in it is not told again. */
  statement(now: number): Pick<Exchange, 'charges' | 'holds' | 'path' | 'events' | 'hints'> {
    // Looks at the running calls: what they have produced is charged, and what is held long enough.
    this.mirror.snapshot(now);
    let held = 0;
    for (const [flight, told] of this.#flights) {
      if (!flight.demand.chargesTokens) continue;
      this.#owed.inputTokens += flight.inputCharged - told.inputCharged;
      this.#owed.outputTokens += flight.outputCharged - told.outputCharged;
      told.inputCharged = flight.inputCharged;
      told.outputCharged = flight.outputCharged;
      held += flight.inputHeld;
    }
    if (this.#isDegraded) this.#forgive(now);
    const charges: Amounts = this.#owed;
    this.#owed = { requests: 0, inputTokens: 0, outputTokens: 0 };
    const variance = guessOf(this.#flights.keys());
    if (this.isRealtime) this.#running.refresh(this.#flights.keys(), now);
    const events = this.#events.map((event) => dateless(event, now));
    this.#events = [];
    return {
      charges,
      holds: { inputTokens: held, calls: this.#flights.size, variance },
      ...(this.isRealtime ? { path: this.#running.path } : {}),
      events,
      hints: this.#hints(now),
    };
  }

  /** The ledger has refused a message: what it told of charges is told with the next. */
  refused({ charges }: Pick<Exchange, 'charges'>): void {
    for (const name of DIMENSIONS) this.#owed[name] += charges[name];
  }

  /** What was spent long ago has come back since, there as here: no more is owed than is missing here. */
  #forgive(now: number): void {
    const { limits } = this.mirror.snapshot(now);
    for (const name of DIMENSIONS) {
      const limit = limits[name];
      if (limit !== undefined)
        this.#owed[name] = Math.min(this.#owed[name], Math.max(0, limit.capacity - limit.level));
    }
  }

  #hints(now: number): Partial<Amounts> {
    const hints: Record<string, number> = {};
    for (const [name, told] of Object.entries(this.#answer?.levels ?? {}))
      hints[name] = Math.min(told.capacity, told.level + told.ratePerMs * (now - this.#answeredAt));
    return hints;
  }

  answered(answer: Answer, now: number): void {
    this.#answer = answer;
    this.#answeredAt = now;
    this.#processes = Math.max(1, answer.processes);
    const learned = JSON.stringify(
      DIMENSIONS.map((name) => {
        const told = answer.levels[name];
        return told === undefined || told.source === 'probe' ? 0 : [told.perMinute, told.capacity];
      }),
    );
    if (learned === this.#learned) return;
    this.#learned = learned;
    if (!this.#isDegraded) this.#reshape(now);
  }

  /** With the ledger gone: a share of the limits, and of what was left of them. */
  degrade(now: number): void {
    this.#isDegraded = true;
    const hints = this.#hints(now);
    this.#reshape(now);
    this.mirror.bound(
      Object.fromEntries(
        Object.entries(hints).map(([name, level]) => [name, this.degradedShare * Math.max(0, level ?? 0)]),
      ),
      now,
    );
  }

  /** The number of processes has changed while the ledger is lost. */
  reshare(now: number): void {
    this.#reshape(now);
  }

  restore(now: number): void {
    this.#isDegraded = false;
    this.#reshape(now);
  }

  /** Of the limits, what this process uses without the ledger. */
  get degradedShare(): number {
    return DEGRADED / this.#processes;
  }

  /** The mirror's limits: what is configured or learned, whole or by our share. */
  #reshape(now: number): void {
    const share = this.#isDegraded ? this.degradedShare : 1;
    const levels = this.#answer?.levels ?? {};
    const wholeOf = (name: AmountName, configured: number | undefined) => {
      const told = levels[name];
      return told === undefined || told.source === 'probe' ? configured : told.perMinute;
    };
    const amount = (name: AmountName, configured: number | undefined) => {
      const whole = wholeOf(name, configured);
      return whole === undefined ? undefined : Math.max(1, whole * share);
    };
    const { requestsPerMinute, inputTokensPerMinute, outputTokensPerMinute, concurrency, burst } =
      this.#config;
    const deepest = levels.requests ?? levels.inputTokens ?? levels.outputTokens;
    const known = deepest === undefined ? burst : deepest.capacity / deepest.perMinute;
    const limits = {
      requestsPerMinute: amount('requests', requestsPerMinute),
      inputTokensPerMinute: amount('inputTokens', inputTokensPerMinute),
      outputTokensPerMinute: amount('outputTokens', outputTokensPerMinute),
      concurrency: concurrency === undefined ? undefined : Math.max(1, Math.floor(concurrency * share)),
      burst: known,
    };
    const given = Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
    const { outputCharging } = this.#config;
    this.mirror.isShareOf(wholeOf('inputTokens', inputTokensPerMinute) ?? 0);
    this.mirror.configure({ ...(outputCharging === undefined ? {} : { outputCharging }), ...given }, now);
  }

  snapshot(now: number) {
    const own = this.mirror.snapshot(now);
    if (this.#isDegraded || this.#answer === undefined) return own;
    const limits = Object.entries(this.#answer.levels).map(([name, told]) => [
      name,
      {
        perMinute: told.perMinute,
        source: told.source,
        capacity: Math.round(told.capacity),
        level: Math.round(Math.min(told.capacity, told.level + told.ratePerMs * (now - this.#answeredAt))),
        othersPerMinute: Math.round(told.perMinute - told.ratePerMs * 60_000),
      },
    ]);
    const { pacePerMs } = this.#answer;
    return {
      ...own,
      limits: Object.fromEntries(limits) as typeof own.limits,
      pacePerMinute: pacePerMs === undefined ? undefined : Math.round(pacePerMs * 60_000),
    };
  }

  /** Processes that share the bucket. */
  get processes(): number {
    return this.#processes;
  }
}

/** An event with its time told as so long ago, or so long from now. */
function dateless({ at, ...event }: Dated, now: number): LedgerEvent {
  switch (event.type) {
    case 'headers':
      return { ...event, sentAgo: Math.max(0, now - at) };
    case 'pause':
      return { ...event, ms: Math.max(0, at - now) };
    case 'ramp':
      return { ...event, sentAgo: Math.max(0, now - at) };
    case 'overloaded':
    case 'ended':
      return { ...event, startedAgo: Math.max(0, now - at) };
    default:
      return event;
  }
}
