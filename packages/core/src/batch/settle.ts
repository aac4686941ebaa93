import type { Admission } from '../admission/admission.ts';
import type { Clock } from '../clock.ts';
import type { Policy } from '../policy/policy.ts';
import { cost } from '../settlement/cost.ts';
import { foldUsage, NO_USAGE } from '../settlement/usage.ts';
import type { UsageOwner } from '../stores/usage-book.ts';
import type { BatchTelemetry } from '../telemetry/batch.ts';
import type { Sent } from './collect.ts';
import { type BatchOutcome, errorTypeOf } from './outcome.ts';

export interface SettleParts {
  readonly admission: Admission;
  readonly telemetry: BatchTelemetry;
  readonly clock: Clock;
  rules(): { readonly policy: Policy };
}

/** A request of a batch is done: its charges are put right, its usage is written down, its span and metrics are made. */
export function settleItem(
  { admission, telemetry, clock, rules }: SettleParts,
  item: Sent,
  outcome: BatchOutcome,
  batchId: string | undefined,
): void {
  // What was charged ahead in money tells that a rule counts it: the process that planned the request may be gone.
  const isMoneyCounted = item.charges.some(({ name }) => name === 'usd');
  const price = rules().policy.priceOf(item.owner.model, isMoneyCounted);
  const message = outcome.type === 'succeeded' ? outcome.message : undefined;
  const usage = message === undefined ? undefined : { ...foldUsage(NO_USAGE, message.usage), isBatch: true };
  const usd = usage === undefined ? undefined : cost(price, usage);
  admission.settleAhead(item.charges, ownerOf(item), usage, usd);
  const result = {
    outcome: outcome.type,
    errorType: errorTypeOf(outcome),
    usage,
    usd,
    directUsd: usage === undefined ? undefined : cost(price, { ...usage, isBatch: false }),
    responseModel: typeof message?.model === 'string' ? message.model : undefined,
    tookMs: clock.wall() - item.submittedAt,
  };
  telemetry.result(item, result, batchId);
}

/** In whose name a request is written down. */
export function ownerOf({ owner, account }: Pick<Sent, 'owner' | 'account'>): UsageOwner {
  const { user, tenant, route, model, lane } = owner;
  return { user, tenant, route, model, lane, account };
}
