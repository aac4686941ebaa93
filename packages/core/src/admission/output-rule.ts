/**
 * Two rules were measured against each other in the simulation (`pnpm sim`), at twice the load, for buckets of 1, 6 and
 * 60 seconds' depth. Holding what nine of ten answers do not pass, topped up from the stream, used 4 %, 25 % and 95 % of
 * depth and refill in five minutes: the holds of the calls that a full account needs at once are deeper than a shallow bucket, so
 * they never all run. Running the level forward used 99.7 %, 99.7 % and
 * 99.8 % in ten. Neither was refused once. The second is kept.
 */
import type { Estimator } from '../estimate/estimator.ts';
import type { Path } from '../stores/store.ts';
import type { Demand, Flight } from './flight.ts';
import { Forecast, type Production } from './forecast.ts';

/**
 * When a call may start, as far as the output of the calls in flight is concerned. What running answers have
 * produced is charged to the level already; a rule says whether what they and the new one are yet to produce fits.
 */
export interface OutputRule {
  started(flight: Flight, now: number): void;
  ended(flight: Flight, now: number): void;
  /** Everything in flight has been looked at again: what each has produced is known as of now. */
  refresh(flights: Iterable<Flight>, now: number): void;
  /** Tokens missing for a call to start, of a level with this depth and refill; none where it is zero or less. */
  missing(demand: Demand, level: number, capacity: number, ratePerMs: number, now: number): number;
  /**
   * Tokens of the answers that would have to start at once for the calls in flight to produce `aim` tokens a
   * millisecond, at the time when the first tokens of `demand` come.
   */
  slack(demand: Demand, aim: number, now: number): number;
  /** Tokens that the calls in flight are expected to produce yet. */
  readonly pending: number;
}

export type OutputRuleMaker = (estimator: Estimator) => OutputRule;

/** Standard deviations kept free: with 1.5 a path passes zero about once in fifteen, were it never looked at again. */
const MARGIN = 1.5;

/** What calls produce is looked at so long after a new one's first token is due, and for so long. */
const SOON_MS = 200;
const WINDOW_MS = 600;

/** The level is run forward; see forecast.ts. */
export class Projection implements OutputRule {
  readonly #estimator: Estimator;
  readonly #forecast = new Forecast(MARGIN);
  readonly #productions = new Map<Flight, Production>();

  constructor(estimator: Estimator) {
    this.#estimator = estimator;
  }

  started(flight: Flight, now: number): void {
    const production = this.#produce(flight.demand, 0, undefined, now);
    if (this.#productions.size === 0) this.#forecast.clear(now);
    this.#productions.set(flight, production);
    this.#forecast.add(production);
  }

  ended(flight: Flight, now: number): void {
    const production = this.#productions.get(flight);
    if (production === undefined) return;
    this.#productions.delete(flight);
    // Sums leave dust, and what was learned meanwhile has moved the curves: with nothing in flight there is none.
    if (this.#productions.size === 0) this.#forecast.clear(now);
    else this.#forecast.remove(production);
  }

  refresh(flights: Iterable<Flight>, now: number): void {
    this.#forecast.clear(now);
    this.#productions.clear();
    const groups = new Groups();
    for (const flight of flights) {
      const { demand, produced, startedAt } = flight;
      if (!demand.chargesTokens) continue;
      const { key } = demand.estimate;
      const isRunning = produced > 0;
      const { firstTokenMs } = this.#estimator.pace(key.modelClass);
      const delay = isRunning ? 0 : Math.max(0, startedAt + firstTokenMs - now);
      const group = groups.of(
        this.#estimator.kindOf(key),
        key.maxTokens,
        isRunning,
        isRunning ? produced : delay,
      );
      group.production ??= this.#produce(demand, produced, delay, now);
      group.calls++;
      this.#productions.set(flight, group.production);
    }
    for (const { production, calls } of groups.all())
      if (production !== undefined) this.#forecast.add(production, calls);
  }

  missing(demand: Demand, level: number, capacity: number, ratePerMs: number, now: number): number {
    if (this.#productions.size === 0) this.#forecast.clear(now);
    return -this.#forecast.lowest(level, capacity, ratePerMs, this.#produce(demand, 0, undefined, now));
  }

  slack({ estimate }: Demand, aim: number, now: number): number {
    const { key } = estimate;
    const { firstTokenMs, tokensPerSecond } = this.#estimator.pace(key.modelClass);
    const from = firstTokenMs + SOON_MS;
    const production =
      this.#productions.size === 0 ? 0 : this.#forecast.paceBetween(from, from + WINDOW_MS, now);
    const calls = Math.max(0, aim - production) / (tokensPerSecond / 1_000);
    return calls * this.#estimator.rest(key, 0).mean;
  }

  get pending(): number {
    return this.#forecast.pending;
  }

  /** What is in flight is going to produce, as of the last refresh. */
  get path(): Path {
    return this.#forecast.path;
  }

  #produce(demand: Demand, produced: number, delayMs: number | undefined, now: number): Production {
    return productionOf(this.#estimator, demand, produced, delayMs, now);
  }
}

function productionOf(
  estimator: Estimator,
  { estimate: { key } }: Demand,
  produced: number,
  delayMs: number | undefined,
  now: number,
): Production {
  const pace = estimator.pace(key.modelClass);
  return {
    curve: estimator.curve(key, produced),
    delayMs: delayMs ?? pace.firstTokenMs,
    tokensPerMs: pace.tokensPerSecond / 1000,
    most: Math.max(0, key.maxTokens - produced),
    at: now,
  };
}

/** What a call is going to produce if it starts now. */
export function pathOf(estimator: Estimator, demand: Demand): Path {
  const forecast = new Forecast(MARGIN);
  forecast.add(productionOf(estimator, demand, 0, undefined, 0));
  return forecast.path;
}

interface Group {
  production: Production | undefined;
  calls: number;
}

/** Groups of a running answer's length: a tenth wider each. Of the time to a first token: this many milliseconds. */
const PER_OCTAVE = 7;
const DELAY_STEP_MS = 50;
/** Numbers of groups of one kind are below this; those of calls that wait for their first token begin at half of it. */
const STRIDE = 2_048;

/**
 * Calls that are alike: of one kind and ceiling, and about as far. They are going to produce alike, so that looking at a
 * thousand calls costs what looking at some dozens does.
 */
class Groups {
  readonly #groups = new Map<unknown, Map<number, Group>>();

  of(kind: unknown, maxTokens: number, isRunning: boolean, measure: number): Group {
    let ofKind = this.#groups.get(kind);
    if (ofKind === undefined) {
      ofKind = new Map();
      this.#groups.set(kind, ofKind);
    }
    const step = isRunning
      ? Math.floor(Math.log2(1 + measure) * PER_OCTAVE)
      : STRIDE / 2 + Math.floor(measure / DELAY_STEP_MS);
    const number = maxTokens * STRIDE + Math.min(step, STRIDE - 1);
    let group = ofKind.get(number);
    if (group === undefined) {
      group = { production: undefined, calls: 0 };
      ofKind.set(number, group);
    }
    return group;
  }

  *all(): Generator<Group> {
    for (const ofKind of this.#groups.values()) yield* ofKind.values();
  }
}
