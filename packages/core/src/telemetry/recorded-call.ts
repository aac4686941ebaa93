import type { Plan } from '../policy/plan.ts';
import type { Call } from '../request/read.ts';
import { totalsOf } from '../settlement/charges.ts';
import type { Sizes } from './recorder.ts';
import type { Admitted, AttemptEnd, AttemptStory, BackoffInfo, CallStory } from './types.ts';
import type { CallOutcome, ERROR_TYPES, ModelCause, RetryDenial } from './values.ts';

/** What the API finds wrong with a call at once: it takes nothing of the limits, and would not in a rehearsal. */
const REFUSED_BY_API: ReadonlySet<string> = new Set<(typeof ERROR_TYPES)[number]>([
  'invalid_request_error',
  'authentication_error',
  'billing_error',
  'permission_error',
  'not_found_error',
  'conflict_error',
  'request_too_large',
]);

/** A call's story, told on, with what a trace wants to know of it kept. */
export class RecordedCall implements CallStory {
  readonly call: Call;
  /** As first decided: what a rehearsal is to decide anew. */
  plan: Plan | undefined;
  /** Absent where the API told no usage. */
  sizes: Sizes | undefined;
  isRefusedByApi = false;
  readonly #story: CallStory;
  readonly #onEnd: () => void;

  constructor(story: CallStory, call: Call, onEnd: () => void) {
    this.#story = story;
    this.call = call;
    this.#onEnd = onEnd;
  }

  planned(plan: Plan, cause: ModelCause): void {
    this.plan ??= plan;
    this.#story.planned(plan, cause);
  }

  attemptEnded(end: AttemptEnd): void {
    if (end.charges !== undefined) {
      // What counts against the limits.
      const { chargedInput: input, outputTokens: output } = totalsOf(end.charges);
      this.sizes = { input, output };
    }
    this.#story.attemptEnded(end);
  }

  end(outcome: CallOutcome, now: number, cause?: string): void {
    this.#story.end(outcome, now, cause);
    this.isRefusedByApi = this.sizes === undefined && cause !== undefined && REFUSED_BY_API.has(cause);
    this.#onEnd();
  }

  admissionStarted(attempt: number): void {
    this.#story.admissionStarted(attempt);
  }

  budgetsSoft(names: readonly string[]): void {
    this.#story.budgetsSoft(names);
  }

  passed(): void {
    this.#story.passed();
  }

  unknownModel(): void {
    this.#story.unknownModel();
  }

  admitted(admitted: Admitted): void {
    this.#story.admitted(admitted);
  }

  refused(error: unknown, waitedMs: number): void {
    this.#story.refused(error, waitedMs);
  }

  attemptStarted(attempt: number, startedAt: number): AttemptStory {
    return this.#story.attemptStarted(attempt, startedAt);
  }

  fellBack(cause: string, evidence?: string): void {
    this.#story.fellBack(cause, evidence);
  }

  retryDenied(why: RetryDenial): void {
    this.#story.retryDenied(why);
  }

  backoff(info: BackoffInfo): { end(): void } {
    return this.#story.backoff(info);
  }

  estimateSeen(ratio: number): void {
    this.#story.estimateSeen(ratio);
  }
}
