import { isRecord } from '../json.ts';
import { MODELS } from '../policy/models.ts';
import type { Call, MessageBody } from '../request/read.ts';
import { type Iteration, type Tokens, totalInput, type Usage } from './usage.ts';

/** What one answer can have used at the most. */
export interface Bounds {
  /** Input tokens of one inference, cached ones included: the widest context window. */
  readonly input: number;
  /** What counts for an input beyond that: what the request's bytes can have held, where they are all of the prompt. */
  readonly inputInstead: number;
  /** Output tokens of one inference of the answer itself. */
  readonly output: number;
  /** Inferences that one answer is made of, where the API does not list them. */
  readonly rounds: number;
  readonly webSearches: number;
  /** Tools that run at the API may add to the input while the answer is made. */
  readonly mayAddInput: boolean;
}

/** A number of a `usage` that no answer to the call can have, and what is taken in its place. */
export interface Beyond {
  readonly part: 'input' | 'output' | 'web_searches' | 'iterations';
  readonly told: number;
  readonly bound: number;
}

/** The widest context window of any model, in tokens. */
const WIDEST_CONTEXT = Math.max(...MODELS.map(({ contextTokens }) => contextTokens));
/** The longest output of one inference, in tokens: what batches may have. Source: Claude docs, batch processing. */
const LONGEST_OUTPUT = 300_000;
/** Tokens for each UTF-16 unit of a request, at the most: a token is a byte of UTF-8 at the least. */
const TOKENS_PER_UNIT = 3;
/** Tokens that the API adds to a prompt of its own, as for the use of tools. */
const PREAMBLE = 4_096;
/** Inferences of an answer with server tools: the API pauses the turn after ten. */
const ROUNDS = 16;
/** Entries of `iterations` that are read. */
const MOST_ITERATIONS = 64;
/** Searches of an answer whose request names no limit. */
const MOST_SEARCHES = 100;

/** Fields of a request that bring nothing into the prompt but what their own bytes hold. */
const PLAIN_FIELDS = new Set(
  'model max_tokens messages system tools tool_choice stream metadata stop_sequences temperature top_p top_k thinking output_config output_format service_tier speed cache_control inference_geo billing_policy'.split(
    ' ',
  ),
);
const PLAIN_BLOCKS = new Set(['text', 'tool_use', 'tool_result', 'thinking', 'redacted_thinking']);

/** The bounds of a call's answer, by its request. Pure. */
export function boundsOf(
  { body, bytes }: Pick<Call, 'body' | 'bytes'>,
  maxTokens: number | undefined,
): Bounds {
  const isPlain = body !== undefined && bytes > 0 && isPlainBody(body);
  const sent = Math.min(WIDEST_CONTEXT, TOKENS_PER_UNIT * bytes + PREAMBLE);
  const asked = [maxTokens, ...maxTokensOf(body?.fallbacks)].filter((value) => value !== undefined);
  return {
    // A gateway may add to a prompt: what fits into a window is believed.
    input: WIDEST_CONTEXT,
    inputInstead: isPlain ? sent : WIDEST_CONTEXT,
    output: asked.length === 0 ? LONGEST_OUTPUT : Math.max(...asked),
    rounds: isPlain ? 1 : ROUNDS,
    webSearches: searchesOf(body?.tools),
    mayAddInput: body !== undefined && !hasOwnToolsOnly(body),
  };
}

/** Whether the prompt is what the request's own bytes hold: no file, no link, no tool that runs at the API. */
function isPlainBody(body: MessageBody): boolean {
  if (Object.keys(body).some((field) => !PLAIN_FIELDS.has(field))) return false;
  const { messages, system } = body;
  if (!hasOwnToolsOnly(body)) return false;
  const contents = Array.isArray(messages)
    ? messages.map((message) => (isRecord(message) ? message.content : undefined))
    : [];
  return [system, ...contents].every(isPlainContent);
}

