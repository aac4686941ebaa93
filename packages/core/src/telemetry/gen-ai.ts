import type { InstrumentSpec } from './instruments.ts';

/**
 * The metrics of the GenAI conventions: those of the latest, and those of v1.41 that they have replaced. They speak of
 * calls and not of attempts, as the conventions do: what was handled is no error.
 */
const SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864];

const ASKED = [
  'genAiOperation',
  'genAiProvider',
  'genAiRequestModel',
  'serverAddress',
  'serverPort',
] as const;
const COMMON = [...ASKED, 'genAiResponseModel'] as const;

const seconds = { kind: 'histogram', unit: 's', buckets: SECONDS } as const;
const usage = { kind: 'counter', unit: '{token}', labels: [...COMMON, 'genAiModality'] } as const;
const perCall = { kind: 'histogram', unit: '{token}', buckets: TOKENS } as const;

export const GEN_AI_INSTRUMENTS = {
  inferenceDuration: {
    ...seconds,
    name: 'gen_ai.client.inference.duration',
    labels: [...COMMON, 'errorType'],
    description: 'Duration of a GenAI call',
    question: 'How long do calls take, next to those of other providers?',
  },
  firstChunk: {
    ...seconds,
    name: 'gen_ai.client.inference.time_to_first_chunk',
    labels: COMMON,
    description:
      'Time from the arrival of a call to the first chunk of its answer that has content; streams only',
    question: 'How long does a reader look at an empty page?',
  },
  chunkInterval: {
    ...seconds,
    name: 'gen_ai.client.inference.time_per_output_chunk',
    labels: ASKED,
    description: 'Time between two chunks of a streamed answer, as they come over the wire',
    question: 'Do answers flow evenly?',
  },
  inputTokens: {
    ...usage,
    name: 'gen_ai.client.inference.usage.input_tokens',
    description: 'Input tokens, cached ones included; 0 for a call without usage',
    question: 'How many tokens go in?',
  },
  outputTokens: {
    ...usage,
    name: 'gen_ai.client.inference.usage.output_tokens',
    description: 'Output tokens; 0 for a call without usage',
    question: 'How many tokens come out?',
  },
  cacheReadTokens: {
    ...usage,
    name: 'gen_ai.client.inference.usage.cache_read.input_tokens',
    description: 'Input tokens read from the cache; part of the input tokens',
    question: 'How much of the prompts comes from the cache?',
  },
  cacheWriteTokens: {
    ...usage,
    name: 'gen_ai.client.inference.usage.cache_write.input_tokens',
    description: 'Input tokens written to the cache; part of the input tokens',
    question: 'How much is written to the cache, at its higher price?',
  },
  reasoningTokens: {
    ...usage,
    name: 'gen_ai.client.inference.usage.reasoning.output_tokens',
    description: 'Output tokens of thinking; part of the output tokens, where the API tells them apart',
    question: 'How much of the output is thinking?',
  },
  inputPerCall: {
    ...perCall,
    name: 'gen_ai.client.inference.operation.input_tokens',
    labels: COMMON,
    description: 'Input tokens of one call',
    question: 'How large are prompts?',
  },
  outputPerCall: {
    ...perCall,
    name: 'gen_ai.client.inference.operation.output_tokens',
    labels: COMMON,
    description: 'Output tokens of one call',
    question: 'How long are answers?',
  },
  operationDuration: {
    ...seconds,
    name: 'gen_ai.client.operation.duration',
    labels: [...COMMON, 'errorType'],
    description: 'Duration of a GenAI call (conventions v1.41)',
    question: 'As `gen_ai.client.inference.duration`, for dashboards of v1.41',
  },
  operationFirstChunk: {
    ...seconds,
    name: 'gen_ai.client.operation.time_to_first_chunk',
    labels: COMMON,
    description: 'Time to the first chunk of a streamed answer (conventions v1.41)',
    question: 'As `gen_ai.client.inference.time_to_first_chunk`, for dashboards of v1.41',
  },
  operationChunkInterval: {
    ...seconds,
    name: 'gen_ai.client.operation.time_per_output_chunk',
    labels: ASKED,
    description: 'Time between two chunks of a streamed answer (conventions v1.41)',
    question: 'As `gen_ai.client.inference.time_per_output_chunk`, for dashboards of v1.41',
  },
  tokenUsage: {
    ...perCall,
    name: 'gen_ai.client.token.usage',
    labels: [...COMMON, 'genAiTokenType'],
    description: 'Tokens of a GenAI call (conventions v1.41)',
    question: 'As the token metrics above, for dashboards of v1.41',
  },
} as const satisfies Record<string, InstrumentSpec>;
