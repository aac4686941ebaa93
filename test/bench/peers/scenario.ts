import type { BucketLimits, Latency } from '@headgate/testing';
import { lognormal, seeded } from '../../../packages/cli/src/plan/random.ts';

/** The account, and who sends what and when: from one seed, so that every contender meets the same calls. */

export const MODEL = 'claude-sonnet-4-6';
export const SEED = 1;
/** Seconds in which calls come. */
export const SECONDS = 60;
/** Seconds until a call has failed that was not answered: nobody at a screen waits longer. Jobs wait to the end. */
export const PATIENCE = 20;
/** Seconds that an urgent call may wait, so that there is time for its answer: an operator tells this to whatever can be told it. */
export const MAX_WAIT = PATIENCE - 5;
/** Seconds after the last call at which everything open has failed. */
export const TAIL = 15;
/** Times what the limit of output lets through. */
export const OVERLOAD = 2;

/** Small, so that two cores have time to spare for it: eleven answers a second. */
export const LIMITS = {
  name: 'sonnet-4',
  models: ['claude-sonnet-4-*'],
  requestsPerMinute: 840,
  inputTokensPerMinute: 600_000,
  outputTokensPerMinute: 120_000,
  burstSeconds: 6,
} satisfies BucketLimits;

/** Answers as chat has them, cut by `max_tokens`. */
export const MAX_TOKENS = 400;
const MEAN_TOKENS = 200;
const SPREAD = 0.75;

export const LATENCY: Latency = {
  timeToFirstTokenMs: (random) => lognormal(random, 300, 0.3),
  tokensPerSecond: (random) => lognormal(random, 80, 0.2),
};

const MEAN_ANSWER = meanOf(draws(10_000, seeded(0)));

/** What an operator knows of these calls after a while, and tunes a limiter with. */
export const KNOWN = {
  /** Output, of the limit. */
  tokensPerSecond: LIMITS.outputTokensPerMinute / 60,
  burstTokens: (LIMITS.outputTokensPerMinute / 60) * LIMITS.burstSeconds,
  meanAnswerTokens: Math.round(MEAN_ANSWER),
  /** Answers that run at once when the limit is used up, by Little's law: each takes its time to the first token, and 80 tokens a second. */
  concurrency: Math.floor((LIMITS.outputTokensPerMinute / 60 / MEAN_ANSWER) * (0.3 + MEAN_ANSWER / 80)),
};

export const CLASSES = ['stream', 'JSON', 'background', 'flooding'] as const;
export type CallClass = (typeof CLASSES)[number];

/** A call of the scenario. */
export interface Ask {
  /** Milliseconds from the start. */
  readonly atMs: number;
  readonly user: string;
  readonly callClass: CallClass;
  readonly streams: boolean;
  readonly prompt: string;
  /** Tokens that the API answers with; the prompt says so too, which is how it knows. */
  readonly answerTokens: number;
}

export const isUrgent = ({ callClass }: Pick<Ask, 'callClass'>) => callClass !== 'background';

/** The equal users: half of their calls stream, half do not. */
const USERS = 10;
/** Shares of the limit of output that are asked for. */
const LOAD = { users: 0.75, background: 0.3, flooding: OVERLOAD - 1.05 };
/** The dump: when, and how long it takes to hand it over, as shares of the time. */
const DUMP = { at: 1 / 6, within: 1 / 30 };

const TOPIC =
  'The lock keeper reads the gauge before the gate moves, and opens it as far as the canal can carry. ';

/** Calls for so many seconds, in order of time. Pure. */
export function planTraffic(seconds = SECONDS, seed = SEED): Ask[] {
  const random = seeded(seed);
  const anyTime = () => random() * seconds * 1_000;
  const answers = (load: number, draw: () => number) =>
    answersFor((load * LIMITS.outputTokensPerMinute * seconds) / 60, draw);
  const asks: Omit<Ask, 'prompt'>[] = [];
  for (let user = 1; user <= USERS; user++) {
    // The same lengths for each of them, in an order of his own: they are equals.
    const lengths = shuffled(answers(LOAD.users / USERS, seeded(seed + 1)), random);
    for (const [i, answerTokens] of lengths.entries()) {
      const streams = i % 2 === 0;
      const callClass = streams ? 'stream' : 'JSON';
      asks.push({ atMs: anyTime(), user: `user-${user}`, callClass, streams, answerTokens });
    }
  }
  for (const answerTokens of answers(LOAD.background, random)) {
    const atMs = (DUMP.at + random() * DUMP.within) * seconds * 1_000;
    asks.push({ atMs, user: 'import', callClass: 'background', streams: false, answerTokens });
  }
  for (const [i, answerTokens] of answers(LOAD.flooding, random).entries()) {
    const streams = i % 2 === 0;
    asks.push({ atMs: anyTime(), user: 'flood', callClass: 'flooding', streams, answerTokens });
  }
  return asks
    .toSorted((a, b) => a.atMs - b.atMs)
    .map((ask, i) => ({ ...ask, prompt: promptOf(ask.callClass, ask.answerTokens, i) }));
}

function promptOf(callClass: CallClass, answerTokens: number, number: number): string {
  const ask = `(call ${number}) Answer in about ${answerTokens} tokens: `;
  return callClass === 'background'
    ? `${ask}what is this text about? ${TOPIC.repeat(30)}`
    : `${ask}how does a lock work? ${TOPIC}`;
}

/** The length asked for, out of the body of a request. */
export function answerTokensIn(body: string): number {
  const found = /in about (\d+) tokens/.exec(body)?.[1];
  if (found === undefined) throw new TypeError(`no length in the prompt: ${body.slice(0, 200)}`);
  return Number(found);
}

/** Lengths of answers that make up so many tokens. */
function answersFor(tokens: number, random: () => number): number[] {
  const lengths: number[] = [];
  for (let sum = 0; sum < tokens; sum += lengths.at(-1) ?? 0) lengths.push(...draws(1, random));
  return lengths;
}

function draws(count: number, random: () => number): number[] {
  return Array.from({ length: count }, () =>
    Math.min(MAX_TOKENS, Math.max(1, Math.round(lognormal(random, MEAN_TOKENS, SPREAD)))),
  );
}

function meanOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function shuffled<T>(values: readonly T[], random: () => number): T[] {
  return values
    .map((value) => ({ value, key: random() }))
    .toSorted((a, b) => a.key - b.key)
    .map(({ value }) => value);
}
