import type { Attributes } from '@opentelemetry/api';
import { sameModel } from '../policy/model-id.ts';
import { type Charge, totalsOf } from '../settlement/charges.ts';
import { ATTRIBUTES as A } from './names.ts';
import type { Telemetry } from './telemetry.ts';
import type { AttemptEnd } from './types.ts';

/**
 * The charges of an attempt by the model that a metric's label says: for the model that was asked, the id that the API
 * gives it. Empty where the API has told nothing.
 */
export function billedByModel(
  { charges = [], model: asked, responseModel }: AttemptEnd,
  otherwise: string,
): ReadonlyMap<string, readonly Charge[]> {
  const isAnothers = charges.some(
    ({ model }) => model !== asked && responseModel !== undefined && sameModel(model, responseModel),
  );
  const own = isAnothers ? (asked ?? otherwise) : (responseModel ?? otherwise);
  const models = new Map<string, Charge[]>();
  for (const charge of charges) {
    const label = charge.model === asked ? own : charge.model;
    const found = models.get(label);
    if (found === undefined) models.set(label, [charge]);
    else found.push(charge);
  }
  return models;
}

/** What charges of one model cost, as far as their prices are known. */
export function countCost({ metrics }: Telemetry, labels: Attributes, charges: readonly Charge[]): void {
  const { usd, isUnpriced, pricing } = totalsOf(charges);
  if (pricing !== 'known') metrics.add('unpriced', 1, { ...labels, [A.pricing]: pricing });
  if (!isUnpriced || usd > 0) metrics.add('cost', usd, labels);
}

/** An attempt's end with what is counted of it: where the API has told nothing, what was estimated. */
export const counted = (end: AttemptEnd): AttemptEnd =>
  end.charges === undefined && (end.estimated?.length ?? 0) > 0 ? { ...end, charges: end.estimated } : end;
