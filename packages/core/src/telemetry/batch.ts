import {
  type Context,
  context,
  isSpanContextValid,
  type Link,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { type Charge, totalsOf } from '../settlement/charges.ts';
import type { BatchItem } from '../stores/batch-journal.ts';
import { billedByModel, countCost } from './billed.ts';
import { countTokens } from './gen-ai-metrics.ts';
import { ATTRIBUTES as A, SPANS } from './names.ts';
import { PROVIDERS } from './provider.ts';
import { quietly } from './quietly.ts';
import { setDefined } from './set.ts';
import type { Telemetry } from './telemetry.ts';
import { errorType, type UsagePart } from './values.ts';

/** Links on one span: a batch has thousands of requests, and their traces are told by the results too. */
const MAX_LINKS = 128;

/** The trace of the running code, as it is kept with a request. */
export function currentTrace(): string | undefined {
  const span = trace.getSpanContext(context.active());
  if (span === undefined || !isSpanContextValid(span)) return undefined;
  return `00-${span.traceId}-${span.spanId}-${(span.traceFlags & 255).toString(16).padStart(2, '0')}`;
}

function linkTo(traceparent: string | undefined): Link[] {
  const [, traceId = '', spanId = '', flags = '0'] = traceparent?.split('-') ?? [];
  const span = { traceId, spanId, traceFlags: Number.parseInt(flags, 16) || 0, isRemote: true };
  return isSpanContextValid(span) ? [{ context: span }] : [];
}

/** How a request of a batch ended, for its span and the metrics. */
export interface BatchResult {
  readonly outcome: string;
  readonly errorType: string | undefined;
  /** What is billed; undefined where nothing was answered. */
  readonly charges: readonly Charge[] | undefined;
  /** What of the answer's usage no answer can have, or could not be read. */
  readonly bounded: readonly UsagePart[];
  /** What the same would have cost at once. */
  readonly directUsd: number;
  readonly responseModel: string | undefined;
  /** From its submission, in milliseconds. */
  readonly tookMs: number;
}

/** Spans and metrics of the batch lane. Whatever fails in here, no batch fails of it. */
export class BatchTelemetry {
  readonly #telemetry: Telemetry;

  constructor(telemetry: Telemetry) {
    this.#telemetry = telemetry;
  }

  /** A batch is sent: a span with links to the code that has submitted its requests. */
  submission(items: readonly Omit<BatchItem, 'params'>[]): {
    run<T>(fn: () => T): T;
    end(outcome: 'accepted' | 'refused' | 'doubt', more: { batchId?: string; errorType?: string }): void;
  } {
    const links = items.slice(0, MAX_LINKS).flatMap(({ trace: each }) => linkTo(each));
    const span = quietly(() =>
      this.#telemetry.tracer.startSpan(
        SPANS.batchSubmit,
        { kind: SpanKind.INTERNAL, root: true, links, attributes: { [A.batchSize]: items.length } },
        ROOT_CONTEXT,
      ),
    );
    const active: Context = span === undefined ? ROOT_CONTEXT : trace.setSpan(ROOT_CONTEXT, span);
    return {
      run: (fn) => context.with(active, fn),
      end: (outcome, { batchId, errorType: type }) =>
        quietly(() => {
          this.#telemetry.metrics.add('batchSubmissions', 1, { [A.outcome]: outcome });
          if (span === undefined) return;
          setDefined(span, { [A.outcome]: outcome, [A.batchId]: batchId, [A.errorType]: type });
          if (outcome !== 'accepted') span.setStatus({ code: SpanStatusCode.ERROR });
          span.end();
        }),
    };
  }

  /** A request has its result: a span of its own trace, linked to the one that has submitted it. */
  result(item: Omit<BatchItem, 'params'>, result: BatchResult, batchId: string | undefined): void {
    quietly(() => {
      this.#count(item, result);
      const { owner, trace: submitted } = item;
      const links = linkTo(submitted);
      const span: Span = this.#telemetry.tracer.startSpan(
        SPANS.batchResult,
        { kind: SpanKind.INTERNAL, root: true, links },
        ROOT_CONTEXT,
      );
      if (span.isRecording()) {
        const totals = result.charges === undefined ? undefined : totalsOf(result.charges);
        span.setAttributes(this.#telemetry.userAttributes({ user: owner.user }));
        setDefined(span, {
          [A.batchId]: batchId,
          [A.lane]: owner.lane,
          [A.tier]: owner.tier,
          [A.route]: owner.route,
          [A.outcome]: result.outcome,
          [A.modelSent]: owner.model,
          [A.cost]: totals?.isUnpriced === false ? totals.usd : undefined,
          [A.inputTokens]: totals?.totalInput,
          [A.outputTokens]: totals?.outputTokens,
          [A.errorType]: result.errorType === undefined ? undefined : errorType(result.errorType),
        });
      }
      if (result.outcome !== 'succeeded') span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    });
  }

  retried(item: Omit<BatchItem, 'params'>, cause: string): void {
    this.#telemetry.metrics.add('batchRetries', 1, {
      [A.lane]: item.owner.lane,
      [A.errorType]: errorType(cause),
    });
  }

  #count({ owner }: Omit<BatchItem, 'params'>, result: BatchResult): void {
    const { metrics, models } = this.#telemetry;
    const { charges, bounded, directUsd, responseModel } = result;
    for (const part of bounded) metrics.add('usageBounded', 1, { [A.usagePart]: part });
    metrics.add('batchRequests', 1, {
      [A.lane]: owner.lane,
      [A.outcome]: result.outcome,
      ...(result.errorType === undefined ? {} : { [A.errorType]: errorType(result.errorType) }),
    });
    metrics.record('batchDuration', result.tookMs / 1000, {
      [A.lane]: owner.lane,
      [A.outcome]: result.outcome,
    });
    if (charges === undefined) return;
    models.exists(owner.model);
    const billed = billedByModel(
      { outcome: 'complete', charges, model: owner.model, responseModel },
      owner.model,
    );
    for (const [model, theirs] of billed) {
      models.exists(model);
      const spent = this.#telemetry.labels.of(
        { [A.tier]: owner.tier },
        { [A.genAiResponseModel]: models.of(model), [A.lane]: owner.lane, [A.billing]: 'batch' },
      );
      countCost(this.#telemetry, spent, theirs);
      if (this.#telemetry.config.semconv === 'v1.41') continue;
      const labels = this.#telemetry.genAiLabels.of(
        {},
        {
          [A.genAiRequestModel]: models.of(owner.model),
          [A.genAiResponseModel]: models.of(model),
          [A.genAiOperation]: 'chat',
          [A.genAiProvider]: PROVIDERS[0],
        },
      );
      countTokens(this.#telemetry, labels, theirs);
    }
    const { usd, pricing } = totalsOf(charges);
    // Half of a guess is no saving.
    if (pricing === 'known') metrics.add('saved', directUsd - usd, { [A.mechanism]: 'batch' });
  }
}
