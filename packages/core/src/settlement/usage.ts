import { isRecord } from '../json.ts';

/** What the API says a call has used, in tokens, each input field by itself: cost needs them apart. */
export interface Usage {
  readonly inputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWrite5mTokens: number;
  readonly cacheWrite1hTokens: number;
  readonly outputTokens: number;
  /** Part of the output. */
  readonly thinkingTokens: number;
  readonly webSearches: number;
  readonly speed: 'standard' | 'fast';
  readonly isBatch: boolean;
  /** What summaries of the context have used, which no other field counts. */
  readonly compaction?: Tokens | undefined;
}

/** The fields of a usage that are tokens, each with a price of its own. */
export type Tokens = Pick<
  Usage,
  'inputTokens' | 'cacheReadTokens' | 'cacheWrite5mTokens' | 'cacheWrite1hTokens' | 'outputTokens'
>;

export const NO_USAGE: Usage = {
  inputTokens: 0,
  cacheReadTokens: 0,
  cacheWrite5mTokens: 0,
  cacheWrite1hTokens: 0,
  outputTokens: 0,
  thinkingTokens: 0,
  webSearches: 0,
  speed: 'standard',
  isBatch: false,
};

/** All that the model read: what the API's input conventions call input tokens. */
export const totalInput = (usage: Tokens) => chargedInput(usage) + usage.cacheReadTokens;

/** What counts against input tokens per minute: cache reads are free of it. */
export const chargedInput = (usage: Tokens) =>
  usage.inputTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens;

/**
 * A `usage` object of the API on top of what is known already. The fields of a stream are cumulative and may be null
 * or missing: the last number of each holds, and nothing is ever added up.
 */
export function foldUsage(known: Usage, raw: unknown): Usage {
  if (!isRecord(raw)) return known;
  const details = isRecord(raw.output_tokens_details) ? raw.output_tokens_details : undefined;
  const tools = isRecord(raw.server_tool_use) ? raw.server_tool_use : undefined;
  const { speed, service_tier: tier } = raw;
  return {
    ...foldTokens(known, raw),
    thinkingTokens: count(details?.thinking_tokens) ?? known.thinkingTokens,
    webSearches: count(tools?.web_search_requests) ?? known.webSearches,
    speed: speed === 'fast' || speed === 'standard' ? speed : known.speed,
    isBatch: typeof tier === 'string' ? tier === 'batch' : known.isBatch,
    compaction: compactionOf(raw.iterations) ?? known.compaction,
  };
}

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

/** Betas list each iteration of an answer; those of the kind `compaction` are in no other sum. */
function compactionOf(iterations: unknown): Tokens | undefined {
  if (!Array.isArray(iterations)) return undefined;
  const all = iterations.filter(isRecord).filter(({ type }) => type === 'compaction');
  if (all.length === 0) return undefined;
  return all.map((each) => foldTokens(NO_USAGE, each)).reduce(addTokens);
}

const addTokens = (a: Tokens, b: Tokens): Tokens => ({
  inputTokens: a.inputTokens + b.inputTokens,
  cacheReadTokens: a.cacheReadTokens + b.cacheReadTokens,
  cacheWrite5mTokens: a.cacheWrite5mTokens + b.cacheWrite5mTokens,
  cacheWrite1hTokens: a.cacheWrite1hTokens + b.cacheWrite1hTokens,
  outputTokens: a.outputTokens + b.outputTokens,
});

function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;
}
