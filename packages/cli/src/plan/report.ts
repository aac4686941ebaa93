import type { GoalResult } from './goals.ts';
import type { RunResult } from './run.ts';
import type { BucketWindow, Group } from './tally.ts';
import { KINDS, type Kind } from './upstream.ts';

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
  { tally, seed, duration, windowMs }: RunResult,
  goals: readonly GoalResult[],
): PlanReport {
  const groups = (all: ReadonlyMap<string, Group>) =>
    [...all].map(([name, group]) => groupReport(name, group));
  const usdPerHour = tally.all.usd / hoursOf(duration);
  return {
    seed,
    durationMs: duration,
    windowMs,
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

const sumOf = (counts: Readonly<Record<string, number>>) =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);
const number = (value: number) => value.toLocaleString('en-US');
const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const seconds = (ms: number) => `${(ms / 1_000).toFixed(2)} s`;
const usd = (value: number) =>
  `${value.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })} USD`;

/** `0:05:00` */
function clockTime(ms: number): string {
  const whole = Math.round(ms / 1_000);
  const two = (value: number) => String(value).padStart(2, '0');
  return `${Math.floor(whole / 3_600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** The report for a terminal. */
export function format(report: PlanReport): string {
  const { all, cost, caps } = report;
  const lines = [
    `${number(all.calls)} calls in ${clockTime(report.durationMs)}, seed ${report.seed}: ${number(all.answered)} answered, ${number(sumOf(all.refused))} refused, ${number(all.givenUp)} given up after ${number(report.refusals429)} 429s in all`,
    `cost ${usd(cost.usd)}: ${usd(cost.usdPerHour)} an hour, ${usd(cost.usdPerMonth)} a month of such hours${cost.unpriced === 0 ? '' : ` (without ${number(cost.unpriced)} calls whose price is not known)`}`,
  ];
  for (const [title, groups] of [
    ['lane', report.lanes],
    ['class', report.classes],
    ['tier', report.tiers],
  ] as const) {
    if (groups.length === 0) continue;
    const head = [title, 'calls', 'answered', 'refused', 'given up', 'wait p50', 'p95', 'p99', 'max', 'cost'];
    lines.push('', ...table([head, ...groups.map(groupRow)]));
  }
  lines.push(
    '',
    ...table([
      ['bucket', ...KINDS.flatMap((kind) => [words(kind), 'peak'])],
      ...report.buckets.map(bucketRow),
    ]),
  );
  lines.push(...report.buckets.flatMap(bindingLines));
  lines.push('', 'refused', ...counts(all.refused), 'waited for', ...counts(report.waitedFor));
  lines.push(
    'rules',
    ...report.rules.map(
      ({ name, refused, shadowed }) =>
        `  ${name}: refused ${number(refused)}${shadowed === 0 ? '' : `, in shadow ${number(shadowed)}`}`,
    ),
  );
  lines.push(`  caps: lowered ${number(caps.clamped)}, refused ${number(caps.refused)}`);
  for (const [models, count] of Object.entries(report.reroutes)) lines.push(`  ${models}: ${number(count)}`);
  if (report.goals.length > 0) {
    lines.push('', 'goals');
    for (const { goal, isMet, measured = 'nothing to measure' } of report.goals)
      lines.push(`  ${isMet ? 'met' : 'MISSED'}: ${goal} (${measured})`);
  }
  return lines.join('\n');
}

function groupRow({ name, calls, answered, refused, givenUp, waitMs, usd: spent }: GroupReport): string[] {
  const { p50, p95, p99, max } = waitMs;
  return [
    name,
    number(calls),
    number(answered),
    percent(sumOf(refused) / Math.max(1, calls)),
    number(givenUp),
    ...[p50, p95, p99, max].map(seconds),
    usd(spent),
  ];
}

const bucketRow = ({ name, used }: BucketReport): string[] => [
  name,
  ...KINDS.flatMap((kind) => [percent(used[kind].mean), percent(used[kind].peak)]),
];

/** What bound when; of many times the longest ten. */
function bindingLines({ name, binds }: BucketReport): string[] {
  const longest = [...binds].sort((a, b) => b.to - b.from - (a.to - a.from)).slice(0, 10);
  const shown = binds.filter((each) => longest.includes(each));
  return [
    ...shown.map(
      ({ reason, from, to }) => `  ${name}: ${reason} binds from ${clockTime(from)} to ${clockTime(to)}`,
    ),
    ...(binds.length === 0 ? [`  ${name}: nothing binds`] : []),
    ...(shown.length < binds.length ? [`  ${name}: and ${binds.length - shown.length} shorter times`] : []),
  ];
}

const words = (kind: Kind) => ({ requests: 'requests', inputTokens: 'input', outputTokens: 'output' })[kind];

function counts(of: Readonly<Record<string, number>>): string[] {
  const entries = Object.entries(of).sort(([, a], [, b]) => b - a);
  return entries.length === 0 ? ['  nothing'] : entries.map(([name, count]) => `  ${name}: ${number(count)}`);
}

/** The first column to the left, the rest to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}
