import type { PriceBook } from '../policy/price-book.ts';
import { patternsOf } from './checks.ts';
import type { Config } from './schema.ts';

/** Every model and pattern that a configuration names outside of `prices`, with the path where it stands. */
export function modelPatterns(config: Config): [path: string, pattern: string][] {
  const found: [string, string][] = [];
  const add = (path: string, patterns: string | readonly string[] | undefined) => {
    for (const pattern of patternsOf(patterns)) if (pattern !== '*') found.push([path, pattern]);
  };
  for (const [index, { models }] of config.account.entries()) add(`account[${index}].models`, models);
  for (const kind of ['quotas', 'budgets', 'caps', 'routes'] as const) {
    for (const [index, { when }] of config[kind].entries()) add(`${kind}[${index}].when.model`, when.model);
  }
  for (const [index, { downgradeTo }] of config.budgets.entries())
    add(`budgets[${index}].downgradeTo`, downgradeTo);
  for (const [index, { model }] of config.routes.entries()) add(`routes[${index}].model`, model);
  for (const [model, others] of Object.entries(config.fallbacks))
    add(`fallbacks.${model}`, [model, ...others]);
  return found;
}

/** The models that the configuration, the price file or the price table names, patterns aside. */
export function namedModels(config: Config, { entries }: PriceBook): string[] {
  const names = [...modelPatterns(config).map(([, name]) => name), ...entries.map(({ model }) => model)];
  return names.filter((name) => !name.includes('*'));
}
