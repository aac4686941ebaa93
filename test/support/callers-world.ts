import type { Middleware } from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor, type Governor, QuotaExceededError } from '@headgate/core';
import { type ManualClock, manualClock } from '@headgate/testing';

/**
 * Callers on a manual clock, over one governor or several that share nothing but a store: an API that answers everybody
 * well within 400 ms but for what each call says of itself.
 */
export const ANSWER_MS = 400;
const REFUSAL_MS = 40;
const MODEL = 'claude-sonnet-4-6';

/** How the API, or the app's own code, treats a call; 'well' is answered. */
export const TROUBLES = [
  'well',
  'once 500',
  '500',
  '529',
  'cut',
  'slow, and the caller is impatient',
  'hangs up',
  'file is gone',
  'model is gone for this caller',
  'model is invented',
  '429 with a time and plenty left',
  '429 with a time and no headers',
  '429 without a time',
  'fast mode is refused',
  'mistake in the own code',
  'refused by another governor',
  'out of money',
] as const;
export type Trouble = (typeof TROUBLES)[number];

export interface PlannedCall {
  readonly id: number;
  readonly at: number;
  readonly user: string;
  readonly trouble: Trouble;
}

export interface End {
  readonly id: number;
  readonly user: string;
  readonly outcome: string;
  readonly model: string;
  readonly attempts: number;
  readonly endedAt: number;
}

const LIMITS = { requests: 60_000, 'input-tokens': 40_000_000, 'output-tokens': 40_000_000 };
export const PLENTY: Record<string, string> = Object.fromEntries(
  Object.entries(LIMITS).flatMap(([name, limit]) => [
    [`anthropic-ratelimit-${name}-limit`, String(limit)],
    [`anthropic-ratelimit-${name}-remaining`, String(limit * 0.98)],
  ]),
);

