import type { Clock, Random } from '../clock.ts';
import { remember } from '../remember.ts';

/**
 * Circuits of single callers: what one caller alone sees fail is that caller's own trouble. Its calls are answered at
 * once for a second at first and up to eight, then one at a time is let through, and three that succeed close the circuit.
 */
const FIRST_OPEN_MS = 1_000;
const LONGEST_OPEN_MS = 8_000;
const SUCCESSES_TO_CLOSE = 3;
/** A probe whose outcome is never told is given up after this. */
const PROBE_MS = 30_000;
/** Open circuits that are kept: past it the one that was opened first is forgotten. */
const MAX_CIRCUITS = 1_024;
/** A circuit that nobody has asked for is forgotten after this. */
const UNUSED_MS = 60_000;

interface Circuit {
  openUntil: number;
  openMs: number;
  probingSince: number | undefined;
  successes: number;
}

/** What a caller's own circuit says: undefined where there is none. */
export type OwnPassage = { readonly pass: boolean; readonly retryAfterMs: number };

export class OwnCircuits {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #circuits = new Map<string, Circuit>();

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  get size(): number {
    return this.#circuits.size;
  }

  /** What a call of `key` would be told now; nothing is taken. */
  look(key: string): OwnPassage | undefined {
    if (this.#circuits.size === 0) return undefined;
    const circuit = this.#circuits.get(key);
    if (circuit === undefined) return undefined;
    const now = this.#clock.now();
    if (now - circuit.openUntil > UNUSED_MS) {
      this.#circuits.delete(key);
      return undefined;
    }
    if (now < circuit.openUntil) return { pass: false, retryAfterMs: circuit.openUntil - now };
    const isTaken = circuit.probingSince !== undefined && now - circuit.probingSince < PROBE_MS;
    return { pass: !isTaken, retryAfterMs: FIRST_OPEN_MS };
  }

  /** A call that `look` lets pass goes: it is to see whether things are well again. */
  probe(key: string): void {
    const circuit = this.#circuits.get(key);
    if (circuit !== undefined) circuit.probingSince = this.#clock.now();
  }

  /** True where the circuit is closed by it. */
  succeeded(key: string): boolean {
    const circuit = this.#circuits.get(key);
    if (circuit === undefined) return false;
    circuit.probingSince = undefined;
    circuit.successes++;
    return circuit.successes >= SUCCESSES_TO_CLOSE && this.#circuits.delete(key);
  }

  released(key: string): void {
    const circuit = this.#circuits.get(key);
    if (circuit !== undefined) circuit.probingSince = undefined;
  }

  /** Opens, or opens again for longer after a probe that failed. */
  open(key: string): void {
    const known = this.#circuits.get(key);
    const openMs = known?.openMs ?? FIRST_OPEN_MS;
    const ms = openMs * (0.5 + 0.5 * this.#random());
    const circuit = {
      openUntil: this.#clock.now() + ms,
      openMs: Math.min(LONGEST_OPEN_MS, openMs * 2),
      probingSince: undefined,
      successes: 0,
    };
    remember(this.#circuits, key, circuit, MAX_CIRCUITS);
  }

  isOpen(key: string): boolean {
    return this.#circuits.has(key);
  }

  /** Keys of circuits that are not closed. */
  get keys(): IterableIterator<string> {
    return this.#circuits.keys();
  }

  stateOf(key: string): 'open' | 'half_open' | undefined {
    const circuit = this.#circuits.get(key);
    if (circuit === undefined) return undefined;
    return this.#clock.now() < circuit.openUntil ? 'open' : 'half_open';
  }

  /** Forgets the circuits whose keys are meant; left out: all. Returns their keys. */
  forget(isMeant: (key: string) => boolean = () => true): string[] {
    const forgotten = [...this.#circuits.keys()].filter(isMeant);
    for (const key of forgotten) this.#circuits.delete(key);
    return forgotten;
  }
}
