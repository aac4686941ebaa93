import type { DashboardPanel } from './dashboard.ts';
import type { RangeSeries } from './prometheus.ts';

/** A panel with what Prometheus answered to each of its queries. */
export interface PanelData {
  readonly panel: DashboardPanel;
  readonly answers: readonly { readonly legendFormat: string; readonly series: readonly RangeSeries[] }[];
}

interface Line {
  readonly label: string;
  readonly color: string;
  readonly points: readonly (readonly [seconds: number, value: number])[];
}

const COLORS = [
  '#73bf69',
  '#f2cc0c',
  '#5794f2',
  '#ff780a',
  '#e02f44',
  '#b877d9',
  '#8ab8ff',
  '#fade2a',
  '#96d98d',
];
const WIDTH = 1_600;
const COLUMN = WIDTH / 24;
const CELL = 34;

/** The dashboard as one page of plain HTML and SVG, where no Grafana can run: the same panels, places, units and data. */
export function previewHtml(title: string, panels: readonly PanelData[]): string {
  const bottom = Math.max(...panels.map(({ panel: { gridPos } }) => gridPos.y + gridPos.h));
  return `<!doctype html><meta charset="utf-8"><title>${escapeHtml(title)}</title>
<style>
body { margin: 0; background: #111217; color: #ccccdc; font: 13px/1.3 system-ui, sans-serif; width: ${WIDTH}px; height: ${bottom * CELL}px; position: relative; }
section { position: absolute; box-sizing: border-box; padding: 3px; }
section > div { background: #181b1f; border: 1px solid #2c3235; border-radius: 3px; height: 100%; box-sizing: border-box; padding: 6px 8px; overflow: hidden; display: flex; flex-direction: column; }
h1 { font-size: 15px; margin: 8px 4px 0; color: #fff; }
h2 { font-size: 13px; margin: 0 0 2px; font-weight: 500; }
svg { flex: none; }
text { fill: #9fa7b3; font-size: 11px; }
ul { list-style: none; margin: 2px 0 0; padding: 0; font-size: 11px; column-gap: 8px; }
li { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.stat { flex: 1; display: grid; place-items: center; font-size: 56px; color: #fff; border-radius: 3px; }
.none { color: #7b8087; margin: auto; }
</style>
${panels.map(section).join('\n')}`;
}

function section({ panel, answers }: PanelData): string {
  const { x, y, w, h } = panel.gridPos;
  const place = `left:${x * COLUMN}px;top:${y * CELL}px;width:${w * COLUMN}px;height:${h * CELL}px`;
  if (panel.type === 'row') return `<section style="${place}"><h1>${escapeHtml(panel.title)}</h1></section>`;
  const lines = toLines(answers);
  const content = lines.length === 0 ? '<span class="none">No data</span>' : draw(panel, lines);
  return `<section style="${place}"><div><h2>${escapeHtml(panel.title)}</h2>${content}</div></section>`;
}

function toLines(answers: PanelData['answers']): Line[] {
  const lines: Omit<Line, 'color'>[] = [];
  for (const { legendFormat, series } of answers) {
    for (const { metric, values } of series) {
      const label = legendFormat.replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => metric[name] ?? '').trim();
      const points = values
        .map(([at, value]) => [at, Number(value)] as const)
        .filter(([, v]) => Number.isFinite(v));
      if (points.length > 0) lines.push({ label: label || '(none)', points });
    }
  }
  return lines.map((line, index) => ({ ...line, color: COLORS[index % COLORS.length] ?? '#fff' }));
}

function draw(panel: DashboardPanel, lines: readonly Line[]): string {
  const { unit, thresholds } = panel.fieldConfig.defaults;
  if (panel.type === 'stat') {
    const value = lines[0]?.points.at(-1)?.[1] ?? 0;
    const step = thresholds.steps.findLast((each) => each.value === null || value >= each.value);
    return `<div class="stat" style="background:${step?.color === 'green' ? '#37872d' : '#c4162a'}">${format(value, unit)}</div>`;
  }
  return chart(panel, lines) + legend(lines, unit, panel.gridPos.w < 5 ? 1 : 2);
}

