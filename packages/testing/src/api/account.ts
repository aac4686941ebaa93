import { createFluidBucket, type Flow, type FluidBucket, LEVEL_TOLERANCE } from './fluid-bucket.ts';
import type { BucketLimits, Dimension, Levels } from './options.ts';

export const DIMENSIONS: readonly Dimension[] = ['requests', 'inputTokens', 'outputTokens'];

/** What a request asks of its bucket on arrival. */
interface Demand {
  readonly inputTokens: number;
  readonly maxTokens: number;
}

export interface Refusal {
  readonly dimension: Dimension;
  readonly limitPerMinute: number;
  /** Whole seconds; undefined when no wait would help. */
  readonly retryAfterSeconds: number | undefined;
}

/** The right to run. Everything it will cost is known and scheduled; `stop` takes back what did not happen. */
export interface Charge {
  /** At `firstTokenAt` the estimate gives way to the real input count, and output starts to flow until `endAt`. */
  schedule(now: number, plan: Production): void;
  /** Ends production at `now`. `produced` is what was really written. */
  stop(now: number, produced: number): void;
}

export interface Production {
  readonly inputTokens: number;
  readonly firstTokenAt: number;
  readonly endAt: number;
  readonly outputTokens: number;
}

/** One upstream bucket: up to three token buckets that admit together or not at all. */
export interface Account {
  readonly limits: Readonly<BucketLimits>;
  bucket(dimension: Dimension): FluidBucket | undefined;
  admit(now: number, demand: Demand): Charge | Refusal;
  take(now: number, dimension: Dimension, amount: number): void;
  levels(now: number): Levels;
  setLimits(now: number, limits: Partial<BucketLimits>): void;
  fill(now: number): void;
}

export const DEFAULT_BURST_SECONDS = 6;

export function createAccount(initial: BucketLimits, startedAt: number): Account {
  let limits = initial;
  const buckets = new Map<Dimension, FluidBucket>();
  for (const dimension of DIMENSIONS) open(dimension, startedAt);

  function open(dimension: Dimension, now: number): void {
    const limitPerMinute = limitOf(limits, dimension);
    const burstSeconds = limits.burstSeconds ?? DEFAULT_BURST_SECONDS;
    if (limitPerMinute === undefined) buckets.delete(dimension);
    else buckets.set(dimension, createFluidBucket({ limitPerMinute, burstSeconds, leastCapacity: 1 }, now));
  }

  const reserves = (): boolean => limits.outputCharging === 'reserve-max';

  /** The level that each limited dimension must show. An input deeper than its bucket needs a full one. */
  function needs(demand: Demand): { dimension: Dimension; bucket: FluidBucket; level: number }[] {
    const wanted: Record<Dimension, number> = {
      requests: 1,
      inputTokens: demand.inputTokens,
      // A single token's worth of room is enough: output is charged when it is produced.
      outputTokens: reserves() ? demand.maxTokens : 2 * LEVEL_TOLERANCE,
    };
    return DIMENSIONS.flatMap((dimension) => {
      const bucket = buckets.get(dimension);
      if (bucket === undefined) return [];
      return [{ dimension, bucket, level: Math.min(wanted[dimension], bucket.capacity) }];
    });
  }

  function refuse(now: number, demand: Demand): Refusal | undefined {
    const input = buckets.get('inputTokens');
    if (input !== undefined && demand.inputTokens > input.limitPerMinute) {
      return { dimension: 'inputTokens', limitPerMinute: input.limitPerMinute, retryAfterSeconds: undefined };
    }
    const all = needs(demand);
    const short = all.filter((need) => need.bucket.level(now) < need.level - LEVEL_TOLERANCE);
    if (short.length === 0) return undefined;

    const waits = short.map((need) => ({ ...need, at: need.bucket.reaches(now, now, need.level) }));
    const binding = waits.reduce((worst, each) => (each.at > worst.at ? each : worst));
    return {
      dimension: binding.dimension,
      limitPerMinute: binding.bucket.limitPerMinute,
      retryAfterSeconds: wholeSecondsUntilAllFit(now, all),
    };
  }

  return {
    get limits() {
      return limits;
    },
    bucket: (dimension) => buckets.get(dimension),
    admit(now, demand) {
      const refusal = refuse(now, demand);
      if (refusal !== undefined) return refusal;
      buckets.get('requests')?.take(now, 1);
      buckets.get('inputTokens')?.take(now, demand.inputTokens);
      const output = buckets.get('outputTokens');
      if (output === undefined || !reserves()) {
        return createCharge(demand, buckets.get('inputTokens'), output, 0);
      }
      output.take(now, demand.maxTokens);
      return createCharge(demand, buckets.get('inputTokens'), output, demand.maxTokens);
    },
    take(now, dimension, amount) {
      buckets.get(dimension)?.take(now, amount);
    },
    levels(now) {
      return {
        requests: buckets.get('requests')?.level(now),
        inputTokens: buckets.get('inputTokens')?.level(now),
        outputTokens: buckets.get('outputTokens')?.level(now),
      };
    },
    setLimits(now, changes) {
      limits = { ...limits, ...changes };
      for (const dimension of DIMENSIONS) {
        const limit = limitOf(limits, dimension);
        const bucket = buckets.get(dimension);
        if (bucket === undefined || limit === undefined) open(dimension, now);
        else bucket.resize(now, limit, limits.burstSeconds ?? DEFAULT_BURST_SECONDS);
      }
    },
    fill(now) {
      for (const bucket of buckets.values()) bucket.fill(now);
    },
  };
}

