import { number, percent, seconds, usd } from '../format.ts';
import { DISTRIBUTION, type PlanReport } from '../report.ts';
import { KINDS } from '../upstream.ts';

/** How numbers of an axis are written. */
export type Unit = 'time' | 'seconds' | 'share' | 'calls' | 'usd';

export interface Line {
  readonly label: string;
  /** Which of the colours of the page. */
  readonly color: number;
  readonly isDashed?: boolean;
  /** Nothing where nothing was measured. */
  readonly values: readonly (number | null)[];
}

/** A time in which calls waited for one thing. */
export interface Band {
  readonly label: string;
  readonly color: number;
  readonly from: number;
  readonly to: number;
}

/** One plot, as the page draws it. Times are seconds from the start. */
export interface Figure {
  readonly title: string;
  readonly x: { readonly label: string; readonly unit: Unit; readonly values: readonly number[] };
  readonly y: {
    readonly label: string;
    readonly unit: Unit;
    /** So that figures side by side can be compared. */
    readonly max: number;
  };
  readonly lines: readonly Line[];
  /** A line across, such as a limit. */
  readonly limit?: { readonly value: number; readonly label: string };
  readonly bands?: readonly Band[];
  /** What stands there where nothing is to be drawn. */
  readonly empty?: string;
}

/** Figures that show the same thing, one for each report. */
export interface Row {
  readonly title: string;
  readonly note: string;
  readonly figures: readonly Figure[];
}

const KIND_WORDS = { requests: 'requests', inputTokens: 'input tokens', outputTokens: 'output tokens' };

/** What the reports show over time, side by side. */
export function rowsOf(reports: readonly PlanReport[]): Row[] {
  const lanes = namesOf(reports.map(({ lanes }) => lanes));
  const classes = namesOf(reports.map(({ classes }) => classes));
  const buckets = namesOf(reports.map(({ buckets }) => buckets));
  const reasons = [
    ...new Set(reports.flatMap(({ buckets }) => buckets.flatMap(({ binds }) => binds.map((b) => b.reason)))),
  ];
  const row = (title: string, note: string, figures: readonly Figure[]): Row => ({
    title,
    note,
    figures: alike(figures),
  });
  return [
    row(
      'Waits over time',
      'Seconds in the queue, of the calls that were let in or ran out of time in each window: half of them waited no longer than p50, 95 of 100 no longer than p95.',
      reports.map((report) => waits(report, lanes)),
    ),
    ...buckets.map((name) =>
      row(
        `Use of ${name}`,
        'Share of what refills in each window; above 100 % where the depth of the bucket was drawn on. The band tells what most of the calls that had to wait waited for.',
        reports.map((report) => utilisation(report, name, reasons)),
      ),
    ),
    row(
      'Calls over time',
      'Calls a minute. A refusal is by Headgate; a call is given up where the API refused every attempt.',
      reports.map(calls),
    ),
    row(
      'How long calls waited',
      'The wait that a share of the calls of each class did not pass.',
      reports.map((report) => distribution(report, classes)),
    ),
    row('Cost', 'Money spent so far, of the calls whose price is known.', reports.map(cost)),
  ];
}

function waits(report: PlanReport, lanes: readonly string[]): Figure {
  const { windows } = report;
  const lines = lanes.flatMap((lane, i): Line[] => {
    const of = (which: 'p50' | 'p95') =>
      windows.map(({ waits }) => {
        const wait = waits[lane]?.[which];
        return wait === undefined ? null : wait / 1_000;
      });
    const values = of('p95');
    if (values.every((value) => value === null)) return [];
    return [
      { label: `${lane} p95`, color: i, values },
      { label: `${lane} p50`, color: i, isDashed: true, values: of('p50') },
    ];
  });
  return overTime(report, {
    title: 'Waits over time',
    y: { label: 'wait', unit: 'seconds' },
    lines,
    empty: 'no call was let in',
  });
}

