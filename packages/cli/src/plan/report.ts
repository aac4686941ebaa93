import type { GoalResult } from './goals.ts';
import type { RunResult } from './run.ts';
import type { BucketWindow, CallWindow, Group } from './tally.ts';
import type { Kind } from './upstream.ts';

/** Hours in a twelfth of a year. */
const HOURS_A_MONTH = 730;
/** Shares of the calls at which the distribution of waits is told: 0, 0.05 … 0.95, 0.99, 1. */
export const DISTRIBUTION: readonly number[] = [
  ...Array.from({ length: 20 }, (_, i) => Math.round(5 * i) / 100),
  0.99,
  1,
];

export interface GroupReport {
  readonly name: string;
  readonly calls: number;
  readonly answered: number;
  /** By reason. */
  readonly refused: Readonly<Record<string, number>>;
  /** Refused by the API at every attempt. */
  readonly givenUp: number;
  /** Milliseconds in the queue, of the calls that were let in or ran out of time; quantiles at most 1 % too high. */
  readonly waitMs: Readonly<Record<'p50' | 'p95' | 'p99' | 'max', number>>;
  /** The wait that a share of the calls does not pass, for each share of `DISTRIBUTION`; empty where none waited or was let in. */
  readonly waitsMs: readonly number[];
  readonly usd: number;
}

/** A time in which calls waited for one thing most. */
export interface Binding {
  readonly reason: string;
  /** Milliseconds from the start. */
  readonly from: number;
  readonly to: number;
}

export interface BucketReport {
  readonly name: string;
  /** Shares of the limit: over the whole time, and in the busiest window. */
  readonly used: Readonly<Record<Kind, { readonly mean: number; readonly peak: number }>>;
  readonly binds: readonly Binding[];
  readonly windows: readonly BucketWindow[];
}

export interface PlanReport {
  readonly seed: number;
  readonly durationMs: number;
  readonly windowMs: number;
  /** A trace goes on after the duration; that part was left out. */
  readonly isCutShort: boolean;
  readonly all: GroupReport;
  readonly lanes: readonly GroupReport[];
  readonly classes: readonly GroupReport[];
  readonly tiers: readonly GroupReport[];
  readonly buckets: readonly BucketReport[];
  readonly windows: readonly CallWindow[];
  readonly refusals429: number;
  /** Calls let in after a wait, by what they waited for. */
  readonly waitedFor: Readonly<Record<string, number>>;
  readonly rules: readonly { readonly name: string; readonly refused: number; readonly shadowed: number }[];
  readonly caps: { readonly clamped: number; readonly refused: number };
  /** Calls that went to another model, as `asked → sent`. */
  readonly reroutes: Readonly<Record<string, number>>;
  readonly cost: {
    readonly usd: number;
    readonly usdPerHour: number;
    /** If every hour were like these: 730 of them. */
    readonly usdPerMonth: number;
    /** Answered calls whose price is not known, and that are in no sum. */
    readonly unpriced: number;
  };
  readonly goals: readonly GoalResult[];
}

export function summarize(
  { tally, seed, duration, windowMs, isCutShort }: RunResult,
  goals: readonly GoalResult[],
): PlanReport {
  const groups = (all: ReadonlyMap<string, Group>) =>
    [...all].map(([name, group]) => groupReport(name, group));
  const usdPerHour = tally.all.usd / hoursOf(duration);
  return {
    seed,
    durationMs: duration,
    windowMs,
    isCutShort,
    all: groupReport('all', tally.all),
    lanes: groups(tally.lanes),
    classes: groups(tally.classes),
    tiers: groups(tally.tiers),
    buckets: [...tally.buckets].map(([name, { windows }]) => bucketReport(name, windows, duration)),
    windows: tally.windows,
    refusals429: tally.refusals429,
    waitedFor: Object.fromEntries(tally.waitedFor),
    rules: [...tally.rules].map(([name, rule]) => ({ name, ...rule })),
    caps: { clamped: tally.clamped, refused: tally.capRefused },
    reroutes: Object.fromEntries(tally.reroutes),
    cost: {
      usd: tally.all.usd,
      usdPerHour,
      usdPerMonth: usdPerHour * HOURS_A_MONTH,
      unpriced: tally.unpriced,
    },
    goals,
  };
}

export const hoursOf = (ms: number): number => ms / 3_600_000;

function groupReport(name: string, group: Group): GroupReport {
  const { waits } = group;
  return {
    name,
    calls: group.arrived,
    answered: group.answered,
    refused: Object.fromEntries(group.refused),
    givenUp: group.givenUp,
    waitMs: {
      p50: waits.quantile(0.5),
      p95: waits.quantile(0.95),
      p99: waits.quantile(0.99),
      max: waits.most,
    },
    waitsMs: waits.count === 0 ? [] : DISTRIBUTION.map((share) => waits.quantile(share)),
    usd: group.usd,
  };
}

function bucketReport(name: string, windows: readonly BucketWindow[], duration: number): BucketReport {
  const endOf = (i: number) => windows[i + 1]?.from ?? duration;
  const of = (kind: Kind) => ({
    // By the time they took: where a run was ended early the last one is short.
    mean:
      windows.reduce((sum, { from, used }, i) => sum + used[kind] * (endOf(i) - from), 0) /
      Math.max(1, duration),
    peak: Math.max(0, ...windows.map(({ used }) => used[kind])),
  });
  const used = { requests: of('requests'), inputTokens: of('inputTokens'), outputTokens: of('outputTokens') };
  return { name, used, binds: bindings(windows, endOf), windows };
}

/** Windows one after the other that are bound by the same thing are one. */
function bindings(windows: readonly BucketWindow[], endOf: (i: number) => number): Binding[] {
  const found: Binding[] = [];
  for (const [i, { from, binds }] of windows.entries()) {
    if (binds === undefined) continue;
    const last = found.at(-1);
    if (last !== undefined && last.reason === binds && Math.abs(last.to - from) < 1)
      found[found.length - 1] = { ...last, to: endOf(i) };
    else found.push({ reason: binds, from, to: endOf(i) });
  }
  return found;
}
