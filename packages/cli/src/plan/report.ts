import type { GoalResult } from './goals.ts';
import type { RunResult } from './run.ts';
import type { BucketWindow, Group } from './tally.ts';
import type { Kind } from './upstream.ts';

/** Hours in a twelfth of a year. */
const HOURS_A_MONTH = 730;

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
    buckets: [...tally.buckets].map(([name, { windows }]) => bucketReport(name, windows, windowMs)),
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
    usd: group.usd,
  };
}

function bucketReport(name: string, windows: readonly BucketWindow[], windowMs: number): BucketReport {
  const of = (kind: Kind) => {
    const shares = windows.map(({ used }) => used[kind]);
    return {
      mean: shares.reduce((sum, share) => sum + share, 0) / Math.max(1, shares.length),
      peak: Math.max(0, ...shares),
    };
  };
  const used = { requests: of('requests'), inputTokens: of('inputTokens'), outputTokens: of('outputTokens') };
  return { name, used, binds: bindings(windows, windowMs), windows };
}

/** Windows one after the other that are bound by the same thing are one. */
function bindings(windows: readonly BucketWindow[], windowMs: number): Binding[] {
  const found: Binding[] = [];
  for (const { from, binds } of windows) {
    if (binds === undefined) continue;
    const last = found.at(-1);
    if (last !== undefined && last.reason === binds && Math.abs(last.to - from) < 1)
      found[found.length - 1] = { ...last, to: from + windowMs };
    else found.push({ reason: binds, from, to: from + windowMs });
  }
  return found;
}
