import Anthropic from '@anthropic-ai/sdk';
import type { Fault } from '@headgate/testing';
import { describe, expect, it } from 'vitest';
import { ACCOUNT, ask, isSettled, rejection, startGoverned, until } from '../support/governed.ts';

const ALWAYS = Number.POSITIVE_INFINITY;
const FAST = { retries: { maxAttempts: 3, maxDelay: '20ms' } } as const;

/** What comes back, how often it is tried, and what the caller gets when it does not stop. */
const TABLE: [what: string, fault: Fault, attempts: number, error: unknown][] = [
  [
    '429 with retry-after',
    { kind: 'status', status: 429, headers: { 'retry-after-ms': '20' } },
    3,
    Anthropic.RateLimitError,
  ],
  ['429 without a word', { kind: 'status', status: 429 }, 3, Anthropic.RateLimitError],
  [
    '429 spend limit',
    { kind: 'status', status: 429, errorCode: 'enforced_spend_limit_reached' },
    1,
    Anthropic.RateLimitError,
  ],
  [
    '429 contract limit',
    { kind: 'status', status: 429, errorCode: 'contract_spend_limit_reached' },
    1,
    Anthropic.RateLimitError,
  ],
  [
    '400 own spend limit',
    { kind: 'status', status: 400, message: 'You have reached your specified API usage limits.' },
    1,
    Anthropic.BadRequestError,
  ],
  ['402', { kind: 'status', status: 402 }, 1, Anthropic.APIError],
  ['529', { kind: 'status', status: 529 }, 3, Anthropic.InternalServerError],
  ['500', { kind: 'status', status: 500 }, 3, Anthropic.InternalServerError],
  ['502 from a proxy', { kind: 'status', status: 502, body: 'html' }, 3, Anthropic.InternalServerError],
  [
    '503 with an empty body',
    { kind: 'status', status: 503, body: 'empty' },
    3,
    Anthropic.InternalServerError,
  ],
  ['504', { kind: 'status', status: 504 }, 3, Anthropic.InternalServerError],
  ['408', { kind: 'status', status: 408 }, 3, Anthropic.APIError],
  ['409', { kind: 'status', status: 409 }, 3, Anthropic.ConflictError],
  ['reset before headers', { kind: 'reset', at: 'before-headers' }, 3, Anthropic.APIConnectionError],
  ['400', { kind: 'status', status: 400 }, 1, Anthropic.BadRequestError],
  ['401', { kind: 'status', status: 401 }, 1, Anthropic.AuthenticationError],
  ['403', { kind: 'status', status: 403 }, 1, Anthropic.PermissionDeniedError],
  ['404', { kind: 'status', status: 404 }, 1, Anthropic.NotFoundError],
  ['413', { kind: 'status', status: 413 }, 1, Anthropic.APIError],
  ['422', { kind: 'status', status: 422 }, 1, Anthropic.UnprocessableEntityError],
  [
    '500 that asks for no retry',
    { kind: 'status', status: 500, headers: { 'x-should-retry': 'false' } },
    1,
    Anthropic.InternalServerError,
  ],
  [
    '404 that asks for a retry',
    { kind: 'status', status: 404, headers: { 'x-should-retry': 'true' } },
    3,
    Anthropic.NotFoundError,
  ],
];

