import type { CallResult, Outcome } from './driver.ts';
import { type CallerClass, CLASSES } from './traffic.ts';

/** Milliseconds; undefined where there is nothing to measure. */
export interface Spread {
  readonly p50: number | undefined;
  readonly p95: number | undefined;
}

export interface ClassStats {
  readonly calls: number;
  readonly ok: number;
  readonly refused: number;
  /** Errors, and calls still open when we stopped waiting. */
  readonly failed: number;
  /** Of those that failed, the ones still open when we stopped waiting. */
  readonly unfinished: number;
  /** At the gate, of the calls that it let in. */
  readonly wait: Spread;
  /** From planned start to last byte, of the calls that were answered. */
  readonly time: Spread;
}

export type StatsByClass = Readonly<Record<CallerClass, ClassStats>>;

/** The nearest-rank percentile: always a value that occurred. Pure. */
function percentile(values: readonly number[], p: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)];
}

const spread = (values: readonly number[]): Spread => ({
  p50: percentile(values, 0.5),
  p95: percentile(values, 0.95),
});

/** `waits`: milliseconds at the gate by trace; empty without Headgate. */
export function statsOf(results: readonly CallResult[], waits: ReadonlyMap<string, number>): ClassStats {
  const ok = results.filter(({ outcome }) => outcome === 'ok');
  const count = (wanted: Outcome) => results.filter(({ outcome }) => outcome === wanted).length;
  const refused = count('refused');
  const waited = results.flatMap(({ traceId }) => {
    const wait = traceId === undefined ? undefined : waits.get(traceId);
    return wait === undefined ? [] : [wait];
  });
  return {
    calls: results.length,
    ok: ok.length,
    refused,
    failed: count('failed') + count('unfinished'),
    unfinished: count('unfinished'),
    wait: spread(waited),
    time: spread(ok.map(({ ms }) => ms)),
  };
}

export function statsByClass(
  results: readonly CallResult[],
  waits: ReadonlyMap<string, number>,
): StatsByClass {
  const entries = CLASSES.map((callerClass) => {
    const own = results.filter(({ call }) => call.callerClass === callerClass);
    return [callerClass, statsOf(own, waits)] as const;
  });
  return Object.fromEntries(entries) as Record<CallerClass, ClassStats>;
}
