import {
  type Attributes,
  type Context,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { isHeadgateError } from '../errors.ts';
import type { Plan } from '../policy/plan.ts';
import { totalInput } from '../settlement/usage.ts';
import { AttemptTelemetry } from './attempt.ts';
import { isSdkSpan, serverAttributes, setDefined, setUsage } from './attributes.ts';
import { ATTRIBUTES as A, type CallOutcome, type Decision, ERROR_TYPES, errorType, SPANS } from './names.ts';
import { quietly } from './quietly.ts';
import type { Telemetry } from './telemetry.ts';
import type { Admitted, AttemptEnd, CallInfo, CallStory } from './types.ts';

/** A call in full, on whatever OpenTelemetry SDK there is. */
export class CallTelemetry implements CallStory {
  readonly #telemetry: Telemetry;
  readonly #info: CallInfo;
  /** The `chat` span, where the SDK has none of its own. */
  readonly #chat: Span | undefined;
  readonly #parent: Context;
  #admission: Span | undefined;
  #plan: Plan | undefined;
  /** Why the plan is for another model than the one before. */
  #fallbackCause: string | undefined;
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
      if (this.#plan !== undefined) this.#describe(this.#plan);
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
      if (plan.reroutedFrom !== undefined) {
        metrics.add('rerouted', 1, {
          ...this.#labels(),
          [A.modelSent]: this.#telemetry.models.of(plan.modelId),
        });
      }
      this.#describe(plan);
    });
  }

  /** Every admission span of the call tells by itself whose it is. */
  #describe(plan: Plan): void {
    const span = this.#admission;
    if (span === undefined || !span.isRecording()) return;
    span.setAttributes(this.#telemetry.userAttributes(plan.caller));
    span.setAttribute(A.lane, plan.lane);
    setDefined(span, {
      [A.tier]: plan.caller.tier,
      [A.route]: plan.caller.route,
      [A.maxTokensRequested]: plan.clampedFrom ?? plan.maxTokens,
      [A.maxTokensGranted]: plan.maxTokens,
      [A.modelRequested]: plan.reroutedFrom,
      [A.fallbackCause]: this.#fallbackCause,
    });
    for (const [name, value] of Object.entries(plan.caller.labels ?? {})) {
      span.setAttribute(`headgate.label.${name}`, value);
    }
  }

  budgetsSoft(names: readonly string[]): void {
    for (const name of names) this.#telemetry.metrics.add('budgetSoft', 1, { [A.rule]: name });
  }

  passed(): void {
    quietly(() => {
      this.#admission?.setAttribute(A.decision, 'pass' satisfies Decision);
      this.#admission?.end();
      this.#admission = undefined;
    });
  }

  fellBack(cause: string): void {
    this.#fallbackCause = cause;
    quietly(() => {
      // An error of the API's, or a reason of ours: a breaker that is open, a limit of money.
      const why = ERROR_TYPES.has(cause) ? { [A.errorType]: cause } : { [A.reason]: cause };
      this.#telemetry.metrics.add('fallbacks', 1, { ...this.#labels(), ...why });
      this.#admission?.setAttribute(A.fallbackCause, cause);
    });
  }

  retryDenied(why: string): void {
    quietly(() => this.#telemetry.metrics.add('retriesDenied', 1, { ...this.#labels(), [A.reason]: why }));
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
        ...(admitted.mode === undefined ? {} : { [A.mode]: admitted.mode }),
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
        setDefined(span, { [A.reason]: admitted.waitedFor, [A.mode]: admitted.mode });
        if (admitted.shadowRules.length > 0) span.setAttribute(A.shadowRules, [...admitted.shadowRules]);
      }
      span.end();
    });
  }

  refused(error: unknown, waitedMs: number): void {
    quietly(() => {
      const ours = isHeadgateError(error) ? error : undefined;
      const labels = {
        ...this.#labels(),
        [A.decision]: 'refuse',
        [A.reason]: ours?.reason ?? 'unknown_caller',
        ...(ours?.rule === undefined ? {} : { [A.rule]: ours.rule }),
      };
      this.#telemetry.metrics.add('decisions', 1, labels);
      // Refused for want of a scope: then there was no plan that could have been counted.
      if (ours?.code === 'unknown_caller') this.#telemetry.metrics.add('unknownCaller', 1, this.#laneLabel());
      if (ours?.retryAfterMs !== undefined) {
        this.#telemetry.metrics.record('retryAfter', ours.retryAfterMs / 1000, labels);
      }
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

  estimateSeen(ratio: number): void {
    const { metrics, models } = this.#telemetry;
    metrics.record('estimateRatio', ratio, { [A.genAiRequestModel]: models.of(this.#info.call.model) });
  }

  attemptEnded(end: AttemptEnd): void {
    this.#last = end;
  }

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
