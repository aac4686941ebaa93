import type { Utilization } from '@headgate/testing';
import type { Ended } from './messages.ts';
import { type CallClass, CLASSES } from './scenario.ts';

/** Of the calls of one class. Times in milliseconds from arrival to the last byte, of those that were answered. */
export interface ClassFigures {
  readonly calls: number;
  readonly answered: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

/** What is told of one contender. */
export interface Figures {
  readonly name: string;
  /** While calls came, of what the account can give at most. */
  readonly used: Utilization;
  readonly attempts: number;
  readonly status429: number;
  readonly classes: Readonly<Record<CallClass, ClassFigures>>;
  /** Of tokens answered, over the equal users. */
  readonly jain: number;
  /** The longest time in which one had calls open and none was answered, in milliseconds. */
  readonly starved: { readonly users: number; readonly background: number };
  /** Of the contender's process, the SDK in it and what makes the calls. */
  readonly cpuMsPerAnswer: number;
  readonly rss: number;
  /** Whether the machine had time to spare: shares of one core, and milliseconds. */
  readonly busy: { readonly contender: number; readonly api: number; readonly loopDelayMs: number };
}

export function classFigures(ended: readonly Ended[]): Record<CallClass, ClassFigures> {
  const of = (callClass: CallClass): ClassFigures => {
    const calls = ended.filter((each) => each.callClass === callClass);
    const times = calls
      .filter(({ isAnswered }) => isAnswered)
      .map(({ atMs, endMs }) => endMs - atMs)
      .toSorted((a, b) => a - b);
    return {
      calls: calls.length,
      answered: times.length,
      p50: quantile(times, 0.5),
      p95: quantile(times, 0.95),
      p99: quantile(times, 0.99),
    };
  };
  return Object.fromEntries(CLASSES.map((name) => [name, of(name)])) as Record<CallClass, ClassFigures>;
}

/** The nearest rank: always a value that occurred. 0 where there is none. */
function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0;
}

export const isEqualUser = ({ callClass }: Ended) => callClass === 'stream' || callClass === 'JSON';

/** Jain's index of the tokens that each equal user was answered with: 1 where all got the same. */
export function jainOf(ended: readonly Ended[]): number {
  const tokens = new Map<string, number>();
  for (const { user, isAnswered, answerTokens } of ended.filter(isEqualUser))
    tokens.set(user, (tokens.get(user) ?? 0) + (isAnswered ? answerTokens : 0));
  const values = [...tokens.values()];
  const sum = values.reduce((total, value) => total + value, 0);
  const squares = values.reduce((total, value) => total + value * value, 0);
  return squares === 0 ? 1 : (sum * sum) / (values.length * squares);
}

/** The longest time in which one of these users had a call open and got no answer. */
export function longestStarvation(ended: readonly Ended[]): number {
  const users = Map.groupBy(ended, ({ user }) => user);
  return Math.max(0, ...[...users.values()].map(starvationOf));
}

function starvationOf(calls: readonly Ended[]): number {
  const moments = calls
    .flatMap(({ atMs, endMs, isAnswered }) => [
      { at: atMs, opens: 1, isAnswer: false },
      { at: endMs, opens: -1, isAnswer: isAnswered },
    ])
    .toSorted((a, b) => a.at - b.at || b.opens - a.opens);
  let open = 0;
  let since = 0;
  let longest = 0;
  for (const { at, opens, isAnswer } of moments) {
    if (open > 0) longest = Math.max(longest, at - since);
    if (open === 0 || isAnswer) since = at;
    open += opens;
  }
  return longest;
}
