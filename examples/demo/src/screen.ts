import { styleText } from 'node:util';
import type { Progress } from './progress.ts';

/** Text for a screen, made of plain values: nothing in here writes, and nothing asks what time it is. */

export interface Screen {
  /** Columns: longer lines are cut, since a wrapped line would break a redrawn frame. */
  readonly width: number;
  readonly color: boolean;
}

type Ink = 'bold' | 'dim' | 'green' | 'red' | 'cyan';

/** One line and its style. Styles are added last, so that they do not count as width. */
export interface Line {
  readonly text: string;
  readonly ink?: Ink;
}

export const line = (text = '', ink?: Ink): Line => (ink === undefined ? { text } : { text, ink });

export function render(lines: readonly Line[], { width, color }: Screen): string {
  return lines
    .map(({ text, ink }) => {
      const fitted = fit(text, width);
      // `width` and `color` were decided by the caller, who knows the stream.
      return color && ink !== undefined && fitted !== ''
        ? styleText(ink, fitted, { validateStream: false })
        : fitted;
    })
    .join('\n');
}

function fit(text: string, width: number): string {
  const characters = [...text];
  return characters.length <= width ? text : `${characters.slice(0, Math.max(0, width - 1)).join('')}…`;
}

/** Columns as wide as their widest cell: the first `left` of them to the left, numbers after them to the right. */
export function table(rows: readonly (readonly string[])[], left = 1): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, [...cell].length);
    });
  }
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] ?? 0;
      return column < left ? cell.padEnd(width) : cell.padStart(width);
    });
    return `  ${cells.join('  ')}`.trimEnd();
  });
}

const BAR = 20;

function bar(level: number, capacity: number): string {
  const filled = Math.round(BAR * Math.min(1, Math.max(0, level / capacity)));
  return '█'.repeat(filled) + '░'.repeat(BAR - filled);
}

/** The frame that is redrawn in place: always of the same height. */
export function progressFrame(progress: Progress): Line[] {
  const { title, elapsedMs, totalMs, counts, queued, attempts, status429, levels } = progress;
  const numbers = [
    ['in flight', 'queued', 'done', 'refused', 'failed', 'upstream attempts', '429s'],
    [
      counts.inFlight,
      queued ?? '–',
      counts.ok,
      counts.refused,
      counts.failed + counts.unfinished,
      attempts,
      status429,
    ].map(String),
  ];
  const [heads = '', values = ''] = table(numbers);
  const levelRows = levels.map(({ name, level, capacity }) => [
    name,
    bar(level, capacity),
    `${whole(level)} of ${whole(capacity)}`,
  ]);
  const phase =
    elapsedMs <= totalMs
      ? `${seconds(elapsedMs)} of ${seconds(totalMs)}`
      : `${seconds(elapsedMs)}, last calls`;
  return [
    line(`${title}   ${phase}`, 'bold'),
    line(),
    line(heads, 'dim'),
    line(values),
    line(),
    line('  room in the bucket', 'dim'),
    ...table(levelRows).map((text) => line(text)),
  ];
}

/** The same in one line, for a log. */
export function progressLine({
  title,
  elapsedMs,
  counts,
  queued,
  attempts,
  status429,
  levels,
}: Progress): string {
  const parts = [
    `${title} ${seconds(elapsedMs)}`,
    `in flight ${counts.inFlight}`,
    ...(queued === undefined ? [] : [`queued ${queued}`]),
    `done ${counts.ok}`,
    `refused ${counts.refused}`,
    `failed ${counts.failed + counts.unfinished}`,
    `attempts ${attempts}`,
    `429s ${status429}`,
    ...levels.map(({ name, level }) => `${name} ${whole(level)}`),
  ];
  return parts.join(', ');
}

const NUMBER = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** `12,345` */
export const whole = (value: number): string => NUMBER.format(Math.round(value) + 0);
/** `1.2 s`, of milliseconds. */
export const seconds = (ms: number | undefined): string =>
  ms === undefined ? '–' : `${(ms / 1_000).toFixed(1)} s`;
/** `1.23`, seconds of milliseconds; for columns, whose head says the unit. */
export const bareSeconds = (ms: number | undefined): string =>
  ms === undefined ? '–' : (ms / 1_000).toFixed(2);
/** `0.12 s`, of milliseconds. */
export const fineSeconds = (ms: number | undefined): string =>
  ms === undefined ? '–' : `${(ms / 1_000).toFixed(2)} s`;
/** `97.4%`, rounded down: a share that is not quite all is never shown as all. */
export function percent(share: number, digits = 1): string {
  if (!Number.isFinite(share)) return '–';
  const scale = 10 ** digits;
  // What a division leaves below a round number is not a share that is missing.
  return `${Math.floor(share * 100 * scale + 1e-6) / scale}%`;
}
