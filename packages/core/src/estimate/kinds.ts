import type { InputFeatures } from './content.ts';

/** Kinds of content, each of which an account may count otherwise than is assumed here. */
export const KINDS = ['text', 'wide', 'json', 'media', 'remote'] as const;
export type Kind = (typeof KINDS)[number];
export type TokensByKind = Readonly<Record<Kind, number>>;

/** Start values; what an account really counts is learned (see `ratios.ts`). */
const CHARS_PER_TOKEN = {
  older: { ascii: 3.8, wide: 1.1, json: 3 },
  newer: { ascii: 2.9, wide: 0.9, json: 2.3 },
};
const TOKENS_PER_MESSAGE = 4;
/** The system prompt that the API adds when there are tools. */
const TOOLS_PREAMBLE_TOKENS = 490;

/** Tokens, before any learned correction. */
export function tokensByKind(features: InputFeatures, tokenizer: 'older' | 'newer'): TokensByKind {
  const per = CHARS_PER_TOKEN[tokenizer];
  return {
    text:
      features.ascii / per.ascii +
      features.messages * TOKENS_PER_MESSAGE +
      (features.tools > 0 ? TOOLS_PREAMBLE_TOKENS : 0),
    wide: features.wide / per.wide,
    json: features.json / per.json,
    media: features.media,
    remote: features.remote,
  };
}

/** The same of all kinds together. */
export const countTokens = (features: InputFeatures, tokenizer: 'older' | 'newer'): number =>
  sumOf(tokensByKind(features, tokenizer));

export const sumOf = (tokens: TokensByKind): number =>
  Math.ceil(KINDS.reduce((sum, kind) => sum + tokens[kind], 0));
