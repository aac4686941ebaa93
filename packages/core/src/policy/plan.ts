import { ANONYMOUS } from '../caller/caller.ts';
import type { ResolvedCaller } from '../caller/scope.ts';
import type { QuotaRule } from './budgets.ts';
import type { Model } from './models.ts';
import type { PriceTag } from './price-book.ts';

/** One quota that applies to a call, and whose share of it the call draws on. */
export interface QuotaScope {
  readonly rule: QuotaRule;
  readonly key: string;
}

/** What the policy says of a model that takes part in answering a call. */
export interface Answering {
  /** What is known of the model. */
  readonly model: Model | undefined;
  /** The quotas that its tokens count against. */
  readonly quotas: readonly QuotaScope[];
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
  /** The model that is asked. */
  readonly modelId: string;
  /** The model that the caller asked for, where a route or a fallback has put another in its place. */
  readonly reroutedFrom: string | undefined;
  /** The model to ask instead while the wait for this one would be long. */
  readonly underPressure: string | undefined;
  /** Models to ask, in this order, when this one is overloaded or failing. */
  readonly fallbacks: readonly string[];
  /** What is known of the model. */
  readonly model: Model | undefined;
  /** What the model costs that is asked. */
  readonly price: PriceTag | undefined;
  /** What any model costs that the call is billed for: an advisor's, or a fallback's of the API's own. */
  readonly priceOf: (model: string) => PriceTag | undefined;
  /** `max_tokens` as it is sent. */
  readonly maxTokens: number | undefined;
  /** What the caller asked for, where a cap or the ceiling of another model lowered it. */
  readonly clampedFrom: number | undefined;
  readonly quotas: readonly QuotaScope[];
  /** What the policy says of a model that did part of the work: an advisor, or the API's own fallback. */
  readonly answeredBy: (modelId: string) => Answering;
  /** Whether a prefix that comes again is marked for the cache. */
  readonly marksPrefix: boolean;
  /** Decide and record, hold nobody up. */
  readonly isShadow: boolean;
}

/** Whether a rule of money applies. */
export const countsMoney = ({ quotas }: Pick<Answering, 'quotas'>) =>
  quotas.some(({ rule }) => rule.usd !== undefined);

/** The quotas of a plan, with those that count by account under the account that the call draws on. */
export const scopesFor = ({ quotas }: Pick<Answering, 'quotas'>, account: string): readonly QuotaScope[] =>
  quotas.map((scope) => (scope.rule.per === 'account' ? { ...scope, key: account } : scope));

/**
 * Whom evidence about the API is counted by: the tenant where there is one, else the user, else everybody without a name
 * together. Many made-up users of one tenant are one.
 */
export function callerKey({ tenant, user }: ResolvedCaller): string {
  if (tenant !== undefined) return `tenant ${tenant}`;
  return user === undefined || user === ANONYMOUS ? 'nobody' : `user ${user}`;
}
