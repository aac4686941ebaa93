import type { Caller } from '../caller/caller.ts';
import type { ConfigProblem } from '../errors.ts';
import { meantInstead } from '../known-keys.ts';
import { quotaRules } from '../policy/budgets.ts';
import { compileGlob } from '../policy/glob.ts';
import { MODELS } from '../policy/models.ts';
import { compilePolicy } from '../policy/policy.ts';
import { MODEL_TABLE_DATE } from '../policy/prices.ts';
import { patternsOf } from './checks.ts';
import { modelPatterns } from './model-names.ts';
import type { PriceList } from './price-file.ts';
import type { Config } from './schema.ts';

type Problems = ConfigProblem[];

/** The least thinking budget that the API takes. */
const MIN_THINKING_BUDGET = 1_024;

const DAY_MS = 86_400_000;
/** Prices change a few times a year. */
const OLD_DAYS = 90;

/** The built-in prices may be out of date: `today` is in milliseconds of the epoch. */
export function oldPrices(today: number): Problems {
  const days = Math.floor((today - Date.parse(MODEL_TABLE_DATE)) / DAY_MS);
  if (days <= OLD_DAYS) return [];
  return [
    {
      code: 'HG_PRICES_OLD',
      path: 'prices',
      message: `the built-in prices are of ${MODEL_TABLE_DATE}`,
      expected: `a table of the last ${OLD_DAYS} days`,
      received: `one that is ${days} days old`,
      hint: 'Update Headgate, or set the prices that have changed under `prices`.',
    },
  ];
}

/** A caller that names a lane which does not exist: its calls go in the default lane. */
export function doubtCaller(config: Config, { lane }: Caller): Problems {
  const lanes = Object.keys(config.lanes);
  if (lane === undefined || lanes.includes(lane)) return [];
  return [
    {
      code: 'HG_UNKNOWN_LANE',
      path: '',
      message: `the caller names a lane that does not exist${meantInstead(lane, lanes)}`,
      expected: `one of ${lanes.join(', ')}`,
      received: lane.slice(0, 64),
    },
  ];
}

/** What is allowed and most likely not meant. `filePrices`: what the price file holds. */
export function findWarnings(config: Config, filePrices?: PriceList): Problems {
  const warnings: Problems = [];
  doubtModels(config, filePrices, warnings);
  for (const [index, cap] of config.caps.entries()) {
    const path = `caps[${index}].maxTokens`;
    const patterns = patternsOf(cap.when.model);
    const models = patterns.length === 0 ? MODELS : patterns.flatMap(knownModels);
    const ceiling = Math.max(0, ...models.map((model) => model.maxOutputTokens));
    if (models.length > 0 && cap.maxTokens > ceiling) {
      warnings.push({
        code: 'HG_CAP_ABOVE_CEILING',
        path,
        message: 'the cap is above what the model can produce',
        expected: `at most ${ceiling}`,
        received: String(cap.maxTokens),
      });
    }
    if (cap.maxTokens <= MIN_THINKING_BUDGET) {
      warnings.push({
        code: 'HG_CAP_UNDER_THINKING',
        path,
        message: 'a call with a thinking budget cannot be clamped under it and is refused',
        expected: `more than ${MIN_THINKING_BUDGET}, where such calls are made`,
        received: String(cap.maxTokens),
      });
    }
  }
  overshadowed(config, warnings);
  return warnings;
}

/** What the setting makes of a call whose model has no price. */
const UNPRICED_MEANS: Record<Config['unpriced'], string> = {
  dearest: 'counts at the highest price known for its provider',
  refuse: 'is refused',
  free: 'counts as free',
};

/** Models that the configuration names and this version does not know, or nobody has priced. */
function doubtModels(config: Config, filePrices: PriceList | undefined, warnings: Problems): void {
  const { prices } = compilePolicy(config, { filePrices });
  const countsMoney = quotaRules(config).some(({ usd }) => usd !== undefined);
  const means = countsMoney
    ? `Where a quota or budget in USD applies, its call ${UNPRICED_MEANS[config.unpriced]} (unpriced: ${config.unpriced}).`
    : 'Its tokens are counted, and its cost is not.';
  const isPriced = (pattern: string) =>
    prices.known(pattern) !== undefined ||
    (pattern.includes('*') && prices.entries.some(({ model }) => compileGlob(pattern)(model)));
  for (const [path, model] of modelPatterns(config)) {
    if (isPriced(model)) continue;
    const received = JSON.stringify(model);
    warnings.push(
      knownModels(model).length > 0
        ? {
            code: 'HG_UNPRICED_MODEL',
            path,
            message: 'has no known price',
            expected: 'a model of the price table, or one that is priced under `prices` or in the price file',
            received,
            hint: means,
          }
        : {
            code: 'HG_UNKNOWN_MODEL',
            path,
            message: 'fits no model that this version knows, and has no known price',
            expected: 'a model id, or a pattern such as claude-sonnet-4-*',
            received,
            hint: `It is matched all the same; look for a typing error. ${means}`,
          },
    );
  }
}

/** Two rules that match the same calls, of which one always binds first. */
function overshadowed(config: Config, warnings: Problems): void {
  const quotas = new Map<string, { name: string; amount: number }>();
  for (const [index, quota] of config.quotas.entries()) {
    for (const kind of ['requests', 'inputTokens', 'outputTokens', 'usd'] as const) {
      const rate = quota[kind];
      if (rate === undefined || quota.shadow) continue;
      const key = JSON.stringify([quota.when, quota.per, kind, rate.per]);
      const other = quotas.get(key);
      if (other !== undefined) {
        const looser = rate.amount >= other.amount ? quota.name : other.name;
        warnings.push(
          shadowedBy(`quotas[${index}].${kind}`, `"${looser}" never binds`, other.name, quota.name),
        );
      }
      quotas.set(key, { name: quota.name, amount: rate.amount });
    }
  }
  const routes = new Map<string, number>();
  for (const [index, route] of config.routes.entries()) {
    const key = JSON.stringify(route.when);
    const first = routes.get(key);
    if (first === undefined) routes.set(key, index);
    else
      warnings.push(
        shadowedBy(`routes[${index}]`, 'it is never reached', `routes[${first}]`, `routes[${index}]`),
      );
  }
}

function shadowedBy(path: string, what: string, first: string, second: string): ConfigProblem {
  return {
    code: 'HG_RULE_OVERSHADOWED',
    path,
    message: `matches the very calls that ${first} matches: ${what}`,
    expected: 'one rule, or two that match different calls',
    received: `${first} and ${second}`,
  };
}

function knownModels(pattern: string) {
  // A pattern and a table of patterns: either may be the wider one.
  const matches = compileGlob(pattern);
  const bare = pattern.replace(/\*+$/, '');
  return MODELS.filter(
    ({ match }) => matches(match.replace(/\*$/, '')) || compileGlob(match)(bare) || matches(match),
  );
}
