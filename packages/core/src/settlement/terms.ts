import { text } from '../json.ts';
import type { Plan } from '../policy/plan.ts';
import { payerOf } from '../request/billing.ts';
import type { Call } from '../request/read.ts';
import { type Bounds, boundsOf } from './bounds.ts';
import type { Terms } from './charges.ts';

/** The terms by which an answer to a call is read. Pure. */
export function termsOf(plan: Plan, call: Pick<Call, 'body' | 'bytes'>, isBatch = false): Terms {
  const { body } = call;
  let bounds: Bounds | undefined;
  return {
    model: plan.modelId,
    priceOf: plan.priceOf,
    payer: payerOf(body),
    speed: body?.speed === 'fast' ? 'fast' : 'standard',
    geography: text(body?.inference_geo),
    isBatch,
    bounds: () => {
      bounds ??= boundsOf(call, plan.maxTokens);
      return bounds;
    },
  };
}
