import type Anthropic from '@anthropic-ai/sdk';

export const MODEL = 'claude-sonnet-4-6';

export function ask(content = 'hello', more: Partial<Anthropic.MessageCreateParamsNonStreaming> = {}) {
  return {
    model: MODEL,
    max_tokens: 200,
    messages: [{ role: 'user', content }],
    ...more,
  } satisfies Anthropic.MessageCreateParamsNonStreaming;
}
