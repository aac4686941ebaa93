import type { ResolvedCaller } from '../caller/scope.ts';
import type { QuotaConfig } from '../config/schema.ts';
import type { Model, PriceTag } from './models.ts';

/** One quota that applies to a call, and whose share of it the call draws on. */
export interface QuotaScope {
  readonly rule: QuotaConfig;
  readonly key: string;
}

/** What the policy decided for one call. */
export interface Plan {
  readonly caller: ResolvedCaller;
  /** True where the call came from outside every scope. */
  readonly isAnonymous: boolean;
  readonly lane: string;
  /** By whom fairness counts. */
  readonly flowKey: string;
  /** What the call is for: answers are learned by it. */
  readonly purpose: string;
  /** What is known of the model. */
  readonly model: Model | undefined;
  readonly price: PriceTag | undefined;
  /** `max_tokens` as it is sent. */
  readonly maxTokens: number | undefined;
  /** What the caller asked for, where a cap lowered it. */
  readonly clampedFrom: number | undefined;
  readonly quotas: readonly QuotaScope[];
  /** Decide and record, hold nobody up. */
  readonly isShadow: boolean;
}
