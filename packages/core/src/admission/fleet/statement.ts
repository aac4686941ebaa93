import type { Estimator } from '../../estimate/estimator.ts';
import { POINT_MS } from '../../stores/ledger/path.ts';
import type { Candidate, Path, QuotaAsk } from '../../stores/store.ts';
import type { Demand, Flight } from '../flight.ts';

/** What a process tells of its calls: values for messages, made of what it knows. Pure. */

/** Standard deviation of the guess of what a JSON answer has produced, as a share of it. */
const GUESS = 0.2;

/** A tenth of a token is nothing, and a message is half as long without it. */
const round = (value: number) => Math.round(value * 10) / 10;

interface Sums {
  use: number[];
  variance: number[];
  most: number[];
}

const empty = (): Sums => ({
  use: new Array<number>(POINT_MS.length).fill(0),
  variance: new Array<number>(POINT_MS.length).fill(0),
  most: new Array<number>(POINT_MS.length).fill(0),
});

const toPath = ({ use, variance, most }: Sums): Path => ({
  use: use.map(round),
  variance: variance.map(round),
  most: most.map(round),
});

/** What one answer is going to produce from now: its next token comes after `delayMs`. */
function add(sums: Sums, estimator: Estimator, demand: Demand, produced: number, delayMs: number): void {
  const { key } = demand.estimate;
  const perMs = estimator.pace(key.modelClass).tokensPerSecond / 1_000;
  const curve = estimator.curve(key, produced);
  const ceiling = Math.max(0, key.maxTokens - produced);
  for (const [k, ms] of POINT_MS.entries()) {
    const tokens = perMs * (ms - delayMs);
    if (tokens <= 0) continue;
    const mean = curve.mean(tokens);
    sums.use[k] = (sums.use[k] ?? 0) + mean;
    sums.variance[k] = (sums.variance[k] ?? 0) + Math.max(0, curve.square(tokens) - mean * mean);
    sums.most[k] = (sums.most[k] ?? 0) + Math.min(ceiling, tokens);
  }
}

/** What a call is going to produce if it starts now. */
export function pathOf(estimator: Estimator, demand: Demand): Path {
  const sums = empty();
  add(sums, estimator, demand, 0, estimator.pace(demand.estimate.key.modelClass).firstTokenMs);
  return toPath(sums);
}

/** What calls in flight are going to produce, and how far what they have produced is a guess. */
export function pathOfAll(
  estimator: Estimator,
  flights: Iterable<Flight>,
  now: number,
): { path: Path; variance: number } {
  const sums = empty();
  let variance = 0;
  for (const { demand, startedAt, produced } of flights) {
    if (!demand.chargesTokens) continue;
    const { firstTokenMs } = estimator.pace(demand.estimate.key.modelClass);
    const delayMs = produced > 0 ? 0 : Math.max(0, startedAt + firstTokenMs - now);
    add(sums, estimator, demand, produced, delayMs);
    if (!demand.isStreaming) variance += (GUESS * produced) ** 2;
  }
  return { path: toPath(sums), variance };
}

/** A call as the ledger is asked for it. */
export function candidateOf(
  estimator: Estimator,
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
    ...(chargesTokens && isRealtime ? { path: pathOf(estimator, demand) } : {}),
  };
}
