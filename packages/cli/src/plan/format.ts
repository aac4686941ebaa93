import type { BucketReport, GroupReport, PlanReport } from './report.ts';
import { KINDS, type Kind } from './upstream.ts';

export const sumOf = (counts: Readonly<Record<string, number>>) =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);
export const number = (value: number) => value.toLocaleString('en-US');
export const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
export const seconds = (ms: number) => `${(ms / 1_000).toFixed(2)} s`;
export const usd = (value: number) =>
  `${value.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })} USD`;

/** `0:05:00` */
export function clockTime(ms: number): string {
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
  if (report.isCutShort)
    lines.push(
      'a trace goes on after that: what comes later was left out (see `duration` of the traffic file)',
    );
  for (const rows of tablesOf(report)) lines.push('', ...table(rows));
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

/** The tables of a report: a head each, and a row for each lane, class, tier and bucket. */
export function tablesOf(report: PlanReport): string[][][] {
  const groups = (
    [
      ['lane', report.lanes],
      ['class', report.classes],
      ['tier', report.tiers],
    ] as const
  ).flatMap(([title, all]) => {
    const head = [title, 'calls', 'answered', 'refused', 'given up', 'wait p50', 'p95', 'p99', 'max', 'cost'];
    return all.length === 0 ? [] : [[head, ...all.map(groupRow)]];
  });
  const head = ['bucket', ...KINDS.flatMap((kind) => [words(kind), 'peak'])];
  return [...groups, [head, ...report.buckets.map(bucketRow)]];
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
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
}
