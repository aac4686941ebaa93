/** One line, or family of lines, of a panel. */
export interface PanelQuery {
  readonly expr: string;
  /** With `{{label}}` where a series' own label stands. */
  readonly legend: string;
}

/** What the spans of a panel's subject are found by. */
export interface TraceSearch {
  readonly title: string;
  readonly operation: string;
  /** As `key=value key=value`. */
  readonly tags?: string;
}

export interface PanelSpec {
  readonly title: string;
  readonly description: string;
  readonly kind: 'timeseries' | 'stat';
  /** Columns of the grid's 24. */
  readonly width: number;
  /** By Grafana's names. */
  readonly unit: string;
  readonly queries: readonly PanelQuery[];
  /** Where green ends, and where red begins. */
  readonly thresholds?: { readonly warn: number; readonly alarm: number; readonly isLowBad?: boolean };
  readonly stacked?: boolean;
  readonly min?: number;
  readonly max?: number;
  readonly traces?: TraceSearch;
}

export interface RowSpec {
  readonly title: string;
  readonly panels: readonly PanelSpec[];
}

/** The spans that panels lead to. */
export const ADMISSION = 'headgate.admission';
export const ATTEMPT = 'headgate.attempt';

export const WINDOW = '$__rate_interval';
const rate = (series: string) => `rate(${series}[${WINDOW}])`;
export const sumRate = (series: string, by = '') => `sum${by === '' ? '' : ` by (${by})`} (${rate(series)})`;
export const quantile = (q: number, bucket: string, by = '') =>
  `histogram_quantile(${q}, sum by (le${by === '' ? '' : `, ${by}`}) (${rate(bucket)}))`;

export const legend = (...labels: string[]) => labels.map((name) => `{{${name}}}`).join(' ');
