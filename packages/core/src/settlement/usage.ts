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
}

export const NO_USAGE: Usage = {
  inputTokens: 0,
  cacheReadTokens: 0,
  cacheWrite5mTokens: 0,
  cacheWrite1hTokens: 0,
  outputTokens: 0,
  thinkingTokens: 0,
};

/** All that the model read: what the API's input conventions call input tokens. */
export const totalInput = (usage: Usage) => chargedInput(usage) + usage.cacheReadTokens;

/** What counts against input tokens per minute: cache reads are free of it. */
export const chargedInput = (usage: Usage) =>
  usage.inputTokens + usage.cacheWrite5mTokens + usage.cacheWrite1hTokens;

/**
 * A `usage` object of the API on top of what is known already. The fields of a stream are cumulative and may be null
 * or missing: the last number of each holds, and nothing is ever added up.
 */
export function foldUsage(known: Usage, raw: unknown): Usage {
  if (!isRecord(raw)) return known;
  const writes = isRecord(raw.cache_creation) ? raw.cache_creation : undefined;
  const write1h = count(writes?.ephemeral_1h_input_tokens) ?? known.cacheWrite1hTokens;
  const write5m = count(writes?.ephemeral_5m_input_tokens);
  // Without the split by lifetime, all of it was written for the usual five minutes.
  const written = count(raw.cache_creation_input_tokens);
  const details = isRecord(raw.output_tokens_details) ? raw.output_tokens_details : undefined;
  return {
    inputTokens: count(raw.input_tokens) ?? known.inputTokens,
    cacheReadTokens: count(raw.cache_read_input_tokens) ?? known.cacheReadTokens,
    cacheWrite5mTokens:
      write5m ?? (written === undefined ? known.cacheWrite5mTokens : Math.max(0, written - write1h)),
    cacheWrite1hTokens: write1h,
    outputTokens: count(raw.output_tokens) ?? known.outputTokens,
    thinkingTokens: count(details?.thinking_tokens) ?? known.thinkingTokens,
  };
}

function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;
}
