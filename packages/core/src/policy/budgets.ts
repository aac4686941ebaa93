import type { BudgetConfig, Config, QuotaConfig } from '../config/schema.ts';

/** A quota, which may stand for a budget. */
export interface QuotaRule extends QuotaConfig {
  readonly budget?: BudgetConfig;
}

/** All that is counted by key: quotas, and budgets, whose money is a quota like any other. */
export function quotaRules({ quotas, budgets }: Pick<Config, 'quotas' | 'budgets'>): readonly QuotaRule[] {
  return [...quotas, ...budgets.map(asQuota)];
}

function asQuota(budget: BudgetConfig): QuotaRule {
  const { name, when, per, usd, hard } = budget;
  return { name, when, per, usd, burst: 1, onExceed: 'refuse', shadow: !hard, budget };
}
