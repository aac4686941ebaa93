/** How fast money is spent: an average in which old spending fades. */
export class Pace {
  readonly #tauMs: number;
  #weight = 0;
  #sum = 0;
  #at: number | undefined;

  /** What is older than `tauMs` counts for a third and less. */
  constructor(tauMs: number) {
    this.#tauMs = tauMs;
  }

  add(usd: number, now: number): void {
    this.#fade(now);
    this.#sum += usd;
  }

  /** USD a millisecond. Nothing is known before some time has gone. */
  perMs(now: number): number {
    this.#fade(now);
    return this.#weight <= 0 ? 0 : this.#sum / this.#weight;
  }

  /** The weight is the time that the sum stands for, faded alike: a steady rate is told as it is from the start. */
  #fade(now: number): void {
    const elapsed = now - (this.#at ?? now);
    this.#at = now;
    if (elapsed <= 0) return;
    const left = Math.exp(-elapsed / this.#tauMs);
    this.#sum *= left;
    this.#weight = this.#weight * left + this.#tauMs * (1 - left);
  }
}

const TAU_MS = { second: 1_000, minute: 6_000, hour: 360_000, day: 3_600_000, month: 43_200_000 } as const;

/** The time over which the pace of a window's budget is told: long against calls, short against the window. */
export const tauOf = (per: keyof typeof TAU_MS) => TAU_MS[per];

/** When a budget is used up at a pace: milliseconds from now, or never before it is there again. Pure. */
export function endsInMs(options: {
  readonly remaining: number;
  readonly perMs: number;
  /** What a continuous budget gets back in a millisecond; of a calendar's, nothing before its end. */
  readonly refillPerMs: number;
  /** Milliseconds until a calendar's window ends. */
  readonly resetMs: number;
}): number | undefined {
  const { remaining, perMs, refillPerMs, resetMs } = options;
  if (remaining <= 0) return 0;
  const net = perMs - refillPerMs;
  if (net <= 0) return undefined;
  const ms = remaining / net;
  return refillPerMs > 0 || ms < resetMs ? ms : undefined;
}
