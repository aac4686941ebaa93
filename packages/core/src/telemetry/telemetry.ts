import {
  type Attributes,
  type Context,
  context,
  type MeterProvider,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TracerProvider,
  trace,
} from '@opentelemetry/api';
import type { RateHeaders } from '../admission/rate-headers.ts';
import type { Caller } from '../caller/caller.ts';
import type { Config } from '../config/schema.ts';
import { isHeadgateError, type Reason } from '../errors.ts';
import type { Plan } from '../policy/plan.ts';
import type { Call } from '../request/read.ts';
import { totalInput, type Usage } from '../settlement/usage.ts';
import { BoundedLabel, UserHash } from './labels.ts';
import { type GaugeReading, Metrics } from './metrics.ts';
import {
  ATTRIBUTES as A,
  type CallOutcome,
  type Decision,
  errorType,
  ratelimitAttribute,
  SCOPE_NAME,
  SPANS,
} from './names.ts';

/** The scope of the spans that the Anthropic SDK itself emits. */
const SDK_SCOPE = 'com.anthropic.sdk.typescript';

/** What a call is, for its spans and metrics. */
export interface CallInfo {
  readonly call: Call;
  readonly url: string;
  readonly startedAt: number;
  readonly context: Context;
}

/** What the admission decided. */
export interface Admitted {
  readonly bucket: string;
  readonly account: string;
  readonly waitedMs: number;
  readonly waitedFor: Reason | undefined;
  readonly shadowRules: readonly string[];
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** How an attempt ended. */
export interface AttemptEnd {
  readonly outcome: 'complete' | 'aborted' | 'error';
  readonly errorType?: string | undefined;
  readonly errorCode?: string | undefined;
  readonly usage?: Usage | undefined;
  readonly usd?: number | undefined;
  readonly responseModel?: string | undefined;
  readonly messageId?: string | undefined;
  readonly stopReason?: string | undefined;
  readonly firstTokenMs?: number | undefined;
}

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

/** Does what it is asked, and keeps to itself what goes wrong. */
function quietly<T>(fn: () => T): T | undefined {
  try {
    return fn();
  } catch {
    return undefined;
  }
}

/** Spans and metrics of one call. */
export class CallTelemetry {
  readonly #telemetry: Telemetry;
  readonly #info: CallInfo;
  /** The `chat` span, where the SDK has none of its own. */
  readonly #chat: Span | undefined;
  readonly #parent: Context;
  #admission: Span | undefined;
  #plan: Plan | undefined;
  #lane: string | undefined;
  #tier: string | undefined;
  #hasEnded = false;
  #last: AttemptEnd | undefined;

  constructor(telemetry: Telemetry, info: CallInfo) {
    this.#telemetry = telemetry;
    this.#info = info;
    this.#chat = quietly(() => this.#startChat());
    this.#parent = this.#chat === undefined ? info.context : trace.setSpan(info.context, this.#chat);
  }