/**
 * The least whole number of seconds after which every need is met at once. Generations in flight go on
 * taking output, so a level that has recovered can fall again: a candidate is tried until it holds.
 */
function wholeSecondsUntilAllFit(
  now: number,
  needs: readonly { bucket: FluidBucket; level: number }[],
): number | undefined {
  let at = now;
  for (let round = 0; round < 1_000; round += 1) {
    const next = needs.reduce(
      (latest, need) => Math.max(latest, need.bucket.reaches(now, latest, need.level)),
      at,
    );
    if (!Number.isFinite(next)) return undefined;
    if (next === at && at > now) return Math.round((at - now) / 1_000);
    at = now + Math.max(1, Math.ceil((next - now) / 1_000)) * 1_000;
  }
  return undefined;
}

function createCharge(
  demand: Demand,
  input: FluidBucket | undefined,
  output: FluidBucket | undefined,
  reserved: number,
): Charge {
  let outputFlow: Flow | undefined;
  let correction: Flow | undefined;
  let isStopped = false;
  return {
    schedule(now, plan) {
      const error = plan.inputTokens - demand.inputTokens;
      correction = input?.flow(now, plan.firstTokenAt, plan.firstTokenAt, error);
      outputFlow =
        reserved > 0
          ? output?.flow(now, plan.endAt, plan.endAt, plan.outputTokens - reserved)
          : output?.flow(now, plan.firstTokenAt, plan.endAt, plan.outputTokens);
    },
    stop(now, produced) {
      if (isStopped) return;
      isStopped = true;
      // A call that ended before its first token keeps the estimate as its charge.
      correction?.stop(now);
      const taken = outputFlow?.stop(now) ?? 0;
      // Whole tokens were written, a fraction more may have flowed.
      output?.take(now, produced - reserved - taken);
    },
  };
}

function limitOf(limits: BucketLimits, dimension: Dimension): number | undefined {
  switch (dimension) {
    case 'requests':
      return limits.requestsPerMinute;
    case 'inputTokens':
      return limits.inputTokensPerMinute;
    case 'outputTokens':
      return limits.outputTokensPerMinute;
  }
}

export function isRefusal(value: Charge | Refusal): value is Refusal {
  return 'dimension' in value;
}
