import type { ConfigProblem } from '../errors.ts';
import type { BucketConfig, Config, When } from './schema.ts';

/** What no schema can say of one field alone: names that do not exist, sums over 1, names used twice. */
export function findContradictions(config: Config): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const lanes = Object.keys(config.lanes);
  const laneList = lanes.join(', ');

  if (lanes.length === 0) {
    problems.push({
      path: 'lanes',
      message: 'no lane',
      expected: 'at least one lane',
      received: '{}',
    });
  }
  if (config.defaultLane !== undefined && !lanes.includes(config.defaultLane)) {
    problems.push({
      path: 'defaultLane',
      message: 'no such lane',
      expected: `one of ${laneList}`,
      received: JSON.stringify(config.defaultLane),
    });
  }
  const guaranteed = Object.values(config.lanes).reduce((sum, lane) => sum + lane.guarantee, 0);
  // Shares are written as decimals: 0.7 + 0.2 + 0.1 is 0.9999999999999999 or 1.0000000000000002 by order.
  if (guaranteed > 1 + 1e-9) {
    problems.push({
      path: 'lanes',
      message: 'the guarantees add up to more than the whole',
      expected: 'guarantees that add up to at most 1',
      received: String(Number(guaranteed.toFixed(6))),
      hint: 'Lower some of them: what is not guaranteed is shared by weight.',
    });
  }

  duplicates(config.quotas, 'quotas', problems);
  config.quotas.forEach((quota, index) => {
    const path = `quotas[${index}]`;
    const limits = [quota.requests, quota.inputTokens, quota.outputTokens, quota.usd, quota.concurrency];
    if (limits.every((limit) => limit === undefined)) {
      problems.push({
        path,
        message: `quota "${quota.name}" limits nothing`,
        expected: 'at least one of requests, inputTokens, outputTokens, usd, concurrency',
        received: 'none',
      });
    }
    unknownLanes(quota.when, `${path}.when.lane`, lanes, problems);
  });
  for (const [index, cap] of config.caps.entries()) {
    unknownLanes(cap.when, `caps[${index}].when.lane`, lanes, problems);
  }

  buckets(config.account, 'account', problems);
  for (const [name, entries] of Object.entries(config.accounts)) {
    buckets(entries, `accounts.${name}`, problems);
    if (name === 'default') {
      problems.push({
        path: `accounts.${name}`,
        message: 'this name is taken',
        expected: 'the limits of the default account under `account`',
        received: '"default"',
      });
    }
  }
  return problems;
}

function buckets(entries: readonly BucketConfig[], path: string, problems: ConfigProblem[]): void {
  duplicates(entries, path, problems);
  const seen = new Map<string, string>();
  entries.forEach((entry, index) => {
    for (const model of entry.models) {
      const other = seen.get(model);
      if (other !== undefined) {
        problems.push({
          path: `${path}[${index}].models`,
          message: `the pattern stands in "${other}" too`,
          expected: 'a model in one bucket only',
          received: JSON.stringify(model),
          hint: 'The first entry that matches a model is the one that counts.',
        });
      }
      seen.set(model, entry.name);
    }
  });
}

function duplicates(entries: readonly { name: string }[], path: string, problems: ConfigProblem[]): void {
  const seen = new Map<string, number>();
  entries.forEach((entry, index) => {
    const first = seen.get(entry.name);
    if (first !== undefined) {
      problems.push({
        path: `${path}[${index}].name`,
        message: `the name stands in ${path}[${first}] too`,
        expected: 'a name of its own',
        received: JSON.stringify(entry.name),
      });
    } else seen.set(entry.name, index);
  });
}

function unknownLanes(when: When, path: string, lanes: readonly string[], problems: ConfigProblem[]): void {
  const patterns = when.lane === undefined ? [] : typeof when.lane === 'string' ? [when.lane] : when.lane;
  for (const pattern of patterns) {
    if (!pattern.includes('*') && !lanes.includes(pattern)) {
      problems.push({
        path,
        message: 'no such lane, so the rule can never match',
        expected: `one of ${lanes.join(', ')}`,
        received: JSON.stringify(pattern),
      });
    }
  }
}
