import type { Estimator } from '../estimate/estimator.ts';
import type { Demand, Flight } from './flight.ts';
import type { Limit } from './limit.ts';
import type { Limits } from './limits.ts';
import type { OutputRule } from './output-rule.ts';

/** How often running calls are looked at again: what they have produced is charged, and the rest of each thought over. */
const REFRESH_MS = 200;
/** An API that has not told by then what it charges a call for input has charged what it estimates, which we can no better. */
const HOLD_MS = 3_000;
/** Standard deviation of the guess of what a JSON answer has produced, as a share of it: paces differ by about as much. */
const GUESS = 0.2;

/** The calls of a bucket that are under way, charged as they come on. */
export class Flights {
  readonly #estimator: Estimator;
  readonly #output: OutputRule;
  readonly #all = new Set<Flight>();
  /** Of the level of output, for what JSON answers may have produced more or less than was guessed. */
  #guessVariance = 0;
  #refreshedAt = Number.NEGATIVE_INFINITY;

  constructor(estimator: Estimator, output: OutputRule) {
    this.#estimator = estimator;
    this.#output = output;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Standard deviation, in tokens, of what JSON answers are thought to have produced. */
  get unsure(): number {
    return Math.sqrt(this.#guessVariance);
  }

  [Symbol.iterator](): Iterator<Flight> {
    return this.#all.values();
  }

  start(demand: Demand, now: number): Flight {
    const flight: Flight = {
      demand,
      startedAt: now,
      among: this.#all.size + 1,
      caller: demand.caller ?? '',
      own: undefined,
      inputHeld: 0,
      inputCharged: 0,
      outputCharged: 0,
      produced: 0,
      firstTokenAt: undefined,
      turn: undefined,
    };
    this.#all.add(flight);
    return flight;
  }

  /** False where it has ended before. */
  end(flight: Flight): boolean {
    return this.#all.delete(flight);
  }

  /** The API has told the input that it charges. */
  inputKnown(flight: Flight, tokens: number, input: Limit | undefined, now: number): void {
    input?.take(tokens - flight.inputCharged, now);
    input?.release(flight.inputHeld, now);
    flight.inputCharged = tokens;
    flight.inputHeld = 0;
  }

  /** The switch to charging in advance: what runs is charged its ceiling, as if it had started so. */
  chargeInAdvance(output: Limit | undefined, now: number): void {
    for (const flight of this.#all) {
      if (!flight.demand.chargesTokens) continue;
      this.#output.ended(flight, now);
      const ceiling = flight.demand.estimate.maxOutputTokens;
      output?.take(ceiling - flight.outputCharged, now);
      flight.outputCharged = ceiling;
    }
  }

  /** The next look is not to wait. */
  stale(): void {
    this.#refreshedAt = Number.NEGATIVE_INFINITY;
  }

  /** Charges what running calls have produced since the last look, and has the rest of each thought over. */
  refresh(limits: Pick<Limits, 'input' | 'output'>, isRealtime: boolean, now: number): void {
    if (now - this.#refreshedAt < REFRESH_MS) return;
    const { input, output } = limits;
    this.#refreshedAt = now;
    let produced = 0;
    this.#guessVariance = 0;
    for (const flight of this.#all) {
      if (!flight.demand.chargesTokens) continue;
      if (flight.inputHeld > 0 && now - flight.startedAt > HOLD_MS)
        this.inputKnown(flight, flight.inputCharged + flight.inputHeld, input, now);
      if (!isRealtime) continue;
      if (!flight.demand.isStreaming) this.#guess(flight, now);
      if (flight.produced > flight.outputCharged) {
        produced += flight.produced - flight.outputCharged;
        flight.outputCharged = flight.produced;
        this.#estimator.running(flight.demand.estimate.key, flight.produced);
      }
    }
    if (!isRealtime) return;
    output?.take(produced, now);
    this.#output.refresh(this.#all, now);
  }

  /** A JSON answer shows nothing until its end: it is taken to come on at the usual pace. */
  #guess(flight: Flight, now: number): void {
    const pace = this.#estimator.pace(flight.demand.estimate.key.modelClass);
    const ms = now - flight.startedAt - pace.firstTokenMs;
    const soFar = Math.max(0, ms) * (pace.tokensPerSecond / 1000);
    flight.produced = Math.max(flight.produced, Math.min(soFar, flight.demand.estimate.maxOutputTokens));
    this.#guessVariance += (GUESS * flight.produced) ** 2;
  }
}
