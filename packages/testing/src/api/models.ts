import type { BucketLimits, ModelSpec } from './options.ts';

/** Tokens per text of the tokenizer of Opus 4.7, Sonnet 5, Fable 5, Haiku 5.5 and later, against the one before. */
const NEWER = 1.3;
const M = 1_000_000;

/**
 * Models of November 2026. Cache minima of the 5 line, its tool overheads and image ceilings are not
 * published: those numbers are plausible, and no more.
 */
export const DEFAULT_MODELS: readonly ModelSpec[] = [
  newer('claude-fable-5-2', 'Claude Fable 5.2', 'fable', '2026-11-09'),
  newer('claude-fable-5-1', 'Claude Fable 5.1', 'fable', '2026-09-01'),
  newer('claude-fable-5', 'Claude Fable 5', 'fable', '2026-05-01'),
  newer('claude-opus-5-5', 'Claude Opus 5.5', 'opus', '2026-09-20'),
  newer('claude-sonnet-5-5', 'Claude Sonnet 5.5', 'sonnet', '2026-09-20'),
  newer('claude-haiku-5-5', 'Claude Haiku 5.5', 'haiku', '2026-10-07'),
  newer('claude-opus-5', 'Claude Opus 5', 'opus', '2026-05-20'),
  newer('claude-sonnet-5', 'Claude Sonnet 5', 'sonnet', '2026-05-20', { auto: 354, forced: 474 }),
  newer('claude-opus-4-8', 'Claude Opus 4.8', 'opus', '2026-04-10', { auto: 290, forced: 410 }),
  newer('claude-opus-4-7', 'Claude Opus 4.7', 'opus', '2026-03-01', { auto: 675, forced: 804 }),
  older('claude-opus-4-6', 'Claude Opus 4.6', 'opus', '2026-02-05', {
    maxInputTokens: M,
    cacheMinTokens: 4096,
  }),
  older('claude-sonnet-4-6', 'Claude Sonnet 4.6', 'sonnet', '2026-02-17', {
    maxInputTokens: M,
    cacheMinTokens: 2048,
  }),
  older('claude-haiku-4-5-20251001', 'Claude Haiku 4.5', 'haiku', '2025-10-01', { cacheMinTokens: 4096 }),
  older('claude-opus-4-5-20251101', 'Claude Opus 4.5', 'opus', '2025-11-01', {
    cacheMinTokens: 4096,
    lifecycle: 'deprecated',
    deprecatedAt: '2026-10-22T00:00:00Z',
    retiresAt: '2027-01-22T00:00:00Z',
  }),
  older('claude-sonnet-4-5-20250929', 'Claude Sonnet 4.5', 'sonnet', '2025-09-29', {
    lifecycle: 'deprecated',
    deprecatedAt: '2026-08-30T00:00:00Z',
    retiresAt: '2026-11-30T00:00:00Z',
  }),
  older('claude-3-5-haiku-20241022', 'Claude Haiku 3.5', 'haiku', '2024-10-22', {
    lifecycle: 'retired',
    deprecatedAt: '2025-12-19T00:00:00Z',
    retiresAt: '2026-02-19T00:00:00Z',
    maxTokens: 8192,
  }),
];

/** Wide enough that nobody meets them by accident: the published numbers of the largest public tier. */
const WIDE = { requestsPerMinute: 10_000, inputTokensPerMinute: 10 * M, outputTokensPerMinute: 2 * M };

/** One bucket per class of models. Opus 4.x and Sonnet 4.x share theirs; the others stand alone. */
export const DEFAULT_LIMITS: readonly BucketLimits[] = [
  { name: 'opus-4', models: ['claude-opus-4*'], ...WIDE },
  { name: 'sonnet-4', models: ['claude-sonnet-4*'], ...WIDE },
  { name: 'haiku-4-5', models: ['claude-haiku-4-5*'], ...WIDE },
  { name: 'opus-5-5', models: ['claude-opus-5-5*'], ...WIDE },
  { name: 'sonnet-5-5', models: ['claude-sonnet-5-5*'], ...WIDE },
  { name: 'haiku-5-5', models: ['claude-haiku-5-5*'], ...WIDE },
  { name: 'opus-5', models: ['claude-opus-5', 'claude-opus-5-20*'], ...WIDE },
  { name: 'sonnet-5', models: ['claude-sonnet-5', 'claude-sonnet-5-20*'], ...WIDE },
  {
    name: 'fable-5',
    models: ['claude-fable-5*', 'claude-mythos-5*'],
    requestsPerMinute: 4_000,
    inputTokensPerMinute: 4 * M,
    outputTokensPerMinute: 800_000,
  },
];

/** The model by that id or alias. A dated id answers to its undated name too. */
export function findModel(models: readonly ModelSpec[], id: string): ModelSpec | undefined {
  return models.find(
    (model) => model.id === id || model.aliases?.includes(id) || model.id.replace(/-\d{8}$/, '') === id,
  );
}

function newer(
  id: string,
  displayName: string,
  line: string,
  released: string,
  toolOverhead = { auto: 320, forced: 440 },
): ModelSpec {
  return {
    id,
    displayName,
    line,
    createdAt: `${released}T00:00:00Z`,
    maxTokens: 128_000,
    maxInputTokens: M,
    tokenFactor: NEWER,
    imageMaxTokens: 4_784,
    toolOverhead,
  };
}

function older(
  id: string,
  displayName: string,
  line: string,
  released: string,
  over: Partial<ModelSpec>,
): ModelSpec {
  return {
    id,
    displayName,
    line,
    createdAt: `${released}T00:00:00Z`,
    maxTokens: 64_000,
    maxInputTokens: 200_000,
    toolOverhead: { auto: 496, forced: 588 },
    ...over,
  };
}