  #startChat(): Span | undefined {
    const { call, url, context: parent } = this.#info;
    const { spans } = this.#telemetry.config;
    if (call.kind !== 'messages' || spans === 'off') return undefined;
    if (spans === 'auto' && isSdkSpan(trace.getSpan(parent))) return undefined;
    const attributes: Attributes = {
      [A.genAiOperation]: 'chat',
      [A.genAiProvider]: 'anthropic',
      [A.genAiRequestModel]: call.model,
      ...serverAttributes(url),
    };
    if (call.maxTokens !== undefined) attributes[A.genAiRequestMaxTokens] = call.maxTokens;
    if (call.isStreaming) attributes[A.genAiRequestStream] = true;
    return this.#telemetry.tracer.startSpan(
      `chat ${call.model}`,
      { kind: SpanKind.CLIENT, attributes },
      parent,
    );
  }

  /** Begins the admission span: policy, estimate and queue wait. */
  admissionStarted(attempt: number): void {
    quietly(() => {
      this.#admission = this.#telemetry.tracer.startSpan(
        SPANS.admission,
        {
          kind: SpanKind.INTERNAL,
          attributes: attempt > 1 ? { [A.attempt]: attempt } : {},
        },
        this.#parent,
      );
    });
  }

  planned(plan: Plan): void {
    this.#plan = plan;
    this.#lane = plan.lane;
    this.#tier = this.#telemetry.tiers.of(plan.caller.tier);
    quietly(() => {
      const { metrics } = this.#telemetry;
      if (plan.isAnonymous) metrics.add('unknownCaller', 1, { [A.lane]: plan.lane });
      if (plan.clampedFrom !== undefined) metrics.add('clamped', 1, this.#labels());
      const span = this.#admission;
      if (span === undefined || !span.isRecording()) return;
      span.setAttributes(this.#telemetry.userAttributes(plan.caller));
      span.setAttribute(A.lane, plan.lane);
      setDefined(span, {
        [A.tier]: plan.caller.tier,
        [A.route]: plan.caller.route,
        [A.maxTokensRequested]: plan.clampedFrom ?? plan.maxTokens,
        [A.maxTokensGranted]: plan.maxTokens,
      });
      for (const [name, value] of Object.entries(plan.caller.labels ?? {})) {
        span.setAttribute(`headgate.label.${name}`, value);
      }
    });
  }

  /** The call generates nothing and has no gate to pass. */
  passed(): void {
    quietly(() => {
      this.#admission?.setAttribute(A.decision, 'pass' satisfies Decision);
      this.#admission?.end();
      this.#admission = undefined;
    });
  }

  unknownModel(): void {
    quietly(() => this.#telemetry.metrics.add('unknownModel', 1, this.#labels()));
  }

  admitted(admitted: Admitted): void {
    quietly(() => {
      const decision: Decision = admitted.waitedFor === undefined ? 'admit' : 'queue';
      const { metrics } = this.#telemetry;
      metrics.add('decisions', 1, {
        ...this.#labels(),
        [A.decision]: decision,
        ...(admitted.waitedFor === undefined ? {} : { [A.reason]: admitted.waitedFor }),
      });
      metrics.record('queueWait', admitted.waitedMs / 1000, {
        ...this.#laneLabel(),
        [A.outcome]: 'admitted',
      });
      for (const rule of admitted.shadowRules) metrics.add('shadowed', 1, { [A.rule]: rule });
      const span = this.#admission;
      if (span === undefined) return;
      this.#admission = undefined;
      if (span.isRecording()) {
        span.setAttributes({
          [A.decision]: decision,
          [A.bucket]: admitted.bucket,
          [A.account]: admitted.account,
          [A.queueWait]: admitted.waitedMs / 1000,
          [A.estimatedInput]: admitted.inputTokens,
          [A.estimatedOutput]: admitted.outputTokens,
        });
        setDefined(span, { [A.reason]: admitted.waitedFor });
        if (admitted.shadowRules.length > 0) span.setAttribute(A.shadowRules, [...admitted.shadowRules]);
      }
      span.end();
    });
  }

  /** The call was refused before an attempt, or an error came out of the app's own `caller` function. */
  refused(error: unknown, waitedMs: number): void {
    quietly(() => {
      const ours = isHeadgateError(error) ? error : undefined;
      const labels = {
        ...this.#labels(),
        [A.decision]: 'refuse',
        [A.reason]: ours?.reason ?? 'unknown_caller',
      };
      this.#telemetry.metrics.add('decisions', 1, labels);
      this.#telemetry.metrics.record('queueWait', waitedMs / 1000, {
        ...this.#laneLabel(),
        [A.outcome]: 'refused',
      });
      const span = this.#admission;
      if (span === undefined) return;
      this.#admission = undefined;
      setDefined(span, {
        [A.decision]: 'refuse',
        [A.reason]: ours?.reason,
        [A.rule]: ours?.rule,
        [A.retryAfter]: ours?.retryAfterMs === undefined ? undefined : ours.retryAfterMs / 1000,
        [A.queueWait]: waitedMs / 1000,
        [A.errorType]: ours?.reason === 'aborted' ? 'aborted' : 'headgate.refused',
      });
      span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    });
  }

  attemptStarted(attempt: number, startedAt: number): AttemptTelemetry {
    return new AttemptTelemetry(this.#telemetry, this.#info, this.#parent, this.#plan, attempt, startedAt);
  }

  /** A wait before another attempt. */
  backoff(delayMs: number, source: 'retry_after' | 'backoff', cause: string): { end(): void } {
    const span = quietly(() => {
      this.#telemetry.metrics.add('retries', 1, {
        [A.errorType]: errorType(cause),
        [A.backoffSource]: source,
      });
      return this.#telemetry.tracer.startSpan(
        SPANS.backoff,
        {
          kind: SpanKind.INTERNAL,
          attributes: {
            [A.backoffSource]: source,
            [A.backoffDelay]: delayMs / 1000,
            [A.errorType]: errorType(cause),
          },
        },
        this.#parent,
      );
    });
    return { end: () => quietly(() => span?.end()) };
  }

  /** What the last attempt has told; the call's own spans and metrics are made of it. */
  attemptEnded(end: AttemptEnd): void {
    this.#last = end;
  }

  /** Ends the call. Only the first time counts. */
  end(outcome: CallOutcome, now: number, cause?: string): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    quietly(() => this.#end(outcome, now, cause));
  }

  #end(outcome: CallOutcome, now: number, cause: string | undefined): void {
    const { call, startedAt } = this.#info;
    const failed = outcome === 'ok' ? undefined : errorType(cause);
    const seconds = (now - startedAt) / 1000;
    if (call.kind !== 'other') {
      this.#telemetry.metrics.record('callDuration', seconds, {
        ...this.#labels(),
        [A.outcome]: outcome,
        ...(failed === undefined ? {} : { [A.errorType]: failed }),
      });
    }
    if (call.kind === 'messages') this.#recordGenAi(seconds, failed);
    this.#admission?.end();
    if (this.#chat === undefined) return;
    if (this.#last !== undefined) setUsage(this.#chat, this.#last);
    if (failed !== undefined) {
      this.#chat.setAttribute(A.errorType, failed);
      this.#chat.setStatus({ code: SpanStatusCode.ERROR });
    }
    this.#chat.end();
  }

  #recordGenAi(seconds: number, failed: string | undefined): void {
    const { metrics, config } = this.#telemetry;
    const last = this.#last;
    const labels: Attributes = {
      [A.genAiOperation]: 'chat',
      [A.genAiProvider]: 'anthropic',
      [A.genAiRequestModel]: this.#telemetry.models.of(this.#info.call.model),
    };
    if (last?.responseModel !== undefined)
      labels[A.genAiResponseModel] = this.#telemetry.models.of(last.responseModel);
    const withError = failed === undefined ? labels : { ...labels, [A.errorType]: failed };
    const input = last?.usage === undefined ? undefined : totalInput(last.usage);
    if (config.semconv !== 'v1.41') {
      metrics.record('inferenceDuration', seconds, withError);
      if (last?.firstTokenMs !== undefined) metrics.record('firstChunk', last.firstTokenMs / 1000, labels);
      if (last?.usage !== undefined) {
        const modal = { ...labels, [A.genAiModality]: 'unknown' };
        metrics.add('inputTokens', input ?? 0, modal);
        metrics.add('outputTokens', last.usage.outputTokens, modal);
        metrics.add('cacheReadTokens', last.usage.cacheReadTokens, labels);
        metrics.add(
          'cacheWriteTokens',
          last.usage.cacheWrite5mTokens + last.usage.cacheWrite1hTokens,
          labels,
        );
      }
    }
    if (config.semconv !== 'latest') {
      metrics.record('operationDuration', seconds, withError);
      if (last?.usage !== undefined) {
        metrics.record('tokenUsage', input ?? 0, {
          ...labels,
          [A.genAiTokenType]: 'input',
        });
        metrics.record('tokenUsage', last.usage.outputTokens, {
          ...labels,
          [A.genAiTokenType]: 'output',
        });
      }
    }
  }

  #laneLabel(): Attributes {
    return this.#lane === undefined ? {} : { [A.lane]: this.#lane };
  }

  #labels(): Attributes {
    const labels: Attributes = { ...this.#laneLabel() };
    if (this.#tier !== undefined) labels[A.tier] = this.#tier;
    labels[A.genAiRequestModel] = this.#telemetry.models.of(this.#info.call.model);
    return labels;
  }
}

