import type { Attributes } from '@opentelemetry/api';

/** What the recorder reads of an export: the part that the 1.x, 2.x and 3.x lines have in common. */
export interface SdkMetrics {
  readonly scopeMetrics: readonly {
    readonly metrics: readonly {
      readonly descriptor: { readonly name: string; readonly unit: string };
      readonly dataPoints: readonly { readonly attributes: Attributes; readonly value: unknown }[];
    }[];
  }[];
}

/** One time series, as of the last export. */
export interface MetricPoint {
  readonly attributes: Attributes;
  /** Counters and gauges: the value. Histograms: the sum of what was recorded. */
  readonly value: number;
  /** Histograms only: how many values were recorded. */
  readonly count?: number;
  readonly min?: number;
  readonly max?: number;
  /** Histograms with fixed buckets only: upper bounds, and one count more than there are bounds. */
  readonly buckets?: { readonly boundaries: readonly number[]; readonly counts: readonly number[] };
}

/** A PushMetricExporter that keeps the last export. */
export interface MetricRecorder {
  export(metrics: SdkMetrics, done: (result: { code: 0 }) => void): void;
  forceFlush(): Promise<void>;
  shutdown(): Promise<void>;
  /** Cumulative: every export then holds the totals, and the last one is enough. */
  selectAggregationTemporality(): 1;
  /**
   * The sum over all points that have at least these attributes; of a histogram, the sum of its values.
   * Undefined when there is none.
   */
  value(name: string, attributes?: Attributes): number | undefined;
  points(name: string): readonly MetricPoint[];
  names(): readonly string[];
  /** Undefined for a metric that was never exported. */
  unit(name: string): string | undefined;
  clear(): void;
}

/**
 * Reads metrics in tests, on any line of the OpenTelemetry SDK:
 * ```ts
 * const metrics = metricRecorder();
 * const reader = new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 });
 * const meterProvider = new MeterProvider({ readers: [reader] });
 * // … do something, then bring the recorder up to date:
 * await reader.forceFlush();
 * metrics.value('headgate.attempts', { outcome: 'ok' });
 * ```
 */
export function metricRecorder(): MetricRecorder {
  const series = new Map<string, Series>();

  const pointsOf = (name: string): readonly MetricPoint[] => series.get(name)?.points ?? [];

  return {
    export(metrics, done) {
      const latest = new Map<string, Series>();
      for (const { descriptor, dataPoints } of metrics.scopeMetrics.flatMap((scope) => scope.metrics)) {
        // Two scopes can use one name: their points stand side by side.
        const before = latest.get(descriptor.name)?.points ?? [];
        latest.set(descriptor.name, {
          unit: descriptor.unit,
          points: [...before, ...dataPoints.map(toPoint)],
        });
      }
      for (const [name, each] of latest) series.set(name, each);
      done({ code: 0 });
    },
    forceFlush: () => Promise.resolve(),
    shutdown: () => Promise.resolve(),
    selectAggregationTemporality: () => 1,
    value(name, attributes = {}) {
      const wanted = Object.entries(attributes);
      const matching = pointsOf(name).filter((point) =>
        wanted.every(([key, value]) => point.attributes[key] === value),
      );
      return matching.length === 0 ? undefined : matching.reduce((sum, point) => sum + point.value, 0);
    },
    points: pointsOf,
    names: () => [...series.keys()].toSorted(),
    unit: (name) => series.get(name)?.unit,
    clear: () => series.clear(),
  };
}

interface Series {
  readonly unit: string;
  readonly points: readonly MetricPoint[];
}

interface SdkHistogram {
  readonly sum?: number;
  readonly count: number;
  readonly min?: number;
  readonly max?: number;
  readonly buckets?: { readonly boundaries: readonly number[]; readonly counts: readonly number[] };
}

function toPoint(point: { readonly attributes: Attributes; readonly value: unknown }): MetricPoint {
  const { attributes, value } = point;
  if (!isHistogram(value)) return { attributes, value: typeof value === 'number' ? value : Number.NaN };
  const { sum = 0, count, min, max, buckets } = value;
  return {
    attributes,
    value: sum,
    count,
    ...(min === undefined ? {} : { min }),
    ...(max === undefined ? {} : { max }),
    // An exponential histogram has no `boundaries`.
    ...(buckets?.boundaries === undefined ? {} : { buckets }),
  };
}

function isHistogram(value: unknown): value is SdkHistogram {
  return typeof value === 'object' && value !== null && 'count' in value;
}
