import type { Context } from '@opentelemetry/api';
import type { Reason } from '../errors.ts';
import type { Call } from '../request/read.ts';
import type { Usage } from '../settlement/usage.ts';

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
