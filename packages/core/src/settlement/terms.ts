import { text } from '../json.ts';
import type { Plan } from '../policy/plan.ts';
import { payerOf } from '../request/billing.ts';
import type { Call } from '../request/read.ts';
import type { Terms } from './charges.ts';

/** The terms by which an answer to a call is read. Pure. */
export function termsOf(plan: Plan, { body }: Pick<Call, 'body'>, isBatch = false): Terms {
  return {
    model: plan.modelId,
    priceOf: plan.priceOf,
    payer: payerOf(body),
    speed: body?.speed === 'fast' ? 'fast' : 'standard',
    geography: text(body?.inference_geo),
    isBatch,
  };
}