function utilisation(report: PlanReport, name: string, reasons: readonly string[]): Figure {
  const bucket = report.buckets.find((each) => each.name === name);
  const figure = overTime(report, {
    title: `Use of ${name}`,
    y: { label: 'share of the limit', unit: 'share' },
    lines: KINDS.map((kind, i) => ({
      label: KIND_WORDS[kind],
      color: i,
      values: bucket?.windows.map(({ used }) => used[kind]) ?? [],
    })),
    empty: 'no such bucket here',
  });
  return {
    ...figure,
    y: { ...figure.y, max: Math.max(1.1, figure.y.max) },
    limit: { value: 1, label: 'limit' },
    bands: (bucket?.binds ?? []).map(({ reason, from, to }) => ({
      label: reason,
      // After those of the lines.
      color: KINDS.length + reasons.indexOf(reason),
      from: from / 1_000,
      to: to / 1_000,
    })),
  };
}

function calls(report: PlanReport): Figure {
  const minutes = report.windowMs / 60_000;
  const line = (label: 'arrived' | 'answered' | 'refused' | 'given up', color: number): Line => ({
    label,
    color,
    values: report.windows.map((window) => window[label === 'given up' ? 'givenUp' : label] / minutes),
  });
  return overTime(report, {
    title: 'Calls over time',
    y: { label: 'calls a minute', unit: 'calls' },
    lines: [line('arrived', 0), line('answered', 1), line('refused', 2), line('given up', 3)],
  });
}

/** A sum is reached at the end of its window. */
function cost({ windows, durationMs }: PlanReport): Figure {
  let spent = 0;
  const values = [0];
  for (const { usd } of windows) {
    spent += usd;
    values.push(spent);
  }
  const lines = [{ label: 'USD so far', color: 1, values }];
  return {
    title: 'Cost',
    x: timeAxis([...windows.map(({ from }) => from), durationMs]),
    y: { label: 'USD so far', unit: 'usd', max: mostOf(lines) },
    lines,
  };
}

function distribution(report: PlanReport, classes: readonly string[]): Figure {
  const lines = classes.flatMap((name, color): Line[] => {
    const waits = report.classes.find((each) => each.name === name)?.waitsMs ?? [];
    return waits.length === 0 ? [] : [{ label: name, color, values: waits.map((ms) => ms / 1_000) }];
  });
  return {
    title: 'How long calls waited',
    x: { label: 'share of the calls', unit: 'share', values: DISTRIBUTION },
    y: { label: 'wait', unit: 'seconds', max: mostOf(lines) },
    lines,
    empty: 'no call was let in',
  };
}

/** So much of its window before its end stands a second point, that lines are level in windows and steep between them. */
const STEEP = 1e-6;

/** Lines with a value for each window. */
function overTime(
  { windows, durationMs }: PlanReport,
  {
    title,
    y,
    lines,
    empty,
  }: {
    title: string;
    y: { label: string; unit: Unit };
    lines: readonly Line[];
    empty?: string;
  },
): Figure {
  const times = windows.flatMap(({ from }, i) => {
    const to = windows[i + 1]?.from;
    return to === undefined ? [from, durationMs] : [from, to - STEEP * (to - from)];
  });
  return {
    title,
    x: timeAxis(times),
    y: { ...y, max: mostOf(lines) },
    lines: lines.map((line) => ({ ...line, values: line.values.flatMap((value) => [value, value]) })),
    ...(empty === undefined ? {} : { empty }),
  };
}

const timeAxis = (ms: readonly number[]): Figure['x'] => ({
  label: 'time',
  unit: 'time',
  values: ms.map((each) => each / 1_000),
});

const mostOf = (lines: readonly Line[]) =>
  Math.max(0, ...lines.flatMap(({ values }) => values.map((v) => v ?? 0)));

/** Figures of one row have one scale. */
function alike(figures: readonly Figure[]): Figure[] {
  const max = Math.max(...figures.map(({ y }) => y.max));
  return figures.map((figure) => ({ ...figure, y: { ...figure.y, max } }));
}

function namesOf(lists: readonly (readonly { readonly name: string }[])[]): string[] {
  return [...new Set(lists.flatMap((list) => list.map(({ name }) => name)))];
}

/** What a figure shows, for who cannot see it. */
export function describe({ title, lines, y }: Figure): string {
  const format = {
    time: seconds,
    seconds: (s: number) => seconds(1_000 * s),
    share: percent,
    calls: number,
    usd,
  };
  const most = lines.map(({ label, values }) => {
    const peak = Math.max(0, ...values.map((value) => value ?? 0));
    return `${label} at most ${format[y.unit](peak)}`;
  });
  return `${title}: ${most.join(', ')}`;
}
