import { clockTime, number, sumOf, tablesOf } from '../format.ts';
import type { GoalResult } from '../goals.ts';
import type { PlanReport } from '../report.ts';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** For text and for attributes: what comes from files is no markup. */
export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => ENTITIES[c] ?? c);

/** The first row is the head, the first column names its row. */
export function htmlTable(caption: string, [head = [], ...rows]: readonly (readonly string[])[]): string {
  const cells = (row: readonly string[], scope: 'col' | 'row') =>
    row
      .map((cell, i) =>
        scope === 'col' || i === 0
          ? `<th scope="${scope}">${escapeHtml(cell)}</th>`
          : `<td>${escapeHtml(cell)}</td>`,
      )
      .join('');
  return [
    `<div class="scroll" tabindex="0" role="group" aria-label="${escapeHtml(caption)}"><table class="figures">`,
    `<caption>${escapeHtml(caption)}</caption>`,
    `<thead><tr>${cells(head, 'col')}</tr></thead>`,
    `<tbody>${rows.map((row) => `<tr>${cells(row, 'row')}</tr>`).join('\n')}</tbody></table></div>`,
  ].join('\n');
}

export function goalsTable(goals: readonly GoalResult[]): string {
  if (goals.length === 0) return '';
  const rows = goals.map(
    ({ goal, isMet, measured = 'nothing to measure' }) =>
      `<tr><th scope="row">${escapeHtml(goal)}</th><td>${escapeHtml(measured)}</td><td class="${isMet ? 'met' : 'missed'}">${isMet ? '✓ met' : '✗ missed'}</td></tr>`,
  );
  return [
    '<div class="scroll" tabindex="0" role="group" aria-label="Goals"><table class="figures"><caption>Goals</caption>',
    '<thead><tr><th scope="col">goal</th><th scope="col">measured</th><th scope="col"></th></tr></thead>',
    `<tbody>${rows.join('\n')}</tbody></table></div>`,
  ].join('\n');
}

const CAPTIONS: Readonly<Record<string, string>> = {
  lane: 'By lane',
  class: 'By class',
  tier: 'By tier',
  bucket: 'Buckets: share of the limit used, over all and in the busiest window',
};

/** The tables of the report for a terminal. */
export function reportTables(report: PlanReport): string {
  const counts = (title: string, what: string, of: Readonly<Record<string, number>>) =>
    sumOf(of) === 0
      ? ''
      : htmlTable(title, [
          [what, 'calls'],
          ...Object.entries(of)
            .sort(([, a], [, b]) => b - a)
            .map(([name, count]) => [name, number(count)]),
        ]);
  const binds = report.buckets.flatMap(({ name, binds }) =>
    binds.map(({ reason, from, to }) => [name, reason, clockTime(from), clockTime(to)]),
  );
  const rules = [
    ...report.rules.map(({ name, refused, shadowed }) => [name, number(refused), number(shadowed), '']),
    ['caps', number(report.caps.refused), '', number(report.caps.clamped)],
  ];
  return [
    ...tablesOf(report).map((rows) => htmlTable(CAPTIONS[rows[0]?.[0] ?? ''] ?? '', rows)),
    binds.length === 0
      ? ''
      : folded(`What bound when (${binds.length})`, 'When', [['bucket', 'reason', 'from', 'to'], ...binds]),
    counts('Refused by Headgate', 'reason', report.all.refused),
    counts('Let in after a wait', 'waited for', report.waitedFor),
    htmlTable('Rules', [['rule', 'refused', 'in shadow', 'lowered'], ...rules]),
    counts('Sent to another model', 'models', report.reroutes),
  ]
    .filter((html) => html !== '')
    .join('\n');
}

/** A long table is there for who wants it. */
const folded = (title: string, caption: string, rows: readonly (readonly string[])[]) =>
  `<details><summary>${escapeHtml(title)}</summary>${htmlTable(caption, rows)}</details>`;
