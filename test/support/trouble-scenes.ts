import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor, type Governor, QuotaExceededError } from '@headgate/core';
import { type Fault, type ReceivedRequest, startClaudeApi } from '@headgate/testing';
import { expect } from 'vitest';
import { ask, MODEL } from './ask.ts';
import { pause } from './governed.ts';

/** Scenes of one caller, A, whose calls go wrong on an API that answers everybody else well. */
export interface TroubleScene {
  readonly what: string;
  /** What the API does to A's requests. */
  readonly faults?: readonly Fault[];
  /** How A asks. */
  readonly asks?: (n: number) => Partial<Anthropic.MessageCreateParamsNonStreaming> & { speed?: 'fast' };
  readonly options?: Anthropic.RequestOptions;
  /** A hangs up after so many milliseconds. */
  readonly hangsUpMs?: number;
  /** A's own client. */
  readonly client?: ConstructorParameters<typeof Anthropic>[0];
  readonly config?: ConfigInput;
  /** The prompts of all, left out: a short one. */
  readonly prompt?: string;
  /** Milliseconds that an answer takes. */
  readonly answerMs?: number;
  /** Calls of A's before the others come, left out: sixty. */
  readonly times?: number;
  /** The first attempt of one of the others fails as well. */
  readonly othersFailOnce?: boolean;
}

/** What became of a call of somebody else. */
export interface OtherEnd {
  readonly outcome: string;
  readonly model: string;
  readonly attempts: number;
  /** Milliseconds from the call to its first attempt. */
  readonly waitedMs: number;
  /** The same of a call at the same time without a governor: what the machine itself takes. */
  readonly bareMs: number;
}

const OTHERS = 20;
const FIRST_OF_A = 60;
const PACE_MS = 12;
const PLENTY = { 'retry-after': '45' };
const HEADERS = ['anthropic-ratelimit-*'];
const status = (code: number, more: object = {}): Fault => ({ kind: 'status', status: code, ...more });
const LONG = `${'word '.repeat(2_000)}`;

/** The table of the issue first, then more of the kind. */
export const TROUBLE_SCENES: readonly TroubleScene[] = [
  { what: 'a request that the API always answers with 500', faults: [status(500)] },
  { what: 'a request that fails for fast mode only', faults: [status(529)], asks: () => ({ speed: 'fast' }) },
  { what: 'a request at which the connection is cut', faults: [{ kind: 'reset', at: 'before-headers' }] },
  { what: 'a time-out of 100 ms where answers take 400', options: { timeout: 100 }, answerMs: 400 },
  {
    what: 'a file that is gone',
    faults: [status(404, { message: 'File not found: file_011CQ' })],
  },
  { what: 'failures that use up the retry budget', faults: [status(503)], othersFailOnce: true },
  {
    what: 'a 429 with a time, with headers that show plenty',
    faults: [
      status(429, {
        headers: {
          ...PLENTY,
          'anthropic-ratelimit-requests-limit': '60000',
          'anthropic-ratelimit-requests-remaining': '59000',
        },
      }),
    ],
  },
  {
    what: 'a fetch of the own app that throws',
    client: {
      fetch: () => Promise.reject(new TypeError("Cannot read properties of undefined (reading 'id')")),
    },
  },
  {
    what: 'a second governor inside that refuses',
    client: {
      fetch: () =>
        Promise.reject(
          new QuotaExceededError('used up', { reason: 'user_quota', rule: 'inner', retryAfterMs: 1_000 }),
        ),
    },
  },
  {
    what: 'a 429 for fast mode',
    faults: [status(429, { headers: PLENTY })],
    asks: () => ({ speed: 'fast' }),
  },
  {
    what: 'a 429 with a time and without headers',
    faults: [status(429, { headers: PLENTY }), { kind: 'headers', remove: HEADERS }],
  },
  {
    what: 'a prompt that count_tokens refuses',
    faults: [status(400, { path: '/v1/messages/count_tokens' })],
    config: { countTokens: { above: 1_000 } },
    prompt: LONG,
  },
  {
    what: 'a prompt for which count_tokens takes 2.5 s',
    faults: [{ kind: 'stall', at: 'before-headers', ms: 2_500, path: '/v1/messages/count_tokens' }],
    config: { countTokens: { above: 1_000 } },
    prompt: LONG,
  },
  {
    what: 'a middleware of the own app that throws',
    client: { middleware: [() => Promise.reject(new RangeError('Invalid time value'))] },
  },
  { what: 'six hundred mistyped names of models', asks: (n) => ({ model: `claude-sonet-${n}` }), times: 600 },
  {
    what: 'a model that is gone for this caller',
    faults: [status(404, { message: `model: ${MODEL}` })],
  },
  { what: 'a 429 without a time', faults: [status(429)] },
  { what: 'a 529 at each call', faults: [{ kind: 'overload' }] },
  { what: 'calls that A gives up after 30 ms', hangsUpMs: 30, answerMs: 200 },
  { what: 'answers that are cut in the middle', faults: [{ kind: 'reset', at: 'mid-stream' }] },
  {
    what: 'streams that end with an error',
    faults: [{ kind: 'stream-error', type: 'overloaded_error' }],
  },
  {
    what: 'answers that never come',
    faults: [{ kind: 'stall', at: 'before-headers', ms: 60_000 }],
  },
  { what: 'no money of its own', faults: [status(402)] },
  { what: 'a page of a proxy in place of an answer', faults: [status(502, { body: 'html' })] },
  {
    what: 'a limit of money that the API names',
    faults: [status(429, { errorCode: 'enforced_spend_limit_reached' })],
  },
  { what: 'a prompt that is too long', faults: [status(413)] },
  {
    what: 'a 503 that asks to come back after an hour',
    faults: [status(503, { headers: { 'retry-after': '3600' } })],
  },
];

