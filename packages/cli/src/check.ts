import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import {
  type Caller,
  ConfigError,
  type ConfigInput,
  type ConfigProblem,
  describeLimits,
  type Explanation,
  explainCall,
  understandConfig,
  withPathsFrom,
} from '@headgate/core';
import { doubtCaller } from '@headgate/core/simulation';
import { locate, parseFile } from './positions.ts';
import { pricesBeside } from './prices/beside.ts';

export interface CheckOptions {
  readonly caller?: string;
  readonly model: string;
  readonly maxTokens: number;
  readonly strict?: boolean;
  readonly json?: boolean;
}

type Understood = ReturnType<typeof understandConfig>;

interface Report {
  readonly file: string;
  readonly problems: readonly Located[];
  readonly warnings: readonly Located[];
  readonly config?: Understood['config'];
  readonly explanation?: Explanation;
}

interface Located extends ConfigProblem {
  /** Counted from 1; absent where the file does not even parse that far. */
  readonly line?: number;
  readonly column?: number;
}

/**
 * Checks a file and prints what it says. Gives the exit code: 0 for a configuration that is good, 1 for one that is
 * wrong (or, `strict`, doubtful), 2 for a call of the command that cannot be answered.
 */
export async function check(
  file: string,
  options: CheckOptions,
  print: (text: string) => void,
): Promise<number> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    print(`${file}: cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    return 2;
  }
  let caller: Caller | undefined;
  try {
    caller = options.caller === undefined ? undefined : parseCaller(options.caller);
  } catch (error) {
    print(String(error instanceof Error ? error.message : error));
    return 2;
  }
  const report = examine(file, text, caller, options);
  print(options.json ? JSON.stringify(report, undefined, 2) : format(report));
  return report.problems.length > 0 || (options.strict === true && report.warnings.length > 0) ? 1 : 0;
}

function examine(file: string, text: string, caller: Caller | undefined, options: CheckOptions): Report {
  const { content, document, problems } = parseFile(text);
  if (problems.length > 0) return { file, problems, warnings: [] };
  const input = withPathsFrom(dirname(file), content as ConfigInput);
  const beside = pricesBeside(input);
  const here = (found: readonly ConfigProblem[]): Located[] =>
    found.map((problem) => ({ ...problem, ...locate(document, text, problem.path) }));
  try {
    const filePrices = beside.prices;
    const { config, warnings } = understandConfig(input, { today: Date.now(), filePrices });
    if (beside.problems.length > 0) return { file, problems: here(beside.problems), warnings: [] };
    const { model, maxTokens } = options;
    const explanation =
      caller === undefined ? undefined : explainCall(config, { caller, model, maxTokens }, filePrices);
    return {
      file,
      problems: [],
      warnings: [...here(warnings), ...(caller === undefined ? [] : doubtCaller(config, caller))],
      config,
      ...(explanation === undefined ? {} : { explanation }),
    };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { file, problems: here([...error.problems, ...beside.problems]), warnings: [] };
  }
}

const FIELDS = new Set(['user', 'tenant', 'tier', 'lane', 'route']);

/** `user=ada,tier=free`. @throws Error naming the part that does not read. */
export function parseCaller(text: string): Caller {
  const caller: Record<string, string> = {};
  for (const part of text.split(',')) {
    const [field = '', ...rest] = part.split('=');
    if (!FIELDS.has(field.trim()) || rest.length === 0) {
      throw new Error(`--caller: expected user=, tenant=, tier=, lane= or route=, received "${part}"`);
    }
    caller[field.trim()] = rest.join('=').trim();
  }
  return caller;
}

function format({ file, problems, warnings, config, explanation }: Report): string {
  const lines: string[] = [];
  for (const [kind, found] of [
    ['error', problems],
    ['warning', warnings],
  ] as const) {
    for (const { line, column, path, message, expected, received, hint, code } of found) {
      lines.push(`${file}${line === undefined ? '' : `:${line}:${column}`}: ${kind} ${code}`);
      lines.push(`  ${path === '' ? '(top level)' : path}: ${message}`);
      lines.push(`  expected ${expected}, received ${received}`);
      if (hint !== undefined) lines.push(`  ${hint}`);
    }
  }
  if (problems.length > 0) lines.push(`${problems.length} problem${problems.length === 1 ? '' : 's'}`);
  if (config !== undefined) lines.push(...(lines.length > 0 ? [''] : []), ...describe(config));
  if (explanation !== undefined) lines.push('', ...explain(explanation));
  return lines.join('\n');
}

/** The policy as it is understood. */
function describe(config: Understood['config']): string[] {
  const percent = (share: number) => `${Math.round(share * 100)} %`;
  const number = (value: number | undefined) =>
    value === undefined ? 'learned' : value.toLocaleString('en-US');
  const when = (rule: { when: object }) => {
    const parts = Object.entries(rule.when).map(
      ([field, pattern]) => `${field} ${[pattern].flat().join(' or ')}`,
    );
    return parts.length === 0 ? 'every call' : parts.join(', ');
  };
  const [firstLane = ''] = Object.keys(config.lanes);
  return [
    ...(config.shadow ? ['SHADOW: everything is decided and recorded, nothing refused', ''] : []),
    'limits',
    ...(config.account.length === 0 ? ['  learned from response headers'] : []),
    ...config.account.map(
      (bucket) =>
        `  ${bucket.name}: ${number(bucket.requestsPerMinute)} requests, ${number(bucket.inputTokensPerMinute)} input and ${number(bucket.outputTokensPerMinute)} output tokens a minute, ${bucket.burst === undefined ? 'how much of it at once is learned' : `${percent(bucket.burst)} of it at once`} (${bucket.models.join(', ')})`,
    ),
    ...Object.entries(config.accounts).map(
      ([name, buckets]) => `  account ${name}: ${buckets.map((bucket) => bucket.name).join(', ')}`,
    ),
    'lanes',
    ...Object.entries(config.lanes).map(
      ([name, lane]) =>
        `  ${name}${name === (config.defaultLane ?? firstLane) ? ' (default)' : ''}: guarantee ${percent(lane.guarantee)}, weight ${lane.weight}, reserve ${percent(lane.reserve)}, waits up to ${lane.maxWait / 1000} s${lane.via === 'batch' ? ', by batch' : ''}`,
    ),
    ...section(
      'quotas',
      config.quotas,
      (quota) =>
        `  ${quota.name}: ${when(quota)}, per ${quota.per}: ${describeLimits(quota)}${quota.shadow ? ' (shadow)' : ''}`,
    ),
    ...section(
      'budgets',
      config.budgets,
      (budget) =>
        `  ${budget.name}: ${when(budget)}, per ${budget.per}: usd ${budget.usd.amount}/${budget.usd.per}, from ${percent(budget.soft)} on ${measures(budget)}${budget.hard ? ', then refuse' : ', never refuse'}`,
    ),
    ...section('caps', config.caps, (cap) => `  ${when(cap)}: max_tokens ${cap.maxTokens}, ${cap.onExceed}`),
    ...section(
      'routes',
      config.routes,
      (route) => `  ${when(route)}: ${route.model}, ${route.if === 'always' ? 'always' : 'under pressure'}`,
    ),
    ...section(
      'fallbacks',
      Object.entries(config.fallbacks),
      ([model, others]) => `  ${model}: ${others.join(', then ')}`,
    ),
  ];
}

function measures({ downgradeTo, refuseFirst }: Understood['config']['budgets'][number]): string {
  const all = ['warn'];
  if (downgradeTo !== undefined) all.push(`ask ${downgradeTo} instead`);
  if (refuseFirst !== undefined) all.push(`refuse lane ${[refuseFirst].flat().join(', ')}`);
  return all.join(', ');
}

function section<T>(title: string, entries: readonly T[], line: (entry: T) => string): string[] {
  return entries.length === 0 ? [] : [title, ...entries.map(line)];
}

function explain(explanation: Explanation): string[] {
  if (explanation.refusal !== undefined)
    return ['this call is refused', `  ${explanation.refusal.code}: ${explanation.refusal.message}`];
  const { lane, model, maxTokens, bucket, underPressure, fallbacks = [], quotas } = explanation;
  return [
    'this call',
    `  goes to ${model} in lane ${lane}, on bucket ${bucket}, with max_tokens ${maxTokens}`,
    ...(underPressure === undefined
      ? []
      : [`  goes to ${underPressure} instead while the wait would be long`]),
    ...(fallbacks.length === 0 ? [] : [`  falls back to ${fallbacks.join(', then ')}`]),
    ...(quotas.length === 0 ? ['  no quota applies'] : []),
    ...quotas.map(
      (quota) =>
        `  quota ${quota.name}, per ${quota.per}: ${quota.limits}${quota.isShadow ? ' (shadow)' : ''}`,
    ),
  ];
}
