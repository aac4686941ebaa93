import {
  type Attributes,
  type Context,
  context,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import type { RateHeaders } from '../admission/rate-headers.ts';
import type { Plan } from '../policy/plan.ts';
import { totalInput } from '../settlement/usage.ts';
import { serverAttributes, setDefined } from './attributes.ts';
import { ATTRIBUTES as A, errorType, ratelimitAttribute, SPANS } from './names.ts';
import { quietly } from './quietly.ts';
import type { Telemetry } from './telemetry.ts';
import type { AttemptEnd, AttemptStory, CallInfo } from './types.ts';

/** An attempt in full. */
export class AttemptTelemetry implements AttemptStory {
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
        [A.modelSent]: info.call.kind === 'other' ? undefined : (plan?.modelId ?? info.call.model),
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

  probes(): void {
    quietly(() => this.#span?.setAttribute(A.breakerState, 'half_open'));
  }

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
      ...(end.reason === undefined ? {} : { [A.reason]: end.reason }),
    });
    const plan = this.#plan;
    if (end.usage !== undefined && plan !== undefined) {
      const labels: Attributes = {
        [A.genAiResponseModel]: this.#telemetry.models.of(end.responseModel ?? this.#info.call.model),
        [A.lane]: plan.lane,
        [A.billing]: 'standard',
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
        [A.reason]: end.reason,
        [A.retryDenied]: end.retryDenied,
        [A.breakerState]: end.breaker,
      });
    }
    if (failed !== undefined) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end();
  }

  run<T>(fn: () => T): T {
    return context.with(this.context, fn);
  }
}
