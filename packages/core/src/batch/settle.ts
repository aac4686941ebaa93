import type { Admission } from '../admission/admission.ts';
import type { Clock } from '../clock.ts';
import type { OnceLog } from '../logger.ts';
import { countsMoney } from '../policy/plan.ts';
import type { Policy } from '../policy/policy.ts';
import { sayBeyond, sayUnreadable } from '../settlement/beyond.ts';
import { boundsOf } from '../settlement/bounds.ts';
import { billOfMessage, reprice, type Terms, totalsOf } from '../settlement/charges.ts';
import { sayUnpriced } from '../settlement/unpriced.ts';
import type { UsageOwner } from '../stores/usage-book.ts';
import type { BatchTelemetry } from '../telemetry/batch.ts';
import type { Sent } from './collect.ts';
import { type BatchOutcome, errorTypeOf } from './outcome.ts';

export interface SettleParts {
  readonly admission: Admission;
  readonly telemetry: BatchTelemetry;
  readonly clock: Clock;
  readonly once: OnceLog;
  rules(): { readonly policy: Policy };
}

/** A request of a batch is done: its charges are put right, its usage is written down, its span and metrics are made. */
export function settleItem(
  { admission, telemetry, clock, once, rules }: SettleParts,
  item: Sent,
  outcome: BatchOutcome,
  batchId: string | undefined,
): void {
  const { policy } = rules();
  const { model } = item.owner;
  const answeredBy = (id: string) => policy.answeredBy(item.owner, id);
  // What was charged ahead in money tells that a rule counts it: the process that planned the request may be gone.
  const isMoneyCounted = item.charges.some(({ name }) => name === 'usd');
  // What a batch is asked for besides its model is in its answers; the account pays for every batch.
  const terms: Terms = {
    model,
    priceOf: (id) => policy.priceOf(id, isMoneyCounted || countsMoney(answeredBy(id))),
    payer: 'self',
    speed: 'standard',
    geography: undefined,
    isBatch: true,
    bounds: () => item.owner.bounds ?? boundsOf({ body: undefined, bytes: 0 }, undefined),
  };
  const message = outcome.type === 'succeeded' ? outcome.message : undefined;
  const bill = message === undefined ? undefined : billOfMessage(message, terms);
  const charges = bill?.charges;
  sayUnpriced(once, charges ?? []);
  sayBeyond(once, model, bill?.beyond ?? []);
  const isUnreadable = message !== undefined && bill === undefined;
  const plan = { modelId: model, quotas: answeredBy(model).quotas, answeredBy };
  // What was charged as estimated stands where the answer does not tell.
  if (isUnreadable) sayUnreadable(once, model);
  else
    admission.settleAhead(item.charges, ownerOf(item), charges === undefined ? undefined : { charges, plan });
  const direct = charges === undefined ? [] : reprice(charges, { ...terms, isBatch: false });
  const result = {
    outcome: outcome.type,
    errorType: errorTypeOf(outcome),
    charges,
    bounded: isUnreadable ? ['unreadable' as const] : (bill?.beyond ?? []).map(({ part }) => part),
    directUsd: totalsOf(direct).usd,
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
