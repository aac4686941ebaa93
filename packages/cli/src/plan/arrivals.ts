import { exponential, lognormal, seeded } from './random.ts';
import type { Job } from './rehearsal.ts';
import { type Arrivals, type DrawnCalls, perMs } from './traffic.ts';

/** A call of the traffic: `at` counts from the start. */
export interface PlannedJob extends Job {
  /** Name of the entry of the traffic file that it comes from. */
  readonly entry: string;
}

export interface Arrival {
  /** Milliseconds. */
  readonly at: number;
  readonly job: PlannedJob;
}

/** The calls of one entry in the order of their times, drawn as they are asked for. */
export function* drawCalls(calls: DrawnCalls, seed: number, until: number): Generator<Arrival> {
  // Times apart from sizes: another size of call is not to change when calls come.
  const sizes = seeded(seed + 500_009);
  const end = Math.min(calls.end ?? until, until);
  for (const at of times(calls.arrivals, seeded(seed), calls.start, end)) {
    const { input, output, maxTokens } = calls;
    const drawn = (mean: number, spread: number) => Math.round(lognormal(sizes, mean, spread));
    yield {
      at,
      job: {
        entry: calls.name,
        user: `${calls.name} ${Math.floor(sizes() * calls.users)}`,
        lane: calls.lane,
        tier: calls.tier,
        tenant: calls.tenant,
        route: calls.route,
        model: calls.model,
        inputTokens: Math.max(1, drawn(input.mean, input.spread)),
        outputTokens: Math.min(maxTokens, Math.max(1, drawn(output.mean, output.spread))),
        maxTokens,
        isStreaming: sizes() < calls.streaming,
      },
    };
  }
}

type Random = () => number;

function* times(arrivals: Arrivals, random: Random, start: number, end: number): Generator<number> {
  switch (arrivals.shape) {
    case 'steady': {
      const step = 1 / perMs(arrivals.rate);
      for (let i = 0; start + i * step < end; i++) yield start + i * step;
      return;
    }
    case 'poisson': {
      const mean = 1 / perMs(arrivals.rate);
      for (let at = start + exponential(random, mean); at < end; at += exponential(random, mean)) yield at;
      return;
    }
    case 'ramp': {
      const from = perMs(arrivals.from);
      const to = perMs(arrivals.to);
      const rateAt = (at: number) => from + ((to - from) * (at - start)) / (end - start);
      yield* thinned(random, start, end, Math.max(from, to), rateAt);
      return;
    }
    case 'diurnal': {
      const low = perMs(arrivals.low);
      const high = perMs(arrivals.high);
      const rateAt = (at: number) =>
        low + ((high - low) * (1 + Math.cos((2 * Math.PI * (at - arrivals.peak)) / arrivals.period))) / 2;
      yield* thinned(random, start, end, high, rateAt);
      return;
    }
    case 'burst':
      yield* burst(random, start + arrivals.at, arrivals.within, arrivals.calls, end);
      return;
    case 'cron':
      for (let at = start + arrivals.at; at < end; at += arrivals.every)
        yield* burst(random, at, arrivals.within, arrivals.calls, end);
  }
}

/** A Poisson process whose rate changes: one of the highest rate, of which so many are left out as is needed. */
function* thinned(
  random: Random,
  start: number,
  end: number,
  most: number,
  rateAt: (at: number) => number,
): Generator<number> {
  for (let at = start; ; ) {
    at += exponential(random, 1 / most);
    if (at >= end) return;
    if (random() * most < rateAt(at)) yield at;
  }
}

/** `count` times spread at random over `within`, in order, without keeping them: each is the least of those left. */
function* burst(random: Random, from: number, within: number, count: number, end: number): Generator<number> {
  let at = from;
  for (let left = count; left > 0; left--) {
    at += (from + within - at) * (1 - random() ** (1 / left));
    if (at >= end) return;
    yield at;
  }
}