const legend = (lines: readonly Line[], unit: string, columns: number) =>
  `<ul style="columns:${columns}">${lines
    .slice(0, 4 * columns)
    .map(({ label, color, points }) => {
      const last = points.at(-1)?.[1] ?? 0;
      return `<li><span style="color:${color}">▬</span> ${escapeHtml(label)} <b>${format(last, unit)}</b></li>`;
    })
    .join('')}</ul>`;

/** Room for the numbers beside a drawing, and for its panel's title and legend above and below it. */
const LEFT = 52;
const MARGIN_X = 24;
const MARGIN_Y = 108;

function chart({ gridPos, fieldConfig: { defaults } }: DashboardPanel, lines: readonly Line[]): string {
  const W = Math.round(gridPos.w * COLUMN) - MARGIN_X;
  const H = gridPos.h * CELL - MARGIN_Y;
  const LOW = H - 16;
  const { unit, thresholds, custom, max } = defaults;
  const isStacked = custom?.stacking.mode === 'normal';
  const stacked = isStacked ? stack(lines) : lines;
  const values = stacked.flatMap(({ points }) => points.map(([, value]) => value));
  const times = lines.flatMap(({ points }) => points.map(([at]) => at));
  const [from, to] = [Math.min(...times), Math.max(...times)];
  const least = Math.min(0, ...values);
  const most = Math.max(max ?? 0, ...values) || 1;
  const px = (at: number) => LEFT + ((at - from) / Math.max(1, to - from)) * (W - LEFT - 4);
  const py = (value: number) => LOW - ((value - least) / (most - least)) * (LOW - 8);
  const grid = [0, 0.5, 1].map((share) => {
    const value = least + share * (most - least);
    return `<line x1="${LEFT}" x2="${W}" y1="${py(value)}" y2="${py(value)}" stroke="#2c3235"/><text x="${LEFT - 5}" y="${py(value) + 4}" text-anchor="end">${format(value, unit)}</text>`;
  });
  const ticks = [0, 0.5, 1].map((share) => {
    const at = from + share * (to - from);
    const anchor = share === 0 ? 'start' : share === 1 ? 'end' : 'middle';
    const time = new Date(at * 1_000).toISOString().slice(11, 19);
    return `<text x="${px(at)}" y="${H - 3}" text-anchor="${anchor}">${time}</text>`;
  });
  const marks = thresholds.steps
    .filter(({ value }) => value !== null && value >= least && value <= most)
    .map(({ value, color }) => {
      const y = py(value ?? 0);
      return `<line x1="${LEFT}" x2="${W}" y1="${y}" y2="${y}" stroke="${color}" stroke-dasharray="4 4"/>`;
    });
  const drawn = stacked.map(({ color, points }) => {
    const path = points.map(([at, value]) => `${px(at).toFixed(1)},${py(value).toFixed(1)}`).join(' ');
    return `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="1.6" vector-effect="non-scaling-stroke"/>`;
  });
  return `<svg width="${W}" height="${H}">${[...grid, ...ticks, ...marks, ...drawn].join('')}</svg>`;
}

/** Each line on top of those before it. */
function stack(lines: readonly Line[]): Line[] {
  const below = new Map<number, number>();
  return lines.map((line) => ({
    ...line,
    points: line.points.map(([at, value]) => {
      const top = (below.get(at) ?? 0) + value;
      below.set(at, top);
      return [at, top] as const;
    }),
  }));
}

function format(value: number, unit: string): string {
  if (unit === 'percentunit') return `${(value * 100).toFixed(Math.abs(value) < 0.1 ? 1 : 0)} %`;
  if (unit === 'currencyUSD') return `$${value.toFixed(2)}`;
  const short = shorten(value);
  if (unit === 's') return value < 1 && value > 0 ? `${(value * 1_000).toFixed(0)} ms` : `${short} s`;
  return unit === 'reqps' ? `${short}/s` : short;
}

function shorten(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${(value / 1e6).toFixed(1)} M`;
  if (size >= 1e3) return `${(value / 1e3).toFixed(1)} k`;
  return String(Number(value.toPrecision(3)));
}

const escapeHtml = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