/** The span of one HTTP request, and what it adds to the metrics. */
export class AttemptTelemetry {
  readonly #telemetry: Telemetry;
  readonly #info: CallInfo;
  readonly #plan: Plan | undefined;
  readonly #span: Span | undefined;
  readonly context: Context;
  readonly startedAt: number;
  #status: number | undefined;
  #hasEnded = false;

  constructor(
    telemetry: Telemetry,
    info: CallInfo,
    parent: Context,
    plan: Plan | undefined,
    attempt: number,
    startedAt: number,
  ) {
    this.#telemetry = telemetry;
    this.#info = info;
    this.#plan = plan;
    this.startedAt = startedAt;
    this.#span = quietly(() => {
      const span = telemetry.tracer.startSpan(SPANS.attempt, { kind: SpanKind.CLIENT }, parent);
      if (!span.isRecording()) return span;
      span.setAttributes({
        [A.attempt]: attempt,
        [A.httpMethod]: 'POST',
        ...serverAttributes(info.url),
      });
      setDefined(span, {
        [A.httpResendCount]: attempt > 1 ? attempt - 1 : undefined,
        [A.modelSent]: info.call.kind === 'other' ? undefined : info.call.model,
        [A.maxTokensGranted]: plan?.maxTokens,
      });
      return span;
    });
    this.context = this.#span === undefined ? parent : trace.setSpan(parent, this.#span);
  }

  responded(response: Response, headroom: RateHeaders): void {
    this.#status = response.status;
    quietly(() => {
      const span = this.#span;
      if (span === undefined || !span.isRecording()) return;
      span.setAttribute(A.httpStatus, response.status);
      setDefined(span, {
        [A.requestId]: response.headers.get('request-id') ?? undefined,
      });
      for (const [dimension, { limit, remaining }] of Object.entries(headroom)) {
        span.setAttribute(ratelimitAttribute(dimension, 'limit'), limit);
        span.setAttribute(ratelimitAttribute(dimension, 'remaining'), remaining);
      }
    });
  }

  /** Ends the attempt. Only the first time counts. */
  end(end: AttemptEnd): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    quietly(() => this.#end(end));
  }

  #end(end: AttemptEnd): void {
    const { metrics } = this.#telemetry;
    const failed =
      end.outcome === 'complete' && end.errorType === undefined ? undefined : errorType(end.errorType);
    metrics.add('attempts', 1, {
      [A.outcome]: end.outcome,
      ...(this.#status === undefined ? {} : { [A.httpStatus]: this.#status }),
      ...(failed === undefined ? {} : { [A.errorType]: failed }),
    });
    const plan = this.#plan;
    if (end.usage !== undefined && plan !== undefined) {
      const labels: Attributes = {
        [A.genAiResponseModel]: this.#telemetry.models.of(end.responseModel ?? this.#info.call.model),
        [A.lane]: plan.lane,
      };
      const tier = this.#telemetry.tiers.of(plan.caller.tier);
      if (tier !== undefined) labels[A.tier] = tier;
      if (end.usd === undefined) metrics.add('unpriced', 1, labels);
      else metrics.add('cost', end.usd, labels);
    }
    const span = this.#span;
    if (span === undefined) return;
    if (span.isRecording()) {
      span.setAttribute(A.outcome, end.outcome);
      setDefined(span, {
        [A.cost]: end.usd,
        [A.inputTokens]: end.usage === undefined ? undefined : totalInput(end.usage),
        [A.outputTokens]: end.usage?.outputTokens,
        [A.errorType]: failed,
        [A.errorCode]: end.errorCode,
      });
    }
    if (failed !== undefined) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end();
  }

  run<T>(fn: () => T): T {
    return context.with(this.context, fn);
  }
}

