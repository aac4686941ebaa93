import {
  type Attributes,
  type BatchObservableResult,
  type Counter,
  createNoopMeter,
  metrics as globalMetrics,
  type Histogram,
  type Meter,
  type MeterProvider,
  type ObservableGauge,
} from '@opentelemetry/api';
import { INSTRUMENTS, type InstrumentName, type InstrumentSpec } from './instruments.ts';
import { ATTRIBUTES as A, SCOPE_NAME } from './names.ts';
import { quietly } from './quietly.ts';
import { RELOAD_OUTCOMES } from './values.ts';

/** What the API hands out while nobody has registered anything. */
const NO_METER = createNoopMeter();

type NamesOf<K extends InstrumentSpec['kind']> = {
  [N in InstrumentName]: (typeof INSTRUMENTS)[N]['kind'] extends K ? N : never;
}[InstrumentName];

export type CounterName = NamesOf<'counter'>;
export type HistogramName = NamesOf<'histogram'>;
export type GaugeName = NamesOf<'observableGauge'>;

/** What the gauges show, asked for when somebody looks. */
export interface GaugeReading {
  readonly gauge: GaugeName;
  readonly value: number;
  readonly attributes: Attributes;
}

interface Instruments {
  readonly provider: MeterProvider;
  readonly counters: Map<CounterName, Counter>;
  readonly histograms: Map<HistogramName, Histogram>;
  readonly stop: () => void;
}

/**
 * The instruments. A governor is often made before the app has registered its meter provider, and the metrics API
 * gives no instrument that binds later, so they are made at first use and again when the provider has changed.
 */
export class Metrics {
  readonly #given: MeterProvider | undefined;
  readonly #read: () => Iterable<GaugeReading>;
  readonly #version: string;
  #instruments: Instruments | undefined;

  constructor(given: MeterProvider | undefined, version: string, read: () => Iterable<GaugeReading>) {
    this.#given = given;
    this.#version = version;
    this.#read = read;
  }

  add(name: CounterName, value: number, attributes: Attributes): void {
    quietly(() => this.#current().counters.get(name)?.add(value, attributes));
  }

  record(name: HistogramName, value: number, attributes: Attributes): void {
    quietly(() => this.#current().histograms.get(name)?.record(value, attributes));
  }

  /** False while the app has registered no meter provider. */
  get isHeard(): boolean {
    return this.#given !== undefined || globalMetrics.getMeterProvider().getMeter(SCOPE_NAME) !== NO_METER;
  }

  /** Makes the instruments, so that gauges are seen before the first call. */
  start(): void {
    quietly(() => this.#current());
  }

  stop(): void {
    quietly(() => this.#instruments?.stop());
    this.#instruments = undefined;
  }

  #current(): Instruments {
    const provider = this.#given ?? globalMetrics.getMeterProvider();
    if (this.#instruments?.provider === provider) return this.#instruments;
    this.#instruments?.stop();
    this.#instruments = this.#make(provider);
    return this.#instruments;
  }

  #make(provider: MeterProvider): Instruments {
    const meter = provider.getMeter(SCOPE_NAME, this.#version);
    const counters = new Map<CounterName, Counter>();
    const histograms = new Map<HistogramName, Histogram>();
    const gauges = new Map<GaugeName, ObservableGauge>();
    for (const [name, spec] of Object.entries(INSTRUMENTS) as [InstrumentName, InstrumentSpec][]) {
      const { unit, description } = spec;
      if (spec.kind === 'counter') {
        counters.set(name as CounterName, meter.createCounter(spec.name, { unit, description }));
      } else if (spec.kind === 'histogram') {
        const advice = { explicitBucketBoundaries: [...(spec.buckets ?? [])] };
        histograms.set(
          name as HistogramName,
          meter.createHistogram(spec.name, { unit, description, advice }),
        );
      } else gauges.set(name as GaugeName, meter.createObservableGauge(spec.name, { unit, description }));
    }
    // Prometheus sees no increase in a counter that begins with its first event: what may happen once begins at zero.
    counters.get('storeErrors')?.add(0);
    for (const outcome of RELOAD_OUTCOMES) counters.get('configReloads')?.add(0, { [A.outcome]: outcome });
    return {
      provider,
      counters,
      histograms,
      stop: this.#observe(meter, gauges),
    };
  }

  /** One callback for all gauges, so that one collection reads the governor once. */
  #observe(meter: Meter, gauges: ReadonlyMap<GaugeName, ObservableGauge>): () => void {
    const observed = [...gauges.values()];
    const callback = (result: BatchObservableResult) => {
      for (const { gauge, value, attributes } of this.#read()) {
        const instrument = gauges.get(gauge);
        if (instrument !== undefined) result.observe(instrument, value, attributes);
      }
    };
    meter.addBatchObservableCallback(callback, observed);
    return () => meter.removeBatchObservableCallback(callback, observed);
  }
}
