import { compileGlobs } from '@headgate/core/simulation';
import type { AccountBucket } from './traffic.ts';

/** The day on which the limits below were read off the provider's page of rate limits. */
export const TIERS_DATE = '2026-11-24';

type Limits = Pick<AccountBucket, 'requestsPerMinute' | 'inputTokensPerMinute' | 'outputTokensPerMinute'>;

const limits = (requests: number, input: number, output: number): Limits => ({
  requestsPerMinute: requests,
  inputTokensPerMinute: input,
  outputTokensPerMinute: output,
});

const M = 1_000_000;

/**
 * What Anthropic publishes of its tiers, the smallest first. An account's own limits may be others, and are what its
 * response headers say. Evaluation and Custom have none that are published.
 */
const TIERS = [
  { name: 'Start', usual: limits(1_000, 2 * M, 400_000), fable: limits(1_000, 500_000, 100_000) },
  { name: 'Build', usual: limits(5_000, 5 * M, 1 * M), fable: limits(2_000, 1.5 * M, 300_000) },
  { name: 'Scale', usual: limits(10_000, 10 * M, 2 * M), fable: limits(4_000, 4 * M, 800_000) },
] as const;

/** In the order of their size. */
export const TIER_NAMES = TIERS.map(({ name }) => name);

/** Each of these classes of models has one bucket with the usual limits. Of Opus 5.5, Sonnet 5.5 and Haiku 5.5 none are published. */
const USUAL = compileGlobs([
  'claude-opus-4*',
  'claude-sonnet-4*',
  'claude-haiku-4-5*',
  'claude-opus-5',
  'claude-opus-5-2*',
  'claude-sonnet-5',
  'claude-sonnet-5-2*',
]);
const FABLE = compileGlobs(['claude-fable-5*']);

/** The limits of a bucket under each published tier, the smallest first; nothing where none are published for its models. */
export function tiersOf(models: readonly string[]): readonly Limits[] | undefined {
  // A pattern stands for the models that it names: `claude-sonnet-4-*` for Sonnet 4.
  const isAll = (matches: (model: string) => boolean) => models.every((model) => matches(model));
  const kind = isAll(USUAL) ? 'usual' : isAll(FABLE) ? 'fable' : undefined;
  return kind && TIERS.map((tier) => tier[kind]);
}
