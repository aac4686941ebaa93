import {
  type Attributes,
  type Context,
  context,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import type { Dimension, RateHeaders } from '../admission/rate-headers.ts';
import type { Plan } from '../policy/plan.ts';
import { totalsOf } from '../settlement/charges.ts';
import { billedByModel, countCost, counted } from './billed.ts';
import { genAiLabels, recordChunk } from './gen-ai-metrics.ts';
import { ATTRIBUTES as A, SPANS } from './names.ts';
import { quietly } from './quietly.ts';
import { serverAttributes, setDefined } from './set.ts';
import type { Telemetry } from './telemetry.ts';
import type { AttemptEnd, AttemptStory, CallInfo } from './types.ts';
import { type BreakerState, errorType } from './values.ts';

const LIMIT: Record<Dimension, string> = {
  requests: A.requestsLimit,
  inputTokens: A.inputTokensLimit,
  outputTokens: A.outputTokensLimit,
};
const REMAINING: Record<Dimension, string> = {
  requests: A.requestsRemaining,
  inputTokens: A.inputTokensRemaining,
  outputTokens: A.outputTokensRemaining,
};

/** An attempt in full. */
export class AttemptTelemetry implements AttemptStory {
  readonly #telemetry: Telemetry;
  readonly #info: CallInfo;
  readonly #plan: Plan | undefined;
  readonly #span: Span | undefined;
  readonly context: Context;
  #status: number | undefined;
  #chunkAt: number | undefined;
  #chunkLabels: Attributes | undefined;
  #hasEnded = false;

  constructor(
    telemetry: Telemetry,
    info: CallInfo,
    parent: Context,
    plan: Plan | undefined,
    attempt: number,
  ) {
    this.#telemetry = telemetry;
    this.#info = info;
    this.#plan = plan;
    this.#span = quietly(() => {
      const span = telemetry.tracer.startSpan(SPANS.attempt, { kind: SpanKind.CLIENT }, parent);
      if (!span.isRecording()) return span;
      span.setAttributes({
        [A.attempt]: attempt,
        [A.httpMethod]: info.method,
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
    // Whatever it goes on to say, it has taken the model for one of its own.
    const model = this.#plan?.modelId ?? this.#info.call.model;
    if (response.ok && this.#info.call.kind === 'messages') this.#telemetry.models.exists(model);
    quietly(() => {
      const span = this.#span;
      if (span === undefined || !span.isRecording()) return;
      span.setAttribute(A.httpStatus, response.status);
      setDefined(span, {
        [A.requestId]: response.headers.get('request-id') ?? undefined,
      });
      for (const [dimension, { limit, remaining }] of Object.entries(headroom)) {
        span.setAttribute(LIMIT[dimension as Dimension], limit);
        span.setAttribute(REMAINING[dimension as Dimension], remaining);
      }
    });
  }

  chunk(now: number): void {
    const before = this.#chunkAt;
    this.#chunkAt = now;
    if (before === undefined) return;
    quietly(() => {
      this.#chunkLabels ??= genAiLabels(this.#telemetry, this.#info, undefined);
      recordChunk(this.#telemetry, (now - before) / 1000, this.#chunkLabels);
    });
  }

  probes(): void {
    quietly(() => this.#span?.setAttribute(A.breakerState, 'half_open' satisfies BreakerState));
  }

  end(end: AttemptEnd): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    quietly(() => this.#count(end));
    quietly(() => this.#describe(end));
    quietly(() => this.#span?.end());
  }

  #count(end: AttemptEnd): void {
    const { outcome, errorType: failed, reason } = end;
    const { metrics, models } = this.#telemetry;
    const labels: Attributes = { [A.outcome]: outcome };
    if (this.#status !== undefined) labels[A.httpStatus] = this.#status;
    if (outcome !== 'complete') labels[A.errorType] = errorType(failed);
    if (reason !== undefined) labels[A.reason] = reason;
    metrics.add('attempts', 1, labels);
    const plan = this.#plan;
    if (plan === undefined) return;
    for (const [model, charges] of billedByModel(counted(end), this.#info.call.model)) {
      models.exists(model);
      const spent = this.#telemetry.labels.of(
        { [A.tier]: plan.caller.tier },
        { [A.genAiResponseModel]: models.of(model), [A.lane]: plan.lane, [A.billing]: 'standard' },
      );
      countCost(this.#telemetry, spent, charges);
    }
  }

  #describe(end: AttemptEnd): void {
    const { outcome, firstTokenMs } = end;
    const { charges } = counted(end);
    const totals = charges === undefined ? undefined : totalsOf(charges);
    const isEstimated = end.charges === undefined && charges !== undefined;
    const span = this.#span;
    if (span === undefined) return;
    if (outcome !== 'complete') span.setStatus({ code: SpanStatusCode.ERROR });
    if (!span.isRecording()) return;
    span.setAttribute(A.outcome, outcome);
    setDefined(span, {
      [A.cost]: totals?.isUnpriced === false ? totals.usd : undefined,
      [A.inputTokens]: totals?.totalInput,
      [A.outputTokens]: totals?.outputTokens,
      [A.usageEstimated]: isEstimated || undefined,
      [A.firstChunk]: firstTokenMs === undefined ? undefined : firstTokenMs / 1000,
      [A.errorType]: outcome === 'complete' ? undefined : errorType(end.errorType),
      [A.errorCode]: end.errorCode,
      [A.reason]: end.reason,
      [A.retryDenied]: end.retryDenied,
      [A.breakerState]: end.breaker,
    });
  }

  run<T>(fn: () => T): T {
    return context.with(this.context, fn);
  }
}