describe('what comes back, for ever', () => {
  it.each(TABLE)('%s', async (_, fault, attempts, errorClass) => {
    // Seen where attempts leave: on arrival a first connection that was slow would shorten the gap.
    const sentAt: number[] = [];
    const { claude, api, governor } = await startGoverned({
      config: { ...FAST, quotas: [{ name: 'q', requests: '1/day' }] },
      governor: { random: () => 0.5 },
      client: {
        fetch: (input, init) => {
          sentAt.push(performance.now());
          return fetch(input, init);
        },
      },
    });
    api.inject({ ...fault, times: ALWAYS });
    const error = await rejection(claude.messages.create(ask()));
    expect(error).toBeInstanceOf(errorClass);
    expect(api.received).toHaveLength(attempts);
    // The SDK's own count of attempts stays true for whoever reads the request.
    expect(api.received.map(({ headers }) => headers['x-stainless-retry-count'])).toEqual(
      Array.from({ length: attempts }, (__, i) => String(i)),
    );
    expect(isSettled(governor)).toBe(true);
    // Never sooner than half the bound of the backoff (the dice say so), or than the API asks; a timer may be a little early.
    const asked = fault.kind === 'status' && fault.headers?.['retry-after-ms'] !== undefined;
    const gaps = sentAt.slice(1).map((at, index) => at - (sentAt[index] ?? 0));
    for (const gap of gaps) expect(gap).toBeGreaterThanOrEqual(asked ? 18 : 8);
    // What the API refused is not charged to the caller; what may have been answered is.
    api.reset();
    governor.reset();
    const next = await claude.messages.create(ask()).catch((refusal: { code?: string }) => refusal.code);
    expect(next === 'quota_exceeded').toBe(fault.kind === 'reset');
  });

  it('a body that breaks off after the headers of a JSON answer: the SDK’s error, and no second attempt', async () => {
    const { claude, api, governor } = await startGoverned({ config: FAST });
    api.inject({ kind: 'reset', at: 'mid-stream' });
    await rejection(claude.messages.create(ask()));
    expect(api.ledger.count({})).toBe(1);
    await until(() => isSettled(governor));
  });
});

describe('what comes back once is not seen by the caller', () => {
  it.each(TABLE.filter(([, , attempts]) => attempts > 1))('%s', async (_, fault) => {
    const { claude, api } = await startGoverned({ config: FAST });
    api.inject(fault);
    expect((await claude.messages.create(ask())).type).toBe('message');
    api.inject(fault);
    expect((await claude.messages.stream(ask()).finalMessage()).type).toBe('message');
  });

  it('also for calls that generate nothing', async () => {
    const { claude, api } = await startGoverned({ config: FAST });
    api.inject({ kind: 'status', status: 529, path: '/v1/models*' });
    expect((await claude.models.list()).data.length).toBeGreaterThan(0);
    api.inject({
      kind: 'status',
      status: 429,
      headers: { 'retry-after-ms': '10' },
      path: '/v1/messages/count_tokens',
    });
    expect(
      (await claude.messages.countTokens({ model: ask().model, messages: ask().messages })).input_tokens,
    ).toBeGreaterThan(0);
  });
});

describe('retry-after', () => {
  it('is one cooldown for everybody: no call is sent before it has passed', async () => {
    const { claude, api } = await startGoverned();
    api.inject({ kind: 'status', status: 429, headers: { 'retry-after': '1' } });
    const first = claude.messages.create(ask());
    await until(() => api.received.length === 1);
    const refusedAt = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await Promise.all([first, ...Array.from({ length: 5 }, () => claude.messages.create(ask()))]);
    expect(performance.now() - refusedAt).toBeGreaterThan(950);
    expect(api.received).toHaveLength(7);
    expect(api.received.slice(1).every(({ at }) => at - (api.received[0]?.at ?? 0) > 950)).toBe(true);
  });

  it('beyond the deadline ends the call at once', async () => {
    const { claude, api, governor } = await startGoverned();
    api.inject({ kind: 'status', status: 429, headers: { 'retry-after': '60' }, times: ALWAYS });
    const startedAt = performance.now();
    const error = await rejection(governor.run({ deadlineMs: 2_000 }, () => claude.messages.create(ask())));
    expect(error).toBeInstanceOf(Anthropic.RateLimitError);
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    expect(api.received).toHaveLength(1);
  });
});

describe('the retry budget', () => {
  it('bounds the attempts of all calls together when much fails', async () => {
    // All at once: of the twenty that a new bucket lets out first half may fail.
    const account = [
      { name: 'all', models: ['*'], requestsPerMinute: 6_000, burst: 0.1, concurrency: 1_000 },
    ];
    const { claude, api } = await startGoverned({
      config: { account, retries: { maxAttempts: 4, maxDelay: '5ms' } },
    });
    // Not half of them, or the breaker would come first.
    api.inject({ kind: 'overload', times: ALWAYS, probability: 0.4 });
    const calls = 300;
    await Promise.all(Array.from({ length: calls }, () => claude.messages.create(ask()).catch(() => {})));
    // Ten saved up, a tenth of the calls, and what a second or two brings. Without a budget it would be a hundred and more.
    expect(api.received.length).toBeLessThanOrEqual(calls + 10 + calls / 10 + 5);
    expect(api.received.length).toBeGreaterThan(calls);
  });
});

