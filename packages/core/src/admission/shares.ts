import { compositeKey } from '../composite-key.ts';
import { type Answering, type Plan, type QuotaScope, scopesFor } from '../policy/plan.ts';
import { type Charge, totalsOf } from '../settlement/charges.ts';
import type { GateKeeper } from './gate.ts';
import type { Used } from './ticket.ts';

/** What a quota is charged for an answer. */
export interface QuotaShare {
  readonly scope: QuotaScope;
  readonly used: Used;
}

const NOTHING: Used = { inputTokens: 0, outputTokens: 0, usd: 0 };

/** As much of a scope as tells it apart. */
type ScopeId = { readonly rule: { readonly name: string }; readonly key: string };

const idOf = ({ rule, key }: ScopeId) => compositeKey(rule.name, key);

/** What charges come to for a quota. */
export function usedOf(charges: readonly Charge[]): Used {
  const { chargedInput, outputTokens, usd } = totalsOf(charges);
  return { inputTokens: chargedInput, outputTokens, usd };
}

/**
 * What each quota is charged for an answer: a quota counts the tokens of the models that it applies to. `scopes` are those
 * of the call itself; `extra` are quotas that apply only to other models that took part. Pure.
 */
export function quotaShares(
  charges: readonly Charge[],
  plan: Pick<Plan, 'modelId' | 'quotas' | 'answeredBy'>,
  account: string,
): { readonly usedOf: (scope: ScopeId) => Used; readonly extra: readonly QuotaShare[] } {
  const models = new Set(charges.map(({ model }) => model));
  if (models.size === 1 && models.has(plan.modelId)) {
    const used = usedOf(charges);
    return { usedOf: () => used, extra: [] };
  }
  const shares = new Map<string, QuotaShare>();
  for (const model of models) {
    const answering: Pick<Answering, 'quotas'> = model === plan.modelId ? plan : plan.answeredBy(model);
    const used = usedOf(charges.filter((charge) => charge.model === model));
    for (const scope of scopesFor(answering, account)) {
      const before = shares.get(idOf(scope))?.used ?? NOTHING;
      shares.set(idOf(scope), { scope, used: add(before, used) });
    }
  }
  const own = new Set(scopesFor(plan, account).map(idOf));
  return {
    usedOf: (scope) => shares.get(idOf(scope))?.used ?? NOTHING,
    extra: [...shares].filter(([id]) => !own.has(id)).map(([, share]) => share),
  };
}

const add = (a: Used, b: Used): Used => ({
  inputTokens: a.inputTokens + b.inputTokens,
  outputTokens: a.outputTokens + b.outputTokens,
  usd: (a.usd ?? 0) + (b.usd ?? 0),
});

/** The charges of an answer by the gate of the bucket that each draws on. Pure. */
export function byGate(
  charges: readonly Charge[],
  gateOf: (model: string) => GateKeeper,
): ReadonlyMap<GateKeeper, readonly Charge[]> {
  const gates = new Map<GateKeeper, Charge[]>();
  for (const charge of charges) {
    const gate = gateOf(charge.model);
    const found = gates.get(gate);
    if (found === undefined) gates.set(gate, [charge]);
    else found.push(charge);
  }
  return gates;
}
