import type { ConfigProblem } from '../errors.ts';
import { compileGlob } from '../policy/glob.ts';
import type { BucketConfig, Config, QuotaConfig, When } from './schema.ts';
import { isRefilled } from './units.ts';

type Problems = ConfigProblem[];

/** What no schema can say of one field alone: names that do not exist, sums over 1, names used twice. */
export function findContradictions(config: Config): Problems {
  const problems: Problems = [];
  checkLanes(config, problems);
  checkQuotas(config, problems);
  checkBudgets(config, problems);
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
    checkRequests(quota, path, problems);
    unknownLanes(quota.when, `${path}.when.lane`, Object.keys(config.lanes), problems);
  }
}

/** A window of the calendar that holds less than one request lets none through; one that refills lets one through now and then. */
function checkRequests({ requests }: QuotaConfig, path: string, problems: Problems): void {
  if (requests === undefined || requests.amount >= 1 || requests.amount <= 0) return;
  if (isRefilled(requests)) return;
  problems.push({
    code: 'HG_WRONG_VALUE',
    path: `${path}.requests`,
    message: 'less than one request in a window of the calendar lets none through',
    expected: `at least 1/${requests.per}`,
    received: `${requests.amount}/${requests.per}`,
    hint: 'Windows of an hour and less refill all the time: `0.5/hour` is one request in two hours.',
  });
}

/** Budgets are counted as quotas are, by name. */
function checkBudgets(config: Config, problems: Problems): void {
  const lanes = Object.keys(config.lanes);
  const quotas = new Set(config.quotas.map(({ name }) => name));
  duplicates(config.budgets, 'budgets', problems);
  for (const [index, budget] of config.budgets.entries()) {
    const path = `budgets[${index}]`;
    if (quotas.has(budget.name)) {
      problems.push({
        code: 'HG_DUPLICATE_NAME',
        path: `${path}.name`,
        message: 'a quota has this name too',
        expected: 'a name of its own',
        received: JSON.stringify(budget.name),
      });
    }
    unknownLanes(budget.when, `${path}.when.lane`, lanes, problems);
    unknownLanes({ lane: budget.refuseFirst }, `${path}.refuseFirst`, lanes, problems);
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

/** What the buckets of the endpoints that generate nothing are called. */
const OWN_BUCKETS = new Set(['batches', 'count_tokens']);

function checkBuckets(entries: readonly BucketConfig[], path: string, problems: Problems): void {
  duplicates(entries, path, problems);
  const seen = new Map<string, string>();
  for (const [index, entry] of entries.entries()) {
    if (OWN_BUCKETS.has(entry.name)) {
      problems.push({
        code: 'HG_RESERVED_NAME',
        path: `${path}[${index}].name`,
        message: 'this name is taken: these endpoints have a bucket of their own',
        expected: 'another name',
        received: JSON.stringify(entry.name),
      });
    }
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

function unknownLanes(
  when: Pick<When, 'lane'>,
  path: string,
  lanes: readonly string[],
  problems: Problems,
): void {
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

/** The patterns of a matcher, however they are written. */
export const patternsOf = (patterns: string | readonly string[] | undefined): readonly string[] =>
  patterns === undefined ? [] : typeof patterns === 'string' ? [patterns] : patterns;
