import { type Attributes, type Context, SpanKind } from '@opentelemetry/api';
import { isHeadgateError, type Reason } from '../errors.ts';
import type { Plan } from '../policy/plan.ts';
import { AdmissionSpan } from './admission-span.ts';
import { AttemptTelemetry } from './attempt.ts';
import { type ChatSpan, startChat } from './chat.ts';
import { recordGenAi } from './gen-ai-metrics.ts';
import { ATTRIBUTES as A, SPANS } from './names.ts';
import { quietly } from './quietly.ts';
import type { Telemetry } from './telemetry.ts';
import type { Admitted, AttemptEnd, BackoffInfo, CallInfo, CallStory } from './types.ts';
import {
  type CallOutcome,
  type Decision,
  errorType,
  isErrorType,
  type ModelCause,
  type RetryDenial,
} from './values.ts';

/** A call in full, on whatever OpenTelemetry SDK there is. */
export class CallTelemetry implements CallStory {
  readonly #telemetry: Telemetry;
  readonly #info: CallInfo;
  readonly #chat: ChatSpan | undefined;
  readonly #parent: Context;
  #admission: AdmissionSpan | undefined;
  /** When the last attempt began. */
  #attemptAt = 0;
  #plan: Plan | undefined;
  /** Of the plan; made once, since every metric of the call wants them. */
  #planLabels: Attributes | undefined;
  /** Why the plan is for another model than the call names, and for another than the plan before. */
  #cause: ModelCause | undefined;
  #fallbackCause: string | undefined;
  #hasEnded = false;
  #last: AttemptEnd | undefined;

  constructor(telemetry: Telemetry, info: CallInfo) {
    this.#telemetry = telemetry;
    this.#info = info;
    this.#chat = quietly(() => startChat(telemetry, info));
    this.#parent = this.#chat?.context ?? info.context;
  }

  admissionStarted(attempt: number): void {
    this.#admission = new AdmissionSpan(this.#telemetry, this.#parent, attempt);
    if (this.#plan !== undefined) this.#admission.describe(this.#plan, this.#cause);
    if (this.#fallbackCause !== undefined) this.#admission.leftModel(this.#fallbackCause);
  }

  planned(plan: Plan, cause: ModelCause): void {
    this.#plan = plan;
    this.#planLabels = undefined;
    this.#cause = plan.reroutedFrom === undefined ? undefined : cause;
    quietly(() => {
      const { metrics, models } = this.#telemetry;
      if (plan.isAnonymous) metrics.add('unknownCaller', 1, { [A.lane]: plan.lane });
      if (plan.clampedFrom !== undefined) metrics.add('clamped', 1, this.#labels());
      if (this.#cause !== undefined) {
        metrics.add('rerouted', 1, {
          ...this.#labels(),
          [A.modelSent]: models.of(plan.modelId),
          [A.modelCause]: this.#cause,
        });
      }
    });
    this.#admission?.describe(plan, this.#cause);
  }

  budgetsSoft(names: readonly string[]): void {
    for (const name of names) this.#telemetry.metrics.add('budgetSoft', 1, { [A.rule]: name });
  }

  passed(): void {
    this.#admission?.pass();
  }

  fellBack(cause: string, evidence?: string): void {
    this.#fallbackCause = cause;
    quietly(() => {
      // An error of the API's, or a reason of ours: a breaker that is open.
      const why = isErrorType(cause) ? { [A.errorType]: cause } : { [A.reason]: cause };
      this.#telemetry.metrics.add('fallbacks', 1, { ...this.#labels(), ...why });
    });
    this.#admission?.leftModel(cause, evidence);
  }

  unknownModel(): void {
    quietly(() => this.#telemetry.metrics.add('unknownModel', 1, this.#labels()));
  }

  admitted(admitted: Admitted): void {
    const decision: Decision = admitted.waitedFor === undefined ? 'admit' : 'queue';
    quietly(() => {
      const { metrics, rules } = this.#telemetry;
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
      for (const rule of admitted.shadowRules) metrics.add('shadowed', 1, { [A.rule]: rules.of(rule) });
    });
    this.#admission?.admit(admitted, decision);
  }

  refused(error: unknown, waitedMs: number): void {
    const ours = isHeadgateError(error) ? error : undefined;
    const { rule, retryAfterMs } = ours ?? {};
    // What else is thrown here comes from the app's own `caller` function.
    const reason: Reason = ours?.reason ?? 'unknown_caller';
    quietly(() => {
      const { metrics, models, rules } = this.#telemetry;
      metrics.add('decisions', 1, {
        ...this.#labels(),
        [A.decision]: 'refuse',
        [A.reason]: reason,
        ...(rule === undefined
          ? {}
          : { [A.rule]: reason === 'breaker_open' ? models.of(rule) : rules.of(rule) }),
      });
      // Refused for want of a scope: then there was no plan that could have been counted.
      if (ours?.code === 'unknown_caller') metrics.add('unknownCaller', 1, this.#laneLabel());
      if (retryAfterMs !== undefined) {
        metrics.record('retryAfter', retryAfterMs / 1000, { ...this.#laneLabel(), [A.reason]: reason });
      }
      metrics.record('queueWait', waitedMs / 1000, { ...this.#laneLabel(), [A.outcome]: 'refused' });
    });
    this.#admission?.refuse({ reason, rule, retryAfterMs, waitedMs });
  }

  attemptStarted(attempt: number, startedAt: number): AttemptTelemetry {
    this.#attemptAt = startedAt;
    return new AttemptTelemetry(this.#telemetry, this.#info, this.#parent, this.#plan, attempt);
  }

  retryDenied(why: RetryDenial): void {
    quietly(() =>
      this.#telemetry.metrics.add('retriesDenied', 1, { ...this.#labels(), [A.retryDenied]: why }),
    );
  }

  backoff({ delayMs, source, cause, budgetLeft }: BackoffInfo): { end(): void } {
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
            [A.retryBudget]: budgetLeft,
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
    // The answer may have shown that there is such a model.
    this.#planLabels = undefined;
  }

  end(outcome: CallOutcome, now: number, cause?: string): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const { call, startedAt } = this.#info;
    const last = this.#last;
    const failed = outcome === 'ok' ? undefined : errorType(cause);
    const seconds = (now - startedAt) / 1000;
    // A reader waits from the call's arrival, not from its last attempt.
    const firstTokenMs =
      last?.firstTokenMs === undefined ? undefined : this.#attemptAt - startedAt + last.firstTokenMs;
    quietly(() => {
      if (call.kind !== 'other') {
        this.#telemetry.metrics.record('callDuration', seconds, {
          ...this.#labels(),
          [A.outcome]: outcome,
          ...(failed === undefined ? {} : { [A.errorType]: failed }),
        });
      }
      if (call.kind === 'messages') {
        recordGenAi(this.#telemetry, this.#info, { seconds, last, firstTokenMs, failed });
      }
    });
    this.#admission?.end();
    quietly(() => this.#chat?.end(last, firstTokenMs, failed));
  }

  #laneLabel(): Attributes {
    return this.#plan === undefined ? {} : { [A.lane]: this.#plan.lane };
  }

  #labels(): Attributes {
    const { labels, models } = this.#telemetry;
    this.#planLabels ??= labels.of(
      { [A.tier]: this.#plan?.caller.tier },
      { [A.genAiRequestModel]: models.of(this.#info.call.model), [A.lane]: this.#plan?.lane },
    );
    return this.#planLabels;
  }
}
