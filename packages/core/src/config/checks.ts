import type { ConfigProblem } from '../errors.ts';
import { compileGlob } from '../policy/match.ts';
import { MODELS } from '../policy/models.ts';
import type { BucketConfig, Config, When } from './schema.ts';

type Problems = ConfigProblem[];

/** What no schema can say of one field alone: names that do not exist, sums over 1, names used twice. */
export function findContradictions(config: Config): Problems {
  const problems: Problems = [];
  checkLanes(config, problems);
  checkQuotas(config, problems);
  const lanes = Object.keys(config.lanes);
  for (const [index, cap] of config.caps.entries())
    unknownLanes(cap.when, `caps[${index}].when.lane`, lanes, problems);
  checkRoutes(config, problems);
  checkBuckets(config.account, 'account', problems);
  for (const [name, entries] of Object.entries(config.accounts)) {
    checkBuckets(entries, `accounts.${name}`, problems);
    if (name !== 'default') continue;
    problems.push({
      code: 'HG_RESERVED_NAME',
      path: `accounts.${name}`,
      message: 'this name is taken',
      expected: 'the limits of the default account under `account`',
      received: '"default"',
    });
  }
  return problems;
}

function checkLanes(config: Config, problems: Problems): void {
  const lanes = Object.keys(config.lanes);
  if (lanes.length === 0) {
    problems.push({
      code: 'HG_NO_LANE',
      path: 'lanes',
      message: 'no lane',
      expected: 'at least one lane',
      received: '{}',
    });
  }
  if (config.defaultLane !== undefined && !lanes.includes(config.defaultLane)) {
    problems.push({
      code: 'HG_UNKNOWN_LANE',
      path: 'defaultLane',
      message: 'no such lane',
      expected: `one of ${lanes.join(', ')}`,
      received: JSON.stringify(config.defaultLane),
    });
  }
  const guaranteed = Object.values(config.lanes).reduce((sum, lane) => sum + lane.guarantee, 0);
  // Shares are written as decimals: 0.7 + 0.2 + 0.1 is 0.9999999999999999 or 1.0000000000000002 by order.
  if (guaranteed <= 1 + 1e-9) return;
  problems.push({
    code: 'HG_GUARANTEES_OVER_ONE',
    path: 'lanes',
    message: 'the guarantees add up to more than the whole',
    expected: 'guarantees that add up to at most 1',
    received: String(Number(guaranteed.toFixed(6))),
    hint: 'Lower some of them: what is not guaranteed is shared by weight.',
  });
}

function checkQuotas(config: Config, problems: Problems): void {
  duplicates(config.quotas, 'quotas', problems);
  for (const [index, quota] of config.quotas.entries()) {
    const path = `quotas[${index}]`;
    const limits = [quota.requests, quota.inputTokens, quota.outputTokens, quota.usd, quota.concurrency];
    if (limits.every((limit) => limit === undefined)) {
      problems.push({
        code: 'HG_EMPTY_QUOTA',
        path,
        message: `quota "${quota.name}" limits nothing`,
        expected: 'at least one of requests, inputTokens, outputTokens, usd, concurrency',
        received: 'none',
      });
    }
    unknownLanes(quota.when, `${path}.when.lane`, Object.keys(config.lanes), problems);
  }
}

function checkRoutes(config: Config, problems: Problems): void {
  for (const [index, route] of config.routes.entries()) {
    const path = `routes[${index}]`;
    unknownLanes(route.when, `${path}.when.lane`, Object.keys(config.lanes), problems);
    const asked = patternsOf(route.when.model);
    if (asked.length > 0 && asked.every((pattern) => pattern === route.model))
      toItself(`${path}.model`, route.model, problems);
  }
  for (const [model, others] of Object.entries(config.fallbacks)) {
    for (const [index, other] of others.entries()) {
      if (other === model) toItself(`fallbacks.${model}[${index}]`, other, problems);
    }
  }
}

function toItself(path: string, model: string, problems: Problems): void {
  problems.push({
    code: 'HG_ROUTE_TO_ITSELF',
    path,
    message: 'the model is its own replacement',
    expected: 'another model',
    received: JSON.stringify(model),
  });
}

function checkBuckets(entries: readonly BucketConfig[], path: string, problems: Problems): void {
  duplicates(entries, path, problems);
  const seen = new Map<string, string>();
  for (const [index, entry] of entries.entries()) {
    for (const model of entry.models) {
      const other = seen.get(model);
      if (other !== undefined) {
        problems.push({
          code: 'HG_DUPLICATE_MODEL',
          path: `${path}[${index}].models`,
          message: `the pattern stands in "${other}" too`,
          expected: 'a model in one bucket only',
          received: JSON.stringify(model),
          hint: 'The first entry that matches a model is the one that counts.',
        });
      }
      seen.set(model, entry.name);
    }
  }
}

function duplicates(entries: readonly { name: string }[], path: string, problems: Problems): void {
  const seen = new Map<string, number>();
  for (const [index, entry] of entries.entries()) {
    const first = seen.get(entry.name);
    if (first === undefined) seen.set(entry.name, index);
    else {
      problems.push({
        code: 'HG_DUPLICATE_NAME',
        path: `${path}[${index}].name`,
        message: `the name stands in ${path}[${first}] too`,
        expected: 'a name of its own',
        received: JSON.stringify(entry.name),
      });
    }
  }
}

function unknownLanes(when: When, path: string, lanes: readonly string[], problems: Problems): void {
  for (const pattern of patternsOf(when.lane)) {
    if (lanes.some(compileGlob(pattern))) continue;
    problems.push({
      code: 'HG_NEVER_MATCHES',
      path,
      message: 'no such lane, so the rule can never match',
      expected: `one of ${lanes.join(', ')}`,
      received: JSON.stringify(pattern),
    });
  }
}

const patternsOf = (patterns: string | readonly string[] | undefined): readonly string[] =>
  patterns === undefined ? [] : typeof patterns === 'string' ? [patterns] : patterns;

/** The least thinking budget that the API takes. */
const MIN_THINKING_BUDGET = 1_024;

/** What is allowed and most likely not meant. */
export function findWarnings(config: Config): Problems {
  const warnings: Problems = [];
  for (const [path, pattern] of modelPatterns(config)) {
    if (knownModels(pattern).length > 0) continue;
    warnings.push({
      code: 'HG_UNKNOWN_MODEL',
      path,
      message: 'fits no model that this version knows',
      expected: 'a model id, or a pattern such as claude-sonnet-4-*',
      received: JSON.stringify(pattern),
      hint: 'It is matched all the same; look for a typing error.',
    });
  }
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

function modelPatterns(config: Config): [path: string, pattern: string][] {
  const found: [string, string][] = [];
  const add = (path: string, patterns: string | readonly string[] | undefined) => {
    for (const pattern of patternsOf(patterns)) if (pattern !== '*') found.push([path, pattern]);
  };
  for (const [index, { models }] of config.account.entries()) add(`account[${index}].models`, models);
  for (const kind of ['quotas', 'caps', 'routes'] as const) {
    for (const [index, { when }] of config[kind].entries()) add(`${kind}[${index}].when.model`, when.model);
  }
  for (const [index, { model }] of config.routes.entries()) add(`routes[${index}].model`, model);
  for (const [model, others] of Object.entries(config.fallbacks))
    add(`fallbacks.${model}`, [model, ...others]);
  return found;
}
