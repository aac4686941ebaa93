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

/** An answer of the API to such a question, as a body. */
export const ANSWER = {
  id: 'msg_1',
  type: 'message',
  role: 'assistant',
  model: MODEL,
  content: [],
  stop_reason: 'end_turn',
  usage: { input_tokens: 5, output_tokens: 5 },
};