function isSdkSpan(span: Span | undefined): boolean {
  if (span === undefined || !span.isRecording()) return false;
  // The scope is no part of the API, but both SDK lines show it on their spans, under one name or the other.
  const shown = span as {
    instrumentationScope?: { name?: unknown };
    instrumentationLibrary?: { name?: unknown };
  };
  return (shown.instrumentationScope ?? shown.instrumentationLibrary)?.name === SDK_SCOPE;
}

function setUsage(span: Span, end: AttemptEnd): void {
  const { usage } = end;
  setDefined(span, {
    [A.genAiResponseModel]: end.responseModel,
    [A.genAiResponseId]: end.messageId,
    [A.genAiInputTokens]: usage === undefined ? undefined : totalInput(usage),
    [A.genAiOutputTokens]: usage?.outputTokens,
    [A.genAiCacheRead]: usage?.cacheReadTokens,
    [A.genAiCacheWrite]:
      usage === undefined ? undefined : usage.cacheWrite5mTokens + usage.cacheWrite1hTokens,
    [A.genAiTimeToFirstChunk]: end.firstTokenMs === undefined ? undefined : end.firstTokenMs / 1000,
    [A.cost]: end.usd,
  });
  if (end.stopReason !== undefined) span.setAttribute(A.genAiFinishReasons, [end.stopReason]);
}

function setDefined(span: Span, attributes: Record<string, string | number | boolean | undefined>): void {
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined) span.setAttribute(name, value);
}

const servers = new Map<string, Attributes>();

/** Address and port of the API; one URL has one answer, and a process talks to few. */
function serverAttributes(url: string): Attributes {
  const end = url.indexOf('/', url.indexOf('://') + 3);
  const origin = end === -1 ? url : url.slice(0, end);
  let known = servers.get(origin);
  if (known === undefined) {
    const { hostname, port, protocol } = new URL(origin);
    known = {
      [A.serverAddress]: hostname,
      [A.serverPort]: Number(port) || (protocol === 'https:' ? 443 : 80),
    };
    if (servers.size < 64) servers.set(origin, known);
  }
  return known;
}
