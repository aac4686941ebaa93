import { QuotaExceededError } from '../errors.ts';
import { compileGlobs } from '../policy/glob.ts';
import type { Plan } from '../policy/plan.ts';
import type { Policy } from '../policy/policy.ts';
import { payerOf } from '../request/billing.ts';
import type { Call } from '../request/read.ts';
import type { Admission } from './admission.ts';

/**
 * What budgets that are nearly used up make of a plan: calls of the lanes that are to go first are refused, and others
 * go to a smaller model; what a customer pays draws on none. Gives the budgets that are past their soft share.
 * @throws QuotaExceededError.
 */
export function economize(
  admission: Admission,
  policy: Policy,
  account: string,
  call: Call,
  plan: Plan,
): { readonly plan: Plan; readonly soft: readonly string[] } {
  const drawsOnBudget = plan.quotas.some(({ rule }) => rule.budget !== undefined);
  if (!drawsOnBudget || payerOf(call.body) !== 'self') return { plan, soft: [] };
  const soft: string[] = [];
  let result = plan;
  for (const { budget, standing } of admission.budgetsOf(plan, account)) {
    if (!standing.isSoft) continue;
    soft.push(budget.name);
    if (plan.isShadow) continue;
    const { refuseFirst, downgradeTo } = budget;
    if (refuseFirst !== undefined && compileGlobs(refuseFirst)(plan.lane)) {
      const percent = Math.floor(standing.share * 100);
      throw new QuotaExceededError(
        `budget "${budget.name}" is used up to ${percent} %, and the rest of it is not for lane "${plan.lane}"`,
        { reason: 'budget', rule: budget.name, lane: plan.lane, retryAfterMs: standing.resetMs },
      );
    }
    const mayChange = plan.caller.fallback !== false && downgradeTo !== undefined;
    if (mayChange && downgradeTo !== result.modelId && policy.suits(call, downgradeTo, plan.caller))
      result = policy.plan(call, plan.caller, downgradeTo);
  }
  return { plan: result, soft };
}
