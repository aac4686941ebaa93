import { ATTRIBUTES, INSTRUMENTS, type InstrumentSpec } from '@headgate/core/telemetry';

/**
 * How a metric is called in Prometheus depends on the way it takes there, and a dashboard written for one way is blank
 * on the other: `js-prometheus` is scraped from `@opentelemetry/exporter-prometheus`, `otlp-prometheus` comes over OTLP,
 * through a collector or into Prometheus itself, with unit suffixes.
 */
export const NAMINGS = ['js-prometheus', 'otlp-prometheus'] as const;
export type Naming = (typeof NAMINGS)[number];

export type MetricKey = keyof typeof INSTRUMENTS;
export type LabelKey = keyof typeof ATTRIBUTES;

/** Values by label: equal to, or with `~`, `!` and `!~` in front: matches, differs, does not match. */
export type Selector = Partial<Record<LabelKey, string>>;

export interface Names {
  label(key: LabelKey): string;
  /** A counter or a gauge. */
  metric(key: MetricKey, selector?: Selector): string;
  bucket(key: MetricKey, selector?: Selector): string;
  sum(key: MetricKey, selector?: Selector): string;
  count(key: MetricKey, selector?: Selector): string;
}

const underscored = (name: string) => name.replaceAll(/[^a-zA-Z0-9_]/g, '_');

/** The words that units become; what stands in braces is a note, and becomes nothing. */
const UNIT_WORDS: Readonly<Record<string, string>> = { s: 'seconds', ms: 'milliseconds', By: 'bytes' };

function baseName(key: MetricKey, naming: Naming): string {
  const { name, kind, unit }: InstrumentSpec = INSTRUMENTS[key];
  const base = underscored(name);
  const word =
    naming === 'js-prometheus'
      ? undefined
      : unit === '1' && kind === 'observableGauge'
        ? 'ratio'
        : UNIT_WORDS[unit];
  const withUnit = word === undefined || base.split('_').includes(word) ? base : `${base}_${word}`;
  return kind === 'counter' ? `${withUnit}_total` : withUnit;
}

/** `filter` stands in every selector, as `job=~"$job"`. */
export function namesFor(naming: Naming, filter = ''): Names {
  const label = (key: LabelKey) => underscored(ATTRIBUTES[key]);
  const select = (selector: Selector = {}) => {
    const parts = Object.entries(selector).map(([key, value]) => {
      const operator = /^(!~|!|~)?/.exec(value)?.[0] ?? '';
      const sign = { '': '=', '!': '!=', '~': '=~', '!~': '!~' }[operator];
      return `${label(key as LabelKey)}${sign}"${value.slice(operator.length)}"`;
    });
    const all = [...(filter === '' ? [] : [filter]), ...parts];
    return all.length === 0 ? '' : `{${all.join(', ')}}`;
  };
  const series = (suffix: string) => (key: MetricKey, selector?: Selector) =>
    `${baseName(key, naming)}${suffix}${select(selector)}`;
  return {
    label,
    metric: series(''),
    bucket: series('_bucket'),
    sum: series('_sum'),
    count: series('_count'),
  };
}
