import { ANSWER, LIMITS, MAX_TOKENS } from './scenario.ts';

/** Who sends what and when: decided before anything runs, from one seed, so that both runs see the same calls. */

export const CLASSES = ['ordinary', 'background', 'flooding'] as const;
export type CallerClass = (typeof CLASSES)[number];
type Path = '/chat' | '/chat/stream' | '/summarize';

export interface PlannedCall {
  /** Milliseconds after the start of the run. */
  readonly atMs: number;
  readonly user: string;
  readonly callerClass: CallerClass;
  readonly path: Path;
  readonly prompt: string;
  /** Tokens that the fake model answers with; in the prompt too, which is how the API knows. */
  readonly answerTokens: number;
}

/** How many users a class has, and how much they send in all, as a share of the limit of output tokens. */
interface ClassPlan {
  readonly users: number;
  readonly load: number;
  readonly paths: readonly Path[];
}

const PLANS: Record<CallerClass, ClassPlan> = {
  // Below the limit: a gate that shares fairly can serve all of them.
  ordinary: { users: 8, load: 0.75, paths: ['/chat', '/chat/stream'] },
  background: { users: 2, load: 0.3, paths: ['/summarize'] },
  // As much as all others together.
  flooding: { users: 1, load: 1.05, paths: ['/chat', '/chat/stream'] },
};

/** Calls for `seconds`, in order of time. Pure. */
export function planTraffic(seconds: number, seed: number): PlannedCall[] {
  const random = createRandom(seed);
  const callsPerSecond = LIMITS.outputTokensPerMinute / 60 / meanAnswerTokens();
  const calls = CLASSES.flatMap((callerClass) => {
    const { users, load, paths } = PLANS[callerClass];
    const each = Math.max(1, Math.round((load * callsPerSecond * seconds) / users));
    return range(users).flatMap((index) =>
      range(each).map(() => ({
        // So many at even random times: a Poisson process whose number of calls is known.
        atMs: random() * seconds * 1_000,
        user: `${callerClass}-${index + 1}`,
        callerClass,
        path: pick(paths, random),
        answerTokens: answerTokensAt(random()),
      })),
    );
  });
  return calls
    .toSorted((a, b) => a.atMs - b.atMs)
    .map((call, index) => ({ ...call, prompt: promptOf(call.path, call.answerTokens, `call ${index}`) }));
}

/** One user alone: `count` calls over `seconds`. Their lengths are even quantiles, so that 20 of them show the p95 of all. */
export function planBaseline(count: number, seconds: number, seed: number): PlannedCall[] {
  const random = createRandom(seed ^ 0x5eed);
  const lengths = shuffled(
    range(count).map((index) => answerTokensAt((index + 0.5) / count)),
    random,
  );
  return lengths.map((answerTokens, index) => {
    const path: Path = index % 2 === 0 ? '/chat' : '/chat/stream';
    return {
      atMs: (index / count) * seconds * 1_000,
      user: 'alone',
      callerClass: 'ordinary',
      path,
      answerTokens,
      prompt: promptOf(path, answerTokens, `idle call ${index}`),
    };
  });
}

/** Output tokens that `calls` ask for. */
export const tokensOf = (calls: readonly PlannedCall[]): number =>
  calls.reduce((sum, call) => sum + call.answerTokens, 0);

/** The length asked for, out of the prompt of a planned call; the fake API answers with as many tokens. */
export function answerTokensIn(prompt: string): number | undefined {
  const found = /in about (\d+) tokens/.exec(prompt)?.[1];
  return found === undefined ? undefined : Number(found);
}

const TOPIC =
  'The lock keeper reads the gauge before the gate moves, and opens it no further than the canal can carry. ';

function promptOf(path: Path, answerTokens: number, name: string): string {
  const ask = `(${name}) Answer in about ${answerTokens} tokens: `;
  return path === '/summarize'
    ? `${ask}what is this text about? ${TOPIC.repeat(30)}`
    : `${ask}how does a lock work? ${TOPIC}`;
}

/** Quantile `p` of the lengths: lognormal, and cut where `max_tokens` cuts. */
function answerTokensAt(p: number): number {
  const tokens = ANSWER.medianTokens * Math.exp(ANSWER.sigma * normalQuantile(p));
  return Math.min(MAX_TOKENS, Math.max(1, Math.round(tokens)));
}

/** By the midpoint rule, which is exact enough for a rate. */
function meanAnswerTokens(): number {
  const steps = 1_000;
  return range(steps).reduce((sum, index) => sum + answerTokensAt((index + 0.5) / steps), 0) / steps;
}

/** Inverse of the normal distribution, as Tukey's lambda has it: within 0.01 up to the quantiles that `max_tokens` leaves. */
function normalQuantile(p: number): number {
  const clamped = Math.min(1 - 1e-6, Math.max(1e-6, p));
  return (clamped ** 0.1349 - (1 - clamped) ** 0.1349) / 0.1975;
}

/** mulberry32: small, and the same on every machine. */
function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const range = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

function pick<T>(values: readonly T[], random: () => number): T {
  const value = values[Math.floor(random() * values.length)];
  if (value === undefined) throw new RangeError('pick: expected at least one value');
  return value;
}

function shuffled<T>(values: readonly T[], random: () => number): T[] {
  return values
    .map((value) => ({ value, key: random() }))
    .toSorted((a, b) => a.key - b.key)
    .map(({ value }) => value);
}
