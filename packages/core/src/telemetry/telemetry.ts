import {
  type Attributes,
  type MeterProvider,
  ProxyTracerProvider,
  type TracerProvider,
  trace,
} from '@opentelemetry/api';
import type { Caller } from '../caller/caller.ts';
import type { Config } from '../config/schema.ts';
import { CallTelemetry } from './call.ts';
import { BoundedLabel, BoundedLabels, ModelLabels, UserHash } from './labels.ts';
import { type GaugeReading, Metrics } from './metrics.ts';
import { ATTRIBUTES as A, SCOPE_NAME } from './names.ts';
import { PROVIDERS, providerOf } from './provider.ts';
import { quietly } from './quietly.ts';
import type { Recorder, Recording } from './recorder.ts';
import { SILENT_CALL } from './silent.ts';
import type { CallStart, CallStory } from './types.ts';
import { registeredApi } from './unseen-sdk.ts';
import type { BreakerState, ReloadOutcome } from './values.ts';

/** Spans and metrics of one governor. Whatever fails in here, no call fails of it. */
export class Telemetry {
  readonly metrics: Metrics;
  config: Config['telemetry'];
  readonly models = new ModelLabels(64);
  readonly rules = new BoundedLabel(128);
  /** Lane, tier and model; each combination has at most some thirty series of an instrument. Models are bounded by themselves. */
  readonly labels = new BoundedLabels(64);
  readonly genAiLabels = new BoundedLabels(64);
  readonly #tracerProvider: TracerProvider | undefined;
  readonly #version: string;
  readonly #warn: (message: string) => void;
  readonly #recorders = new Set<Recorder>();
  #userHash: UserHash;

  constructor(options: {
    config: Config['telemetry'];
    /** Models that the configuration or the price table names. */
    namedModels: Iterable<string>;
    version: string;
    tracerProvider: TracerProvider | undefined;
    meterProvider: MeterProvider | undefined;
    warn: (message: string) => void;
    readGauges: () => Iterable<GaugeReading>;
  }) {
    this.#warn = options.warn;
    this.models.configure(options.namedModels);
    this.config = options.config;
    this.#version = options.version;
    this.#tracerProvider = options.tracerProvider;
    this.#userHash = new UserHash(options.config.hashKey);
    this.metrics = new Metrics(options.meterProvider, options.version, options.readGauges);
  }

  get tracer() {
    return (this.#tracerProvider ?? trace.getTracerProvider()).getTracer(SCOPE_NAME, this.#version);
  }

  callStarted(start: CallStart): CallStory {
    let story = this.#storyOf(start);
    for (const recorder of this.#recorders) story = recorder.follow(story, start);
    return story;
  }

  /** Until it is stopped, every call's shape is written to it. */
  record(recorder: Recorder): Recording {
    this.#recorders.add(recorder);
    const stop = () => {
      this.#recorders.delete(recorder);
      return recorder.stop();
    };
    return Object.defineProperty(Object.assign(stop, { [Symbol.dispose]: () => void stop() }), 'sums', {
      get: () => recorder.sums,
    }) as Recording;
  }

  stopRecordings(): void {
    for (const recorder of this.#recorders) recorder.stop();
    this.#recorders.clear();
  }

  #storyOf(start: CallStart): CallStory {
    if (this.#isHeard) {
      const provider = quietly(() => providerOf(start.userAgent, trace.getSpan(start.context)));
      return new CallTelemetry(this, { ...start, provider: provider ?? PROVIDERS[0] });
    }
    const version = registeredApi();
    if (version !== undefined) {
      this.#warn(
        `an OpenTelemetry SDK is registered through @opentelemetry/api ${version}, which the newer copy that Headgate loads does not see: nothing is emitted until both use one copy, as new as the SDK asks for`,
      );
    }
    return SILENT_CALL;
  }

  /** False while the app has registered neither a tracer nor a meter provider: then nothing is worth preparing. */
  get #isHeard(): boolean {
    return this.#tracerProvider !== undefined || hasTracing() || this.metrics.isHeard;
  }

  /** Other settings and other names of models from now on. A hash key that stays keeps the hashes of users as they are. */
  configure(config: Config['telemetry'], namedModels: Iterable<string>): void {
    this.models.configure(namedModels);
    if (config.hashKey !== this.config.hashKey) this.#userHash = new UserHash(config.hashKey);
    this.config = config;
  }

  /** The limits of a bucket are kept elsewhere now. */
  storeMoved(mode: 'shared' | 'degraded'): void {
    this.metrics.add('storeMoves', 1, { [A.mode]: mode });
  }

  breakerMoved(model: string, state: BreakerState): void {
    this.metrics.add('breakerMoves', 1, {
      [A.genAiRequestModel]: this.models.of(model),
      [A.breakerState]: state,
    });
  }

  storeFailed(): void {
    this.metrics.add('storeErrors', 1, {});
  }

  reloaded(outcome: ReloadOutcome): void {
    this.metrics.add('configReloads', 1, { [A.outcome]: outcome });
  }

  userAttributes(caller: Caller): Attributes {
    const { user } = caller;
    if (user === undefined || this.config.user === 'off') return {};
    return this.config.user === 'raw' ? { [A.userId]: user } : { [A.userHash]: this.#userHash.of(user) };
  }
}

/** What the API hands out while nobody has registered anything. */
const NOBODY = new ProxyTracerProvider().getDelegate();

function hasTracing(): boolean {
  const provider = trace.getTracerProvider();
  return !(provider instanceof ProxyTracerProvider) || provider.getDelegate() !== NOBODY;
}
