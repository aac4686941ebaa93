import type { Context } from '@opentelemetry/api';
import type { RateHeaders } from '../admission/rate-headers.ts';
import type { Reason } from '../errors.ts';
import type { Plan } from '../policy/plan.ts';
import type { Call } from '../request/read.ts';
import type { Charge } from '../settlement/charges.ts';
import type { Provider } from './provider.ts';
import type {
  AttemptOutcome,
  BackoffSource,
  BreakerState,
  CallOutcome,
  ModelCause,
  RetryDenial,
} from './values.ts';

/** What a call is, as it begins. */
export interface CallStart {
  readonly call: Call;
  readonly url: string;
  readonly method: string;
  /** The `user-agent` of its client. */
  readonly userAgent: string | null;
  readonly startedAt: number;
  readonly context: Context;
}

/** What a call is, for its spans and metrics. */
export interface CallInfo extends CallStart {
  readonly provider: Provider;
}

/** What the admission decided. */
export interface Admitted {
  readonly bucket: string;
  readonly account: string;
  readonly waitedMs: number;
  readonly waitedFor: Reason | undefined;
  readonly shadowRules: readonly string[];
  /** Who has let it in, where several processes share the limits. */
  readonly mode: 'shared' | 'degraded' | undefined;
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** How an attempt ended. */
export interface AttemptEnd {
  readonly outcome: AttemptOutcome;
  readonly errorType?: string | undefined;
  readonly errorCode?: string | undefined;
  /** Where we ended it, or its caller did: why. */
  readonly reason?: Reason | undefined;
  /** Of a failed attempt that is the last one: why none follows. */
  readonly retryDenied?: RetryDenial | undefined;
  /** What the model's breaker has come to with it, where that is not closed. */
  readonly breaker?: BreakerState | undefined;
  /** The id of the model as it was sent. */
  readonly model?: string | undefined;
  /** What is billed; absent where the API has not told. */
  readonly charges?: readonly Charge[] | undefined;
  /** What is counted in its place, where the API has not told and the call was sent. */
  readonly estimated?: readonly Charge[] | undefined;
  readonly responseModel?: string | undefined;
  readonly messageId?: string | undefined;
  readonly stopReason?: string | undefined;
  readonly firstTokenMs?: number | undefined;
}

/** A wait before another attempt. */
export interface BackoffInfo {
  readonly delayMs: number;
  readonly source: BackoffSource;
  /** The `error.type` of what failed. */
  readonly cause: string;
  /** Retries that the budget allows after this one. */
  readonly budgetLeft: number;
}

/** Spans and metrics of one call. */
export interface CallStory {
  /** Begins the admission span: policy, estimate and queue wait. */
  admissionStarted(attempt: number): void;
  /** `cause` says why, where another model is asked than the call names. */
  planned(plan: Plan, cause: ModelCause): void;
  /** Budgets that are past their soft share draw on this call. */
  budgetsSoft(names: readonly string[]): void;
  /** The call generates nothing and has no gate to pass. */
  passed(): void;
  unknownModel(): void;
  admitted(admitted: Admitted): void;
  /** The call was refused before an attempt, or an error came out of the app's own `caller` function. */
  refused(error: unknown, waitedMs: number): void;
  attemptStarted(attempt: number, startedAt: number): AttemptStory;
  /** Another model is asked, for what the last one answered, or is known to: an `error.type`, or a reason of ours. */
  fellBack(cause: string, evidence?: string): void;
  /** A failed attempt is the last one, and why. */
  retryDenied(why: RetryDenial): void;
  /** A wait before another attempt. */
  backoff(info: BackoffInfo): { end(): void };
  /** What the last attempt has told; the call's own spans and metrics are made of it. */
  attemptEnded(end: AttemptEnd): void;
  /** How the input that the API counted compares with the estimate. */
  estimateSeen(ratio: number): void;
  /** Ends the call. Only the first time counts. */
  end(outcome: CallOutcome, now: number, cause?: string): void;
}

/** The span of one HTTP request, and what it adds to the metrics. */
export interface AttemptStory {
  /** Runs `fn` as the child of the attempt's span. */
  run<T>(fn: () => T): T;
  responded(response: Response, headroom: RateHeaders): void;
  /** It is the one that is to see whether a model that failed works again. */
  probes(): void;
  /** A chunk of a stream that has content. */
  chunk(now: number): void;
  /** Ends the attempt. Only the first time counts. */
  end(end: AttemptEnd): void;
}