const userOf = ({ body }: ReceivedRequest): string => {
  const { metadata, messages } = body as Anthropic.MessageCreateParamsNonStreaming;
  return metadata?.user_id ?? String(messages[0]?.content).split(':')[0] ?? '';
};

const paramsOf = (user: string, { prompt = 'hello' }: TroubleScene) => ({
  ...ask(`${user}: ${prompt}`),
  metadata: { user_id: user },
});

/** Plays a scene before one governor, or several that share a store: what became of the calls of others. */
export async function playTrouble(
  scene: TroubleScene,
  {
    isStream,
    makeGovernors,
    isWithoutA = false,
  }: {
    isStream: boolean;
    makeGovernors: (config: ConfigInput) => readonly Governor[];
    /** The same scene with nobody but the others. */
    isWithoutA?: boolean;
  },
): Promise<{ ends: OtherEnd[]; received: readonly ReceivedRequest[] }> {
  const { faults = [], answerMs = 40 } = scene;
  const api = await startClaudeApi({
    limits: [{ name: 'all', models: ['*'], requestsPerMinute: 60_000, burstSeconds: 60 }],
    latency: { timeToFirstTokenMs: answerMs, tokensPerSecond: 10_000, flushMs: 5 },
    output: () => 30,
    receivedSize: 10_000,
  });
  for (const fault of faults)
    api.inject({ ...fault, times: Number.POSITIVE_INFINITY, when: (request) => userOf(request) === 'A' });
  const governors = makeGovernors({ fallbacks: { [MODEL]: ['claude-haiku-4-5'] }, ...scene.config });
  const clientsOf = (options: ConstructorParameters<typeof Anthropic>[0] = {}) =>
    governors.map((governor) => ({
      governor,
      claude: governor.govern(new Anthropic({ apiKey: 'k', baseURL: api.url, ...options })),
    }));
  const ofA = clientsOf(scene.client);
  const ofOthers = clientsOf();
  const bare = new Anthropic({ apiKey: 'k', baseURL: api.url, maxRetries: 0 });
  const running = new Set<Promise<unknown>>();
  let next = 0;
  const trouble = () => {
    if (isWithoutA) return;
    const n = next++;
    const { governor, claude } = ofA[n % ofA.length] as (typeof ofA)[number];
    const params = { ...paramsOf('A', scene), ...scene.asks?.(n) };
    const { hangsUpMs, options } = scene;
    const signal = hangsUpMs === undefined ? {} : { signal: AbortSignal.timeout(hangsUpMs) };
    const call = governor
      .run({ user: 'A' }, () => one(claude, params, isStream, { ...options, ...signal }))
      .catch(() => {});
    running.add(call);
    void call.then(() => running.delete(call));
  };
  const other = async (n: number): Promise<OtherEnd> => {
    const { governor, claude } = ofOthers[n % ofOthers.length] as (typeof ofOthers)[number];
    const user = `other ${n}`;
    if (scene.othersFailOnce === true && n % 5 === 4)
      api.inject({ kind: 'status', status: 500, when: (request) => userOf(request) === user });
    const calledAt = performance.now();
    const bareUser = `bare ${n}`;
    const bareCall = one(bare, paramsOf(bareUser, scene), isStream).catch(() => {});
    let model = '';
    const outcome = await governor
      .run({ user }, () => one(claude, paramsOf(user, scene), isStream))
      .then((answer) => {
        ({ model } = answer);
        return 'answered';
      })
      .catch((error: { code?: string; name: string }) => error.code ?? error.name);
    const sent = api.received.filter(
      (request) => request.path === '/v1/messages' && userOf(request) === user,
    );
    await bareCall;
    const msTo = (request?: ReceivedRequest) => (request?.at ?? Number.POSITIVE_INFINITY) - calledAt;
    const bareMs = msTo(api.received.find((request) => userOf(request) === bareUser));
    return { outcome, model, attempts: sent.length, waitedMs: msTo(sent[0]), bareMs };
  };
  try {
    for (let n = 0; n < (scene.times ?? FIRST_OF_A); n++) trouble();
    await Promise.race([Promise.all(running), pause(350)]);
    const ends: Promise<OtherEnd>[] = [];
    for (let n = 0; n < OTHERS; n++) {
      trouble();
      ends.push(other(n));
      await pause(PACE_MS);
    }
    return { ends: await Promise.all(ends), received: [...api.received] };
  } finally {
    await Promise.all(governors.map((governor) => governor.close({ drainMs: 0 })));
    await api.close();
    await Promise.all(running);
  }
}