describe('credentials that the SDK refreshes', () => {
  it('are refreshed once after a 401, through a governed client', async () => {
    const { api, governor } = await startGoverned({ api: { keys: ['fresh'] } });
    let handed = 0;
    const claude = governor.govern(
      new Anthropic({
        baseURL: api.url,
        credentials: async () => ({
          token: handed++ === 0 ? 'stale' : 'fresh',
          expiresAt: Math.floor(Date.now() / 1000) + 3_600,
        }),
      } as ConstructorParameters<typeof Anthropic>[0]),
    );
    expect((await claude.messages.create(ask())).type).toBe('message');
    expect(handed).toBe(2);
    expect(api.received).toHaveLength(2);
  });
});

describe('another model', () => {
  const config = {
    ...FAST,
    account: [],
    fallbacks: { 'claude-sonnet-4-6': ['claude-haiku-4-5'] },
  };
  const isSonnet = ({ body }: { body: unknown }) =>
    (body as { model?: string }).model === 'claude-sonnet-4-6';

  it('answers when the one asked for is overloaded or gone, and the answer says which', async () => {
    for (const fault of [
      { kind: 'status', status: 529 },
      { kind: 'status', status: 404 },
    ] as const) {
      const { claude, api } = await startGoverned({ config });
      api.inject({ ...fault, when: isSonnet, times: ALWAYS });
      const message = await claude.messages.create(ask());
      expect(message.model).toContain('claude-haiku-4-5');
      const models = api.received.map(({ body }) => (body as { model: string }).model);
      expect(models).toEqual([
        ...Array(fault.status === 529 ? 3 : 1).fill('claude-sonnet-4-6'),
        'claude-haiku-4-5',
      ]);
    }
  });

  it('is not asked for a caller who forbids it, nor for a wrong request', async () => {
    const { claude, api, governor } = await startGoverned({ config });
    api.inject({ kind: 'status', status: 529, when: isSonnet, times: ALWAYS });
    const error = await rejection(governor.run({ fallback: false }, () => claude.messages.create(ask())));
    expect(error).toBeInstanceOf(Anthropic.InternalServerError);
    api.reset();
    api.inject({ kind: 'status', status: 400, times: ALWAYS });
    await rejection(claude.messages.create(ask()));
    expect(api.received).toHaveLength(1);
  });

  it('gives the first model’s own error when it fails too', async () => {
    const { claude, api } = await startGoverned({ config });
    api.inject({ kind: 'overload', times: ALWAYS });
    expect(await rejection(claude.messages.create(ask()))).toBeInstanceOf(Anthropic.InternalServerError);
  });

  it('is asked from the start where a route says so', async () => {
    const { claude, api, governor } = await startGoverned({
      config: { account: [], routes: [{ when: { lane: 'background' }, model: 'claude-haiku-4-5' }] },
    });
    await governor.run({ lane: 'background' }, () => claude.messages.create(ask()));
    expect(api.received.at(-1)?.body).toMatchObject({ model: 'claude-haiku-4-5', max_tokens: 200 });
  });
});

