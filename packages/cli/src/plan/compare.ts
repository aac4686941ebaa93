import { number, percent, seconds, sumOf, table, usd } from './format.ts';
import type { GroupReport, PlanReport } from './report.ts';
import { KINDS } from './upstream.ts';

/** What one configuration made of the traffic. */
export interface Compared {
  readonly file: string;
  readonly report: PlanReport;
}

/** The same traffic under several configurations, side by side: one column for each. */
export const formatComparison = (compared: readonly Compared[]): string =>
  table(comparisonOf(compared)).join('\n');

/** A head, and a row for each thing that is compared. */
export function comparisonOf(compared: readonly Compared[]): string[][] {
  const reports = compared.map(({ report }) => report);
  const row = (title: string, cell: (report: PlanReport) => string) => [title, ...reports.map(cell)];
  const rows = [
    ['', ...compared.map(({ file }) => file)],
    row('answered', ({ all }) => number(all.answered)),
    row('refused', ({ all }) => refusedOf(all)),
    row('given up', ({ all }) => number(all.givenUp)),
    row('429s', ({ refusals429 }) => number(refusals429)),
    row('USD an hour', ({ cost }) => usd(cost.usdPerHour)),
  ];
  for (const kind of ['lanes', 'classes', 'tiers'] as const) {
    const word = { lanes: 'lane', classes: 'class', tiers: 'tier' }[kind];
    for (const name of namesOf(reports.map((report) => report[kind]))) {
      const cell = (show: (group: GroupReport) => string) => (report: PlanReport) => {
        const group = report[kind].find((each) => each.name === name);
        return group === undefined ? 'none' : show(group);
      };
      rows.push(
        row(
          `${word} ${name}: wait p50`,
          cell(({ waitMs }) => seconds(waitMs.p50)),
        ),
      );
      rows.push(
        row(
          `${word} ${name}: p95`,
          cell(({ waitMs }) => seconds(waitMs.p95)),
        ),
      );
      rows.push(row(`${word} ${name}: refused`, cell(refusedOf)));
    }
  }
  for (const name of namesOf(reports.map(({ buckets }) => buckets)))
    for (const kind of KINDS)
      rows.push(
        row(`bucket ${name}: ${kind}`, ({ buckets }) => {
          const bucket = buckets.find((each) => each.name === name);
          return bucket === undefined ? 'none' : percent(bucket.used[kind].mean);
        }),
      );
  for (const [i, { goal }] of (reports[0]?.goals ?? []).entries())
    rows.push(
      row(`goal ${goal}`, ({ goals }) => {
        const { isMet, measured = 'nothing to measure' } = goals[i] ?? { isMet: false };
        return `${isMet ? 'met' : 'MISSED'} (${measured})`;
      }),
    );
  return rows;
}

const refusedOf = ({ refused, calls }: GroupReport) => percent(sumOf(refused) / Math.max(1, calls));

const namesOf = (lists: readonly (readonly { readonly name: string }[])[]): string[] => [
  ...new Set(lists.flatMap((list) => list.map(({ name }) => name))),
];