async function one(
  claude: Anthropic,
  params: Anthropic.MessageCreateParamsNonStreaming,
  isStream: boolean,
  options?: Anthropic.RequestOptions,
): Promise<Anthropic.Message> {
  return isStream
    ? claude.messages.stream(params, options).finalMessage()
    : claude.messages.create(params, options);
}

/** Governors of one process of its own, without a store. */
export const aloneGovernor = (config: ConfigInput): readonly Governor[] => [
  createGovernor({ config, logger: { info() {}, warn() {}, error() {} } }),
];

/** A fair turn in these scenes, in milliseconds: with no limit known yet a call of A's is waited for for a second at most. */
const TURN_MS = 1_000;

/** What the median of the others waits for more than calls at the same times without a governor. */
function waitedMs(ends: readonly OtherEnd[]): number {
  // Medians: a machine that stands still for a moment is no trouble of A's.
  const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
  return median(ends.map((end) => end.waitedMs)) - median(ends.map((end) => end.bareMs));
}

/**
 * Nobody but A is refused, diverted, or waits for more than a turn longer than in the same scene without A. Left out, what
 * happened without A: nobody waited there.
 */
export function expectUnmoved(
  scene: TroubleScene,
  ends: readonly OtherEnd[],
  withoutA?: readonly OtherEnd[],
): void {
  const seen = (of: readonly OtherEnd[]) =>
    of.map(({ outcome, model, attempts }) => `${outcome} by ${model} after ${attempts}`);
  const plain = ends.map((_, n) => (scene.othersFailOnce === true && n % 5 === 4 ? 2 : 1));
  const expected = plain.map((attempts) => `answered by ${MODEL} after ${attempts}`);
  if (withoutA !== undefined) expect(seen(withoutA)).toEqual(expected);
  expect(seen(ends)).toEqual(expected);
  const noiseMs = Math.max(...ends.map(({ bareMs }) => bareMs));
  const waitedWithoutA = withoutA === undefined ? 0 : Math.max(0, waitedMs(withoutA));
  expect(waitedMs(ends)).toBeLessThanOrEqual(waitedWithoutA + TURN_MS + noiseMs);
}
