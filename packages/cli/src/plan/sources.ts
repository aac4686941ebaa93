import { type Arrival, drawCalls } from './arrivals.ts';
import type { Rehearsable } from './load.ts';
import { readTrace } from './trace.ts';
import { isRecorded } from './traffic.ts';

/** Seeds of the entries are so far apart. */
const SEED_STEP = 7_919;

/** Every call of the traffic in the order of their times, drawn or read as it is asked for. @throws TraceError */
export function arrivalsOf(
  { config, traffic, pathOf }: Rehearsable,
  { seed, hasModel }: { readonly seed: number; readonly hasModel: (id: string) => boolean },
): AsyncGenerator<Arrival> {
  const lanes = Object.keys(config.lanes).filter((name) => config.lanes[name]?.via !== 'batch');
  return inOrder(
    traffic.calls.map((calls, i) =>
      isRecorded(calls)
        ? readTrace(pathOf(calls.trace), calls, { lanes, hasModel })
        : drawCalls(calls, seed + (i + 1) * SEED_STEP, traffic.duration),
    ),
  );
}

type Source = AsyncGenerator<Arrival> | Generator<Arrival>;

/** The arrivals of all sources by their times; each source is asked for its next only when its last has gone. */
async function* inOrder(sources: readonly Source[]): AsyncGenerator<Arrival> {
  try {
    const heads = await Promise.all(sources.map(async (source) => ({ source, next: await source.next() })));
    for (;;) {
      let first: (typeof heads)[number] | undefined;
      for (const head of heads)
        if (
          head.next.done !== true &&
          (first === undefined || head.next.value.at < (first.next.value?.at ?? 0))
        )
          first = head;
      if (first === undefined || first.next.done === true) return;
      yield first.next.value;
      first.next = await first.source.next();
    }
  } finally {
    // Files are closed also where the rest is not wanted.
    await Promise.all(sources.map((source) => source.return(undefined)));
  }
}