const json = (status: number, body: unknown, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json', ...headers } });
const errorOf = (status: number, type: string, message: string, headers: Record<string, string>) =>
  json(status, { type: 'error', error: { type, message } }, headers);
const answer = (model: string) =>
  json(
    200,
    {
      type: 'message',
      id: 'm',
      model,
      usage: { input_tokens: 20, output_tokens: 20 },
      stop_reason: 'end_turn',
    },
    PLENTY,
  );

interface Sent {
  /** Rate-limit headers of errors. */
  readonly headers: Record<string, string>;
  readonly model: string;
  readonly attempt: number;
  readonly signal: AbortSignal;
  sleep(ms: number): Promise<void>;
}

/** What comes of one attempt. */
async function respond(
  trouble: Trouble,
  { model, attempt, signal, sleep, headers }: Sent,
): Promise<Response> {
  const fails = trouble === 'once 500' ? attempt === 1 : trouble !== 'well';
  const isFallback = model !== MODEL && trouble !== 'model is invented';
  if (!fails || isFallback) {
    await sleep(ANSWER_MS);
    return answer(model);
  }
  switch (trouble) {
    case 'slow, and the caller is impatient':
    case 'hangs up':
      await sleep(ANSWER_MS);
      if (signal.aborted) throw signal.reason;
      return answer(model);
    case 'mistake in the own code':
      throw new TypeError("Cannot read properties of undefined (reading 'locale')");
    case 'refused by another governor':
      throw new QuotaExceededError('used up', { reason: 'user_quota', rule: 'q', retryAfterMs: 1_000 });
    default:
  }
  await sleep(REFUSAL_MS);
  const error = (status: number, type: string, message: string, own = headers) =>
    errorOf(status, type, message, own);
  switch (trouble) {
    case 'cut':
      throw new TypeError('fetch failed', { cause: Object.assign(new Error('cut'), { code: 'ECONNRESET' }) });
    case '529':
    case 'fast mode is refused':
      return error(529, 'overloaded_error', 'Overloaded');
    case 'file is gone':
      return error(404, 'not_found_error', 'File not found: file_011');
    case 'model is gone for this caller':
    case 'model is invented':
      return error(404, 'not_found_error', `model: ${model}`);
    case '429 with a time and plenty left':
      return error(429, 'rate_limit_error', 'Slow down', { ...PLENTY, 'retry-after': '45' });
    case '429 with a time and no headers':
      return error(429, 'rate_limit_error', 'No deployments available', { 'retry-after': '45' });
    case '429 without a time':
      return error(429, 'rate_limit_error', 'Error');
    case 'out of money':
      return error(402, 'billing_error', 'Your credit balance is too low');
    default:
      return error(500, 'api_error', 'Internal server error');
  }
}

export const WORLD_CONFIG: ConfigInput = {
  account: [
    {
      name: 'all',
      models: ['*'],
      requestsPerMinute: 60_000,
      inputTokensPerMinute: 40_000_000,
      outputTokensPerMinute: 40_000_000,
      burst: 1,
    },
  ],
  fallbacks: { [MODEL]: ['claude-haiku-4-5'] },
};

export class CallersWorld {
  readonly clock: ManualClock;
  readonly governors: readonly Governor[];
  readonly ends: End[] = [];
  readonly logged: string[] = [];
  readonly #headers: Record<string, string>;
  #next = 0;

  constructor(
    options: {
      governors?: (clock: ManualClock) => Parameters<typeof createGovernor>[0][];
      config?: ConfigInput;
      /** Rate-limit headers of errors; left out: those that show plenty. */
      headers?: Record<string, string>;
    } = {},
  ) {
    this.clock = manualClock();
    this.#headers = options.headers ?? PLENTY;
    const log = (message: string) => void this.logged.push(message);
    const base = {
      config: options.config ?? WORLD_CONFIG,
      clock: this.clock,
      random: () => 0.5,
      logger: { info: log, warn: log, error: log },
    };
    const made = options.governors?.(this.clock) ?? [{}];
    this.governors = made.map((each) => createGovernor({ ...base, ...each }));
  }

  call({ id, user, trouble }: PlannedCall): void {
    const { clock } = this;
    const governor = this.governors[this.#next++ % this.governors.length] as Governor;
    let attempts = 0;
    let model = '';
    const next = async (request: { body?: unknown; signal?: AbortSignal }) => {
      attempts++;
      ({ model } = JSON.parse(String(request.body)) as { model: string });
      const signal = request.signal as AbortSignal;
      const sleep = (ms: number) =>
        new Promise<void>((resolve, reject) => {
          const timer = clock.after(ms, resolve);
          signal.addEventListener('abort', () => {
            timer.cancel();
            reject(signal.reason as Error);
          });
        });
      return respond(trouble, { headers: this.#headers, model, attempt: attempts, signal, sleep });
    };
    const own = new AbortController();
    if (trouble === 'hangs up') clock.after(100, () => own.abort());
    const caller = {
      user,
      ...(trouble === 'hangs up' ? { signal: own.signal } : {}),
      ...(trouble === 'slow, and the caller is impatient' ? { deadlineMs: 100 } : {}),
    };
    const body = JSON.stringify({
      model: trouble === 'model is invented' ? `claude-${id}` : MODEL,
      max_tokens: 100,
      messages: [{ role: 'user', content: 'hello' }],
      ...(trouble === 'fast mode is refused' ? { speed: 'fast' } : {}),
    });
    const request = {
      method: 'POST',
      url: 'http://api/v1/messages',
      body,
      headers: new Headers({ 'x-stainless-retry-count': '0' }),
    };
    const run = governor.middleware as unknown as (...args: unknown[]) => Promise<Response>;
    void governor
      .run(caller, () => run(request, next, { options: {} } as unknown as Parameters<Middleware>[2]))
      .then(async (response) => {
        await response.text();
        return String(response.status);
      })
      .catch((thrown: { reason?: string; name?: string }) => String(thrown.reason ?? thrown.name))
      .then((outcome) => void this.ends.push({ id, user, outcome, model, attempts, endedAt: clock.now() }));
  }

  /** Makes the calls, each at its time, and waits until the last has had its time. */
  async play(calls: readonly PlannedCall[], restMs = 60_000): Promise<End[]> {
    for (const each of [...calls].sort((a, b) => a.at - b.at)) {
      if (each.at > this.clock.now()) await this.clock.advance(each.at - this.clock.now());
      this.call(each);
    }
    await this.clock.advance(restMs);
    return this.ends;
  }

  async close(): Promise<void> {
    const closing = Promise.all(this.governors.map((governor) => governor.close({ drainMs: 10 })));
    await this.clock.advance(20_000);
    await closing;
  }
}
