import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { type Compared, comparisonOf } from '../compare.ts';
import { clockTime, number, percent, sumOf, usd } from '../format.ts';
import type { PlanReport } from '../report.ts';
import { draw } from './draw.ts';
import { describe, type Figure, type Row, rowsOf } from './figures.ts';
import { STYLE } from './style.ts';
import { escapeHtml, goalsTable, htmlTable, reportTables } from './tables.ts';

export interface PageOptions {
  /** @default the names of what is compared */
  readonly title?: string;
  /** What was played, each under the name of its configuration. */
  readonly compared: readonly Compared[];
  readonly trafficFile: string;
  /** What has to be known before the figures are read. */
  readonly warnings?: readonly string[];
  /** Lines that stand by themselves, such as the limits that were found. */
  readonly found?: readonly string[];
  /** Tables that stand before the others, each with a head. */
  readonly tables?: readonly { readonly caption: string; readonly rows: readonly (readonly string[])[] }[];
}

/**
 * The report as one file that asks nothing of the network: styles, the plotting library with its licence, and the
 * figures are in it, and its own policy forbids everything else. The same reports give the same page to the byte.
 */
export async function htmlPage({
  compared,
  trafficFile,
  title: name = compared.map(({ file }) => file).join(', '),
  warnings = [],
  found = [],
  tables = [],
}: PageOptions): Promise<string> {
  const library = await plottingLibrary();
  const reports = compared.map(({ report }) => report);
  const rows = rowsOf(reports);
  const figures: Figure[] = [];
  const sections = rows.map((row) => sectionOf(row, compared, figures));
  const script = `(${draw.toString()})(uPlot);`;
  const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src ${hash(library.code)} ${hash(script)}`;
  const title = `headgate plan: ${name}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escapeHtml(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title>
<!-- The plots are drawn with uPlot, of which this file has a copy:
${library.licence} -->
<style>${library.style}${STYLE}</style>
</head>
<body>
<header>
<h1>${escapeHtml(title)}</h1>
<p class="note">Traffic of ${escapeHtml(trafficFile)}${reports[0] === undefined ? '' : `, ${clockTime(reports[0].durationMs)} of it, seed ${reports[0].seed}`}. Played through the admission of Headgate.</p>
</header>
<main>
${warnings.map((text) => `<p class="warning" role="note">${escapeHtml(text)}</p>`).join('\n')}
${found.map((text) => `<p>${escapeHtml(text)}</p>`).join('\n')}
${tables.map(({ caption, rows: each }) => htmlTable(caption, each)).join('\n')}
${compared.length > 1 ? `<h2>Side by side</h2>\n${htmlTable('The same calls', comparisonOf(compared))}` : ''}
<div class="side">
${compared.map((each) => summaryOf(each, compared.length > 1)).join('\n')}
</div>
${sections.join('\n')}
<h2>Figures</h2>
<div class="side">
${compared.map(({ file, report }) => `<section>${compared.length > 1 ? `<h3>${escapeHtml(file)}</h3>` : ''}${reportTables(report)}</section>`).join('\n')}
</div>
</main>
<script type="application/json" id="figures">${jsonFor(figures)}</script>
<script>${library.code}</script>
<script>${script}</script>
</body>
</html>
`;
}

/** Nothing in it can end the element that it stands in, or begin a comment. */
const jsonFor = (value: unknown) => JSON.stringify(value).replaceAll('<', '\\u003c');

async function plottingLibrary(): Promise<{ code: string; style: string; licence: string }> {
  const require = createRequire(import.meta.url);
  const read = (path: string) => readFile(require.resolve(path), 'utf8');
  const [code, style, licence] = await Promise.all([
    read('uplot/dist/uPlot.iife.min.js'),
    read('uplot/dist/uPlot.min.css'),
    read('uplot/LICENSE'),
  ]);
  return { code, style, licence: licence.trim().replaceAll('--', '- -') };
}

function summaryOf({ file, report }: Compared, isOneOfMany: boolean): string {
  const { all, cost } = report;
  const tile = (value: string, title: string) => `<li><b>${escapeHtml(value)}</b>${escapeHtml(title)}</li>`;
  const tiles = [
    tile(number(all.calls), 'calls'),
    tile(number(all.answered), 'answered'),
    tile(percent(sumOf(all.refused) / Math.max(1, all.calls)), 'refused by Headgate'),
    tile(number(report.refusals429), '429s of the API'),
    tile(number(all.givenUp), 'given up'),
    tile(usd(cost.usdPerHour), 'an hour'),
    tile(usd(cost.usdPerMonth), 'a month of such hours'),
  ];
  return `<section>${isOneOfMany ? `<h3>${escapeHtml(file)}</h3>` : ''}
<ul class="tiles">${tiles.join('')}</ul>
${remarksOf(report)
  .map((text) => `<p class="note">${escapeHtml(text)}</p>`)
  .join('\n')}
${goalsTable(report.goals)}
</section>`;
}

function remarksOf({ cost, isCutShort }: PlanReport): string[] {
  return [
    ...(cost.unpriced === 0 ? [] : [`Without ${number(cost.unpriced)} calls whose price is not known.`]),
    ...(isCutShort ? ['A trace goes on after that: what comes later was left out.'] : []),
  ];
}

/** The figures of a row; each is put into `all`, by whose index the page finds it. */
function sectionOf({ title, note, figures }: Row, compared: readonly Compared[], all: Figure[]): string {
  const drawn = figures.map((figure, i) => {
    const name = compared.length > 1 ? (compared[i]?.file ?? '') : '';
    const caption = name === '' ? '' : `<figcaption>${escapeHtml(name)}</figcaption>`;
    if (figure.lines.length === 0)
      return `<figure>${caption}<p class="note">${escapeHtml(figure.empty ?? 'nothing to show')}</p></figure>`;
    all.push(figure);
    return `<figure>${caption}<div class="plot" data-figure="${all.length - 1}" role="group" aria-label="${escapeHtml(describe(figure))}"></div>${bandsOf(figure)}</figure>`;
  });
  return `<section><h2>${escapeHtml(title)}</h2>
<p class="note">${escapeHtml(note)}</p>
<div class="side">${drawn.join('\n')}</div></section>`;
}

/** The legend of what bound. */
function bandsOf({ bands = [] }: Figure): string {
  const seen = new Map(bands.map(({ label, color }) => [label, color]));
  if (seen.size === 0) return '';
  const entries = [...seen].map(
    ([label, color]) =>
      `<li><i style="background:var(--line-${color % 8})"></i>${escapeHtml(label)} binds</li>`,
  );
  return `<ul class="bands">${entries.join('')}</ul>`;
}