/** Whether every tool is the caller's own to run. */
function hasOwnToolsOnly({ tools, mcp_servers: servers }: MessageBody): boolean {
  const isCustom = (tool: unknown) =>
    isRecord(tool) && (tool.type === undefined || tool.type === null || tool.type === 'custom');
  if (Array.isArray(servers) && servers.length > 0) return false;
  return !Array.isArray(tools) || tools.every(isCustom);
}

function isPlainContent(content: unknown): boolean {
  if (!Array.isArray(content)) return true;
  return content.every(
    (block) =>
      isRecord(block) &&
      typeof block.type === 'string' &&
      PLAIN_BLOCKS.has(block.type) &&
      isPlainContent(block.content),
  );
}

const maxTokensOf = (list: unknown): number[] =>
  (Array.isArray(list) ? list : [])
    .map((each) => (isRecord(each) ? each.max_tokens : undefined))
    .filter((value) => typeof value === 'number');

function searchesOf(tools: unknown): number {
  const limits = (Array.isArray(tools) ? tools : [])
    .filter(isRecord)
    .filter(({ type }) => typeof type === 'string' && type.startsWith('web_search'))
    .map(({ max_uses: most }) => (typeof most === 'number' && most > 0 ? most : MOST_SEARCHES));
  return limits.length === 0 ? MOST_SEARCHES : limits.reduce((sum, each) => sum + each, 0);
}

/**
 * A usage within what the call can have used, and what of it was beyond that. `shown`: output tokens that the answer
 * itself has shown. Pure.
 */
export function boundUsage(
  usage: Usage,
  bounds: Bounds,
  shown: number,
): { readonly usage: Usage; readonly beyond: readonly Beyond[] } {
  const beyond: Beyond[] = [];
  const limit = (part: Beyond['part'], told: number, bound: number): number => {
    if (told <= bound) return told;
    beyond.push({ part, told, bound });
    return bound;
  };
  const within = (tokens: Tokens, input: number, instead: number, output: number): Tokens => {
    const total = totalInput(tokens);
    const kept = total <= input ? tokens : scaled(tokens, instead);
    if (total > input) beyond.push({ part: 'input', told: total, bound: instead });
    return { ...kept, outputTokens: limit('output', tokens.outputTokens, output) };
  };
  const listed = limit('iterations', usage.iterations.length, MOST_ITERATIONS);
  const iterations = usage.iterations.slice(0, listed).map((entry): Iteration => {
    const isAnswer = entry.type === 'message' || entry.type === 'fallback_message';
    const output = isAnswer ? Math.max(bounds.output, shown) : LONGEST_OUTPUT;
    const [input, instead] = isAnswer
      ? [bounds.input, bounds.inputInstead]
      : [WIDEST_CONTEXT, WIDEST_CONTEXT];
    return { ...entry, ...within(entry, input, instead, output) };
  });
  const rounds = Math.max(bounds.rounds, iterations.length);
  const output = Math.max(bounds.output * rounds, shown);
  const whole = within(usage, bounds.input * rounds, bounds.inputInstead * rounds, output);
  return {
    usage: {
      ...usage,
      ...whole,
      iterations,
      thinkingTokens: Math.min(usage.thinkingTokens, whole.outputTokens),
      webSearches: limit('web_searches', usage.webSearches, bounds.webSearches),
    },
    beyond,
  };
}

/** Input tokens scaled down to `most` in all, each kind in its proportion. */
function scaled(tokens: Tokens, most: number): Tokens {
  const kinds = ['inputTokens', 'cacheReadTokens', 'cacheWrite5mTokens', 'cacheWrite1hTokens'] as const;
  // Each by itself first: infinite numbers have no proportion.
  const capped = kinds.map((kind) => Math.min(tokens[kind], most));
  const factor = most / capped.reduce((sum, each) => sum + each, 0);
  const [inputTokens = 0, cacheReadTokens = 0, cacheWrite5mTokens = 0, cacheWrite1hTokens = 0] = capped.map(
    (each) => Math.floor(each * factor),
  );
  return {
    inputTokens,
    cacheReadTokens,
    cacheWrite5mTokens,
    cacheWrite1hTokens,
    outputTokens: tokens.outputTokens,
  };
}
