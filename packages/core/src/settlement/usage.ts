import { isRecord, text } from '../json.ts';

/** The kinds of tokens that an inference is billed for, each with a price of its own. */
export interface Tokens {
  /** Neither read from the cache nor written to it. */
  readonly inputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWrite5mTokens: number;
  readonly cacheWrite1hTokens: number;
  readonly outputTokens: number;
}

export type Speed = 'standard' | 'fast';
export type Tier = 'standard' | 'priority' | 'batch';

/** One entry of `usage.iterations`. */
export interface Iteration extends Tokens {
  /** `message`, `fallback_message`, `advisor_message`, `compaction`, or what a later API adds. */
  readonly type: string;
  readonly model: string | undefined;
  readonly speed: Speed | undefined;
  readonly geography: string | undefined;
  /** False where the entry does not say for how long its cache writes live. */
  readonly splitsWrites: boolean;
}

/**
 * A `usage` object of the API, as read so far. Nothing outside of this folder reads it: what an answer costs and uses is
 * the list of its charges (charges.ts).
 */
export interface Usage extends Tokens {
  /** Part of the output. */
  readonly thinkingTokens: number;
  readonly webSearches: number;
  readonly speed: Speed;
  readonly tier: Tier;
  /** Where the inference ran: `global`, `us`, or what a later API adds. */
  readonly geography: string | undefined;
  readonly iterations: readonly Iteration[];
}

export const NO_TOKENS: Tokens = {
  inputTokens: 0,
  cacheReadTokens: 0,
  cacheWrite5mTokens: 0,
  cacheWrite1hTokens: 0,
  outputTokens: 0,
};

export const NO_USAGE: Usage = {
  ...NO_TOKENS,
  thinkingTokens: 0,
  webSearches: 0,
  speed: 'standard',
  tier: 'standard',
  geography: undefined,
  iterations: [],
};

/** All that the model read: what the API's input conventions call input tokens. */
export const totalInput = (tokens: Tokens) => chargedInput(tokens) + tokens.cacheReadTokens;

/** What counts against input tokens per minute: cache reads are free of it. */
export const chargedInput = (tokens: Tokens) => tokens.inputTokens + writtenTokens(tokens);

/** Tokens written to the cache, for whatever time. */
export const writtenTokens = (tokens: Tokens) => tokens.cacheWrite5mTokens + tokens.cacheWrite1hTokens;

export const addTokens = (a: Tokens, b: Tokens): Tokens => ({
  inputTokens: a.inputTokens + b.inputTokens,
  cacheReadTokens: a.cacheReadTokens + b.cacheReadTokens,
  cacheWrite5mTokens: a.cacheWrite5mTokens + b.cacheWrite5mTokens,
  cacheWrite1hTokens: a.cacheWrite1hTokens + b.cacheWrite1hTokens,
  outputTokens: a.outputTokens + b.outputTokens,
});

/**
 * A `usage` object of the API on top of what is known already. The fields of a stream are cumulative and may be null
 * or missing: the last number of each holds, and nothing is ever added up.
 */
export function foldUsage(known: Usage, raw: unknown): Usage {
  if (!isRecord(raw)) return known;
  const details = isRecord(raw.output_tokens_details) ? raw.output_tokens_details : undefined;
  const tools = isRecord(raw.server_tool_use) ? raw.server_tool_use : undefined;
  return {
    ...foldTokens(known, raw),
    thinkingTokens: count(details?.thinking_tokens) ?? known.thinkingTokens,
    webSearches: count(tools?.web_search_requests) ?? known.webSearches,
    speed: speedOf(raw.speed) ?? known.speed,
    tier: tierOf(raw.service_tier) ?? known.tier,
    geography: text(raw.inference_geo) ?? known.geography,
    iterations: Array.isArray(raw.iterations)
      ? raw.iterations.filter(isRecord).map(iterationOf)
      : known.iterations,
  };
}

/** Whether a `usage` object says what input is charged. */
export const tellsInput = (raw: Record<string, unknown>) => count(raw.input_tokens) !== undefined;

/** Whether it says how much was produced. */
export const tellsOutput = (raw: Record<string, unknown>) => count(raw.output_tokens) !== undefined;

function foldTokens(known: Tokens, raw: Record<string, unknown>): Tokens {
  const writes = isRecord(raw.cache_creation) ? raw.cache_creation : undefined;
  const write1h = count(writes?.ephemeral_1h_input_tokens) ?? known.cacheWrite1hTokens;
  const write5m = count(writes?.ephemeral_5m_input_tokens);
  // Without the split by lifetime, all of it was written for the usual five minutes.
  const written = count(raw.cache_creation_input_tokens);
  return {
    inputTokens: count(raw.input_tokens) ?? known.inputTokens,
    cacheReadTokens: count(raw.cache_read_input_tokens) ?? known.cacheReadTokens,
    cacheWrite5mTokens:
      write5m ?? (written === undefined ? known.cacheWrite5mTokens : Math.max(0, written - write1h)),
    cacheWrite1hTokens: write1h,
    outputTokens: count(raw.output_tokens) ?? known.outputTokens,
  };
}

const iterationOf = (raw: Record<string, unknown>): Iteration => ({
  ...foldTokens(NO_TOKENS, raw),
  type: text(raw.type) ?? '',
  model: text(raw.model),
  speed: speedOf(raw.speed),
  geography: text(raw.inference_geo),
  splitsWrites: isRecord(raw.cache_creation),
});

const speedOf = (value: unknown): Speed | undefined =>
  value === 'fast' || value === 'standard' ? value : undefined;

function tierOf(value: unknown): Tier | undefined {
  if (typeof value !== 'string') return undefined;
  return value === 'batch' || value === 'priority' ? value : 'standard';
}

function count(value: unknown): number | undefined {
  return typeof value === 'number' && value >= 0 ? value : undefined;
}