describe('a spend limit', () => {
  it('is met once: every later call is refused at once, with the date it ends, until somebody lifts it', async () => {
    const { claude, api, governor } = await startGoverned({ config: FAST });
    api.inject({ kind: 'status', status: 429, errorCode: 'enforced_spend_limit_reached', times: ALWAYS });
    expect(await rejection(claude.messages.create(ask()))).toBeInstanceOf(Anthropic.RateLimitError);
    const errors = await Promise.all([1, 2, 3].map(() => rejection(claude.messages.create(ask()))));
    for (const error of errors) {
      expect(error).toMatchObject({
        name: 'UpstreamUnavailableError',
        reason: 'spend_limit',
        status: 503,
        rule: 'enforced_spend_limit_reached',
      });
      expect((error as Error).message).toMatch(/ends at \d{4}-\d\d-01T00:00:00\.000Z/);
    }
    expect(api.received).toHaveLength(1);
    expect(governor.snapshot().spendLimits).toMatchObject([
      { account: 'default', code: 'enforced_spend_limit_reached' },
    ]);
    // Counting tokens is free.
    await claude.messages.countTokens({ model: ask().model, messages: ask().messages });
    governor.reset({ breaker: true });
    api.reset();
    expect((await claude.messages.create(ask())).type).toBe('message');

    api.inject({ kind: 'status', status: 429, errorCode: 'contract_spend_limit_reached' });
    await rejection(claude.messages.create(ask()));
    expect(await rejection(claude.messages.create(ask()))).toMatchObject({ reason: 'spend_limit' });
    governor.update({ account: ACCOUNT });
    expect((await claude.messages.create(ask())).type).toBe('message');
  });
});

describe('the breaker of a model', () => {
  it('opens in an outage and answers at once; other models go on; it closes again by itself', async () => {
    const { claude, api, governor } = await startGoverned({
      config: { ...FAST, account: [], retries: { maxAttempts: 1 } },
      governor: { random: () => 0 },
    });
    await claude.messages.create(ask());
    const isSonnet = ({ body }: { body: unknown }) =>
      (body as { model?: string }).model === 'claude-sonnet-4-6';
    const end = api.inject({ kind: 'status', status: 529, when: isSonnet, times: ALWAYS });
    await Promise.all(Array.from({ length: 30 }, () => rejection(claude.messages.create(ask()))));
    const before = api.received.length;
    const error = await rejection(claude.messages.create(ask()));
    expect(error).toMatchObject({
      name: 'UpstreamUnavailableError',
      reason: 'breaker_open',
      rule: 'claude-sonnet-4-6',
      status: 503,
    });
    expect((error as { retryAfterMs: number }).retryAfterMs).toBeGreaterThan(0);
    expect(api.received).toHaveLength(before);
    expect((await claude.messages.create(ask('x', { model: 'claude-haiku-4-5' }))).type).toBe('message');
    expect(governor.snapshot().breakers).toEqual([
      { account: 'default', model: 'claude-sonnet-4-6', state: 'open', callers: 1 },
    ]);
    end();
    await until(() => governor.snapshot().breakers[0]?.state === 'half_open');
    for (let i = 0; i < 3; i++) await claude.messages.create(ask());
    expect(governor.snapshot().breakers).toEqual([]);
  });

  it('sends calls to the fallback without an attempt', async () => {
    const { claude, api } = await startGoverned({
      config: {
        ...FAST,
        account: [
          { name: 's', models: ['claude-sonnet-*'], requestsPerMinute: 6_000 },
          { name: 'h', models: ['claude-haiku-*'], requestsPerMinute: 6_000 },
        ],
        retries: { maxAttempts: 1 },
        fallbacks: { 'claude-sonnet-4-6': ['claude-haiku-4-5'] },
      },
    });
    const isSonnet = ({ body }: { body: unknown }) =>
      (body as { model?: string }).model === 'claude-sonnet-4-6';
    api.inject({ kind: 'status', status: 529, when: isSonnet, times: ALWAYS });
    for (let i = 0; i < 30; i++) expect((await claude.messages.create(ask())).model).toContain('haiku');
    const asked = api.received.filter(isSonnet).length;
    expect(asked).toBeLessThanOrEqual(22);
  });

  it('does not open for 429s, nor for wrong requests', async () => {
    const { claude, api, governor } = await startGoverned({ config: { retries: { maxAttempts: 1 } } });
    api.inject({ kind: 'status', status: 400, times: 30 });
    for (let i = 0; i < 30; i++) await rejection(claude.messages.create(ask()));
    api.inject({ kind: 'status', status: 429, headers: { 'retry-after-ms': '1' }, times: 30 });
    for (let i = 0; i < 30; i++) await rejection(claude.messages.create(ask()));
    expect(governor.snapshot().breakers).toEqual([]);
  });
});
