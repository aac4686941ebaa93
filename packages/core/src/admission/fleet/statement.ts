import type { Estimator } from '../../estimate/estimator.ts';
import type { Candidate, Path, QuotaAsk } from '../../stores/store.ts';
import type { Demand, Flight } from '../flight.ts';
import { pathOf } from '../output-rule.ts';

/** What a process tells of its calls: values for messages, made of what it knows. Pure. */

/** Standard deviation of the guess of what a JSON answer has produced, as a share of it. */
const GUESS = 0.2;

/** How far what calls in flight have produced is a guess: the variance of its sum. */
export function guessOf(flights: Iterable<Flight>): number {
  let variance = 0;
  for (const { demand, produced } of flights)
    if (demand.chargesTokens && !demand.isStreaming) variance += (GUESS * produced) ** 2;
  return variance;
}

/** Paths of calls that start now. Those that answer alike have one, and a message carries it once. */
export function startingPaths(estimator: Estimator): (demand: Demand) => Path {
  const byKind = new Map<unknown, Map<number, Path>>();
  return (demand) => {
    const { key } = demand.estimate;
    const kind = estimator.kindOf(key);
    const ofKind = byKind.get(kind) ?? new Map<number, Path>();
    const path = ofKind.get(key.maxTokens) ?? pathOf(estimator, demand);
    byKind.set(kind, ofKind.set(key.maxTokens, path));
    return path;
  };
}

/** A call as the ledger is asked for it. */
export function candidateOf(
  starting: (demand: Demand) => Path,
  demand: Demand,
  isRealtime: boolean,
  rest: Pick<Candidate, 'id' | 'lane' | 'user' | 'cost' | 'waitedMs' | 'isQueued' | 'tag'> & {
    quotas: readonly QuotaAsk[];
  },
): Candidate {
  const { inputTokens, leastInputTokens, maxOutputTokens } = demand.estimate;
  const { chargesTokens } = demand;
  const certain = chargesTokens ? Math.min(leastInputTokens, inputTokens) : 0;
  return {
    ...rest,
    chargesTokens,
    inputTokens: certain,
    inputHeld: chargesTokens ? inputTokens - certain : 0,
    outputTokens: chargesTokens && !isRealtime ? maxOutputTokens : 0,
    ...(chargesTokens && isRealtime ? { path: starting(demand) } : {}),
  };
}
