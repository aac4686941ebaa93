import { type Caller, normalizeCaller } from '../caller/caller.ts';
import { type ConfigProblem, isHeadgateError } from '../errors.ts';
import { compileGlobs } from '../policy/glob.ts';
import { compilePolicy } from '../policy/policy.ts';
import type { PriceBook } from '../policy/price-book.ts';
import type { Call } from '../request/read.ts';
import { findWarnings, oldPrices } from './doubts.ts';
import { parseConfig } from './parse.ts';
import type { PriceList } from './price-file.ts';
import type { Config, ConfigInput, QuotaConfig } from './schema.ts';

/** A call to explain. */
export interface ExplainedCall {
  readonly caller: Caller;
  readonly model: string;
  /** Default: 1024. */
  readonly maxTokens?: number;
}

/** What a configuration makes of a call. */
export interface Explanation {
  /** Absent where the call is refused. */
  readonly lane?: string;
  readonly model?: string;
  readonly maxTokens?: number | undefined;
  readonly bucket?: string;
  readonly underPressure?: string | undefined;
  readonly fallbacks?: readonly string[];
  readonly quotas: readonly {
    readonly name: string;
    readonly per: string;
    readonly limits: string;
    readonly isShadow: boolean;
  }[];
  readonly refusal?: { readonly code: string; readonly message: string };
}

/**
 * A configuration as it is understood, with what is doubtful about it; by `today`, in milliseconds of the epoch, also
 * whether the built-in prices are old. `filePrices` is what the price file holds. @throws ConfigError when it is wrong.
 */
export function understandConfig(
  input: ConfigInput,
  { today, filePrices }: { readonly today?: number; readonly filePrices?: PriceList | undefined } = {},
): { config: Config; warnings: ConfigProblem[] } {
  const config = parseConfig(input);
  return {
    config,
    warnings: [...findWarnings(config, filePrices), ...(today === undefined ? [] : oldPrices(today))],
  };
}

/** Which rules apply to a call and what it would be granted, by the very policy that runs in production. */
export function explainCall(
  config: Config,
  { caller, model, maxTokens = 1_024 }: ExplainedCall,
  filePrices?: PriceList,
): Explanation {
  const call: Call = {
    kind: 'messages',
    model,
    maxTokens,
    isStreaming: false,
    body: { model, max_tokens: maxTokens, messages: [] },
    bytes: 0,
    isReplayable: true,
  };
  try {
    const plan = compilePolicy(config, { filePrices }).plan(call, {
      ...normalizeCaller(caller),
      signals: [],
    });
    const bucket = config.account.find(({ models }) => compileGlobs(models)(plan.modelId));
    return {
      lane: plan.lane,
      model: plan.modelId,
      maxTokens: plan.maxTokens,
      bucket: bucket?.name ?? `${plan.model?.class ?? 'default'} (limits learned)`,
      underPressure: plan.underPressure,
      fallbacks: plan.fallbacks,
      quotas: plan.quotas.map(({ rule }) => ({
        name: rule.name,
        per: rule.per,
        limits: describeLimits(rule),
        isShadow: rule.shadow,
      })),
    };
  } catch (error) {
    if (!isHeadgateError(error)) throw error;
    return { quotas: [], refusal: { code: error.code, message: error.message } };
  }
}

/**
 * The prices that hold with a configuration: what one model costs, and every entry with its origin and sources. `today` is
 * in milliseconds of the epoch. @throws ConfigError for a configuration that is wrong.
 */
export function listPrices(
  input: ConfigInput,
  { today, filePrices }: { readonly today: number; readonly filePrices?: PriceList | undefined },
): PriceBook {
  return compilePolicy(parseConfig(input), { filePrices, wall: () => today }).prices;
}

/** What a quota allows, on one line. */
export function describeLimits(rule: QuotaConfig): string {
  const rates = (['requests', 'inputTokens', 'outputTokens', 'usd'] as const).flatMap((name) => {
    const rate = rule[name];
    return rate === undefined ? [] : [`${name} ${rate.amount}/${rate.per}`];
  });
  if (rule.concurrency !== undefined) rates.push(`${rule.concurrency} at once`);
  return `${rates.join(', ')}, then ${rule.onExceed === 'wait' ? 'wait' : 'refuse'}`;
}
