/**
 * What is known of models apart from their prices (`prices.ts`). Limits of an account are not here: they differ by
 * account and are learned from response headers.
 */
export interface Model {
  /**
   * Glob over model ids. A model that is newer than the table falls under the pattern of its line, which is safe for
   * what stands here: limits of a bucket are learned, and a prefix that is too short is marked in vain. It would not be
   * safe for money, so prices go by exact ids.
   */
  readonly match: string;
  /** Models of one class draw on one upstream bucket. */
  readonly class: string;
  /** Ceiling of `max_tokens`. */
  readonly maxOutputTokens: number;
  /** What a prompt and its answer may come to together. */
  readonly contextTokens: number;
  /** Kinds of `thinking` that it takes, apart from none. */
  readonly thinking: readonly ThinkingKind[];
  /** Tokens. The API silently does not cache a shorter prefix. Where no minimum is published: the largest known. */
  readonly cacheMinTokens: number;
  /** Which of the provider's two tokenizers counts: the newer finds about 1.3 times the tokens in the same text. */
  readonly tokenizer: 'older' | 'newer';
}

export type ThinkingKind = 'enabled' | 'adaptive' | 'between_tools';

const M = 1_000_000;
const BUDGET: readonly ThinkingKind[] = ['enabled'];
const ADAPTIVE: readonly ThinkingKind[] = ['adaptive', 'between_tools'];
const BOTH: readonly ThinkingKind[] = [...BUDGET, ...ADAPTIVE];

/** The largest minimum that is known: of Opus 4.5, Opus 4.6 and Haiku 4.5. */
const LARGEST_CACHE_MIN = 4_096;
const NEWER = {
  tokenizer: 'newer',
  maxOutputTokens: 128_000,
  contextTokens: M,
  thinking: ADAPTIVE,
  cacheMinTokens: LARGEST_CACHE_MIN,
} as const;
const OLDER = { tokenizer: 'older', maxOutputTokens: 64_000, cacheMinTokens: LARGEST_CACHE_MIN } as const;
const OLDEST = { ...OLDER, contextTokens: 200_000, thinking: BUDGET } as const;

/**
 * First match wins, so the longer patterns stand first. Sources of `cacheMinTokens`: github.com/BerriAI/litellm
 * discussion 39163 and dev.to/creeta/claudes-prompt-cache-fails-silently-below-1024-tokens-1ch1; for the 5.5 line and
 * Mythos `prompt_cache_min_tokens` of LiteLLM 1.110.2; for Fable 5.2 and Mythos 5.2 none was found.
 */
export const MODELS: readonly Model[] = [
  { match: 'claude-opus-5-5*', class: 'opus-5-5', ...NEWER, cacheMinTokens: 512 },
  { match: 'claude-opus-5*', class: 'opus-5', ...NEWER, cacheMinTokens: 512 },
  { match: 'claude-opus-4-8*', class: 'opus-4', ...NEWER, thinking: BOTH, cacheMinTokens: 1_024 },
  { match: 'claude-opus-4-7*', class: 'opus-4', ...NEWER, thinking: BOTH, cacheMinTokens: 2_048 },
  { match: 'claude-opus-4-6*', class: 'opus-4', ...OLDER, contextTokens: M, thinking: BOTH },
  { match: 'claude-opus-4-*', class: 'opus-4', ...OLDEST },
  { match: 'claude-sonnet-5-5*', class: 'sonnet-5-5', ...NEWER, cacheMinTokens: 512 },
  { match: 'claude-sonnet-5*', class: 'sonnet-5', ...NEWER, cacheMinTokens: 1_024 },
  {
    match: 'claude-sonnet-4-6*',
    class: 'sonnet-4',
    ...OLDER,
    contextTokens: M,
    thinking: BOTH,
    cacheMinTokens: 2_048,
  },
  { match: 'claude-sonnet-4-*', class: 'sonnet-4', ...OLDEST, cacheMinTokens: 1_024 },
  { match: 'claude-haiku-5-5*', class: 'haiku-5-5', ...NEWER, cacheMinTokens: 512 },
  { match: 'claude-haiku-4-5*', class: 'haiku-4-5', ...OLDEST },
  { match: 'claude-fable-5-2*', class: 'fable-5', ...NEWER },
  { match: 'claude-fable-5*', class: 'fable-5', ...NEWER, cacheMinTokens: 512 },
  { match: 'claude-mythos-5-2*', class: 'mythos-5', ...NEWER },
  { match: 'claude-mythos-5*', class: 'mythos-5', ...NEWER, cacheMinTokens: 512 },
];
