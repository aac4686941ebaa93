import { type Context, type Span, SpanKind, SpanStatusCode } from '@opentelemetry/api';
import type { Reason } from '../errors.ts';
import type { Plan } from '../policy/plan.ts';
import { ATTRIBUTES as A, LABEL_PREFIX, SPANS } from './names.ts';
import { quietly } from './quietly.ts';
import { setDefined } from './set.ts';
import type { Telemetry } from './telemetry.ts';
import type { Admitted } from './types.ts';
import type { Decision, ModelCause } from './values.ts';

/** What a refused call is told. */
export interface Refused {
  readonly reason: Reason;
  readonly rule: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly waitedMs: number;
}

/** The span of a call at the gate. It tells by itself whose call it is, also where there are several in one call. */
export class AdmissionSpan {
  readonly #telemetry: Telemetry;
  readonly #span: Span | undefined;
  #hasEnded = false;

  constructor(telemetry: Telemetry, parent: Context, attempt: number) {
    this.#telemetry = telemetry;
    const attributes = attempt > 1 ? { [A.attempt]: attempt } : {};
    this.#span = quietly(() =>
      telemetry.tracer.startSpan(SPANS.admission, { kind: SpanKind.INTERNAL, attributes }, parent),
    );
  }

  describe(plan: Plan, cause: ModelCause | undefined): void {
    this.#tell((span) => {
      span.setAttributes(this.#telemetry.userAttributes(plan.caller));
      span.setAttribute(A.lane, plan.lane);
      setDefined(span, {
        [A.tier]: plan.caller.tier,
        [A.route]: plan.caller.route,
        [A.maxTokensRequested]: plan.clampedFrom ?? plan.maxTokens,
        [A.maxTokensGranted]: plan.maxTokens,
        [A.modelRequested]: plan.reroutedFrom,
        [A.modelCause]: cause,
      });
      for (const [name, value] of Object.entries(plan.caller.labels ?? {})) {
        span.setAttribute(`${LABEL_PREFIX}${name}`, value);
      }
    });
  }

  /** The call comes from another model, and why. */
  leftModel(cause: string, evidence?: string): void {
    this.#tell((span) => {
      span.setAttribute(A.fallbackCause, cause);
      if (evidence !== undefined) span.setAttribute(A.fallbackEvidence, evidence);
    });
  }

  pass(): void {
    this.#tell((span) => span.setAttribute(A.decision, 'pass' satisfies Decision));
    this.end();
  }

  admit(admitted: Admitted, decision: Decision): void {
    this.#tell((span) => {
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
    });
    this.end();
  }

  refuse({ reason, rule, retryAfterMs, waitedMs }: Refused): void {
    this.#tell((span) => {
      setDefined(span, {
        [A.decision]: 'refuse' satisfies Decision,
        [A.reason]: reason,
        [A.rule]: rule,
        [A.retryAfter]: retryAfterMs === undefined ? undefined : retryAfterMs / 1000,
        [A.queueWait]: waitedMs / 1000,
        [A.errorType]: reason === 'aborted' ? 'aborted' : 'headgate.refused',
      });
      span.setStatus({ code: SpanStatusCode.ERROR });
    });
    this.end();
  }

  /** Only the first time counts. */
  end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    quietly(() => this.#span?.end());
  }

  #tell(fn: (span: Span) => void): void {
    const span = this.#span;
    if (span === undefined || this.#hasEnded) return;
    quietly(() => {
      if (span.isRecording()) fn(span);
    });
  }
}
