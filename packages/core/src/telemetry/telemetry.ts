import { type Attributes, type MeterProvider, type TracerProvider, trace } from '@opentelemetry/api';
import type { Caller } from '../caller/caller.ts';
import type { Config } from '../config/schema.ts';
import { CallTelemetry } from './call.ts';
import { BoundedLabel, UserHash } from './labels.ts';
import { type GaugeReading, Metrics } from './metrics.ts';
import { ATTRIBUTES as A, SCOPE_NAME } from './names.ts';
import { quietly } from './quietly.ts';
import type { CallInfo } from './types.ts';

/** Spans and metrics of one governor. Whatever fails in here, no call fails of it. */
export class Telemetry {
  readonly metrics: Metrics;
  readonly config: Config['telemetry'];
  readonly tiers = new BoundedLabel(32);
  readonly models = new BoundedLabel(64);
  readonly #tracerProvider: TracerProvider | undefined;
  readonly #version: string;
  readonly #userHash: UserHash;

  constructor(options: {
    config: Config['telemetry'];
    version: string;
    tracerProvider: TracerProvider | undefined;
    meterProvider: MeterProvider | undefined;
    readGauges: () => Iterable<GaugeReading>;
  }) {
    this.config = options.config;
    this.#version = options.version;
    this.#tracerProvider = options.tracerProvider;
    this.#userHash = new UserHash(options.config.hashKey);
    this.metrics = new Metrics(options.meterProvider, options.version, options.readGauges);
  }

  get tracer() {
    return (this.#tracerProvider ?? trace.getTracerProvider()).getTracer(SCOPE_NAME, this.#version);
  }

  callStarted(info: CallInfo): CallTelemetry {
    return new CallTelemetry(this, info);
  }

  /** How far the estimate of a call's input was off. */
  estimateSeen(model: string, ratio: number): void {
    quietly(() =>
      this.metrics.record('estimateRatio', ratio, {
        [A.genAiRequestModel]: this.models.of(model),
      }),
    );
  }

  userAttributes(caller: Caller): Attributes {
    const { user } = caller;
    if (user === undefined || this.config.user === 'off') return {};
    return this.config.user === 'raw' ? { [A.userId]: user } : { [A.userHash]: this.#userHash.of(user) };
  }
}
