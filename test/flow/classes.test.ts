import type Anthropic from '@anthropic-ai/sdk';
import type { Middleware } from '@anthropic-ai/sdk';
import type { Fault } from '@headgate/testing';
import { describe, expect, it } from 'vitest';
import { ask, isSettled, startGoverned, until } from '../support/governed.ts';

/**
 * Every class of failure through the SDK, over loopback, against the same client without Headgate: what the caller gets
 * is what the SDK alone would have given, to the letter; what differs is how often the API was asked.
 */
const ALWAYS = Number.POSITIVE_INFINITY;
const status = (code: number, more: object = {}): Fault => ({ kind: 'status', status: code, ...more });
const retryAfter = (value: string) => status(429, { headers: { 'retry-after': value } });

interface Row {
  readonly fault: Fault;
  /** Attempts of a JSON call, and of a stream where they differ. */
  readonly attempts: number | readonly [json: number, stream: number];
  /** Whether the caller's quota has counted the call: of a stream that began, always. */
  readonly isCounted?: boolean | readonly [json: boolean, stream: boolean];
  /** The SDK's own, in milliseconds. */
  readonly timeout?: number;
}

const ROWS: Record<string, Row> = {
  '400': { fault: status(400), attempts: 1 },
  '401': { fault: status(401), attempts: 1 },
  '402': { fault: status(402), attempts: 1 },
  '403': { fault: status(403), attempts: 1 },
  '404': { fault: status(404), attempts: 1 },
  '408': { fault: status(408), attempts: 3 },
  '409': { fault: status(409), attempts: 3 },
  '413': { fault: status(413), attempts: 1 },
  '418, which nobody has heard of': { fault: status(418), attempts: 1 },
  '422': { fault: status(422), attempts: 1 },
  '431': { fault: status(431), attempts: 1 },
  '499': { fault: status(499), attempts: 1 },
  '500': { fault: status(500), attempts: 3 },
  '502, a proxy’s page': { fault: status(502, { body: 'html' }), attempts: 3 },
  '503, empty': { fault: status(503, { body: 'empty' }), attempts: 3 },
  '504': { fault: status(504), attempts: 3 },
  '520, half a JSON': { fault: status(520, { body: '{"type":"error","error":{"ty' }), attempts: 3 },
  '529': { fault: status(529), attempts: 3 },
  '999, which is no status': { fault: status(999), attempts: 3 },
  '400, a page of a proxy’s': { fault: status(400, { body: 'html' }), attempts: 1 },
  '429 of a proxy, empty': { fault: status(429, { body: 'empty' }), attempts: 3 },
  '429, code nobody has heard of': { fault: status(429, { errorCode: 'new_limit' }), attempts: 2 },
  '429, ramp': {
    fault: status(429, { errorCode: 'ramp_limit_exceeded', headers: { 'retry-after-ms': '20' } }),
    attempts: 3,
  },
  '429, spend limit': { fault: status(429, { errorCode: 'enforced_spend_limit_reached' }), attempts: 1 },
  '429, contract': { fault: status(429, { errorCode: 'contract_spend_limit_reached' }), attempts: 1 },
  '429, spend limit, told to retry': {
    fault: status(429, {
      errorCode: 'enforced_spend_limit_reached',
      headers: { 'x-should-retry': 'true', 'retry-after-ms': '5' },
    }),
    attempts: 1,
  },
  '400, own spend limit': {
    fault: status(400, { message: 'You have reached your specified workspace API usage limits.' }),
    attempts: 1,
  },
  '429 in milliseconds': {
    fault: status(429, { headers: { 'retry-after-ms': '20', 'retry-after': '60' } }),
    attempts: 3,
  },
  '429 in seconds, with a fraction': { fault: retryAfter('0.02'), attempts: 3 },
  // A 429 that names no time is a crowd: it is tried again like any other failure, and costs nothing of the budget.
  '429 after nothing': { fault: retryAfter('0'), attempts: 3 },
  '429 in the past': { fault: retryAfter('-5'), attempts: 3 },
  '429 at a date that is past': { fault: retryAfter('Wed, 21 Oct 2015 07:28:00 GMT'), attempts: 3 },
  '429 at no time at all': { fault: retryAfter('soon'), attempts: 3 },
  // No limit but a spend limit lasts longer than a day: such a time is treated as absent.
  '429 in a year': { fault: retryAfter('31536000'), attempts: 3 },
  '429 beyond all numbers': { fault: retryAfter('9'.repeat(400)), attempts: 3 },
  '500 that asks for no retry': {
    fault: status(500, { headers: { 'x-should-retry': 'false' } }),
    attempts: 1,
  },
  '529 that comes back in a year': {
    fault: status(529, { headers: { 'retry-after': '31536000' } }),
    attempts: 3,
  },
  '403 that asks for a retry': { fault: status(403, { headers: { 'x-should-retry': 'true' } }), attempts: 3 },
  'reset before headers': { fault: { kind: 'reset', at: 'before-headers' }, attempts: 3, isCounted: true },
  'reset after headers': { fault: { kind: 'reset', at: 'after-headers' }, attempts: 1, isCounted: true },
  'reset in the middle': {
    fault: { kind: 'reset', at: 'mid-stream', afterEvents: 3 },
    attempts: 1,
    isCounted: true,
  },
  'cut off in the middle': { fault: { kind: 'truncate', afterEvents: 3 }, attempts: 1, isCounted: true },
  // Of a JSON answer it is the status that belongs to the type.
  'an error in the middle': {
    fault: { kind: 'stream-error', type: 'overloaded_error', afterEvents: 3 },
    attempts: [3, 1],
    isCounted: [false, true],
  },
  'a time-out before the headers': {
    fault: { kind: 'stall', at: 'before-headers', ms: 400 },
    timeout: 80,
    attempts: 3,
    isCounted: true,
  },
  'a page of a proxy’s with 200': { fault: status(200, { body: 'html' }), attempts: 1, isCounted: true },
  '200, and nothing': { fault: status(200, { body: 'empty' }), attempts: 1, isCounted: true },
};

/** What a caller sees of a call, without what differs from one to the next. */
async function seen(call: () => Promise<unknown>): Promise<object> {
  try {
    return { answer: await call() };
  } catch (error) {
    const { message, status, type, error: body, headers } = error as InstanceType<typeof Anthropic.APIError>;
    const clean = (value: unknown) => JSON.stringify(value)?.replace(/req_\w+/g, 'req');
    const named = [...(headers ?? [])].filter(([name]) =>
      /^(retry-after.*|content-type|x-should-retry)$/.test(name),
    );
    return {
      class: (error as Error).constructor,
      message: message.replace(/req_\w+/g, 'req'),
      status,
      type,
      body: clean(body),
      // That we have decided on the retries is the one thing that we add.
      headers: named.filter(([name]) => name !== 'x-should-retry'),
    };
  }
}

const CALLS = {
  JSON: (client: Anthropic) => client.messages.create(ask()),
  'a stream': async (client: Anthropic) => {
    const types: string[] = [];
    for await (const { type } of await client.messages.create({ ...ask(), stream: true })) types.push(type);
    return types;
  },
};

describe.each(Object.entries(CALLS))('%s that meets', (kind, call) => {
  const of = <T>(value: T | readonly [T, T]): T =>
    (Array.isArray(value) ? value[kind === 'JSON' ? 0 : 1] : value) as T;

  it.each(Object.entries(ROWS))('%s', async (_, { fault, attempts, isCounted = false, timeout = 10_000 }) => {
    const { claude, bare, api, governor } = await startGoverned({
      config: {
        retries: { maxAttempts: 3, maxDelay: '20ms' },
        quotas: [{ name: 'q', requests: '1/day' }],
        timeouts: { total: '30s' },
      },
      client: { timeout },
    });
    api.inject({ ...fault, times: ALWAYS });
    const plain = await seen(() => call(bare));
    const before = api.received.length;
    const governed = await seen(() => call(claude));
    expect(governed).toEqual(plain);
    expect(api.received.length - before).toBe(of(attempts));
    await until(() => isSettled(governor));

    api.reset();
    governor.reset();
    const next = await claude.messages.create(ask()).catch((refusal: { code?: string }) => refusal.code);
    expect(next === 'quota_exceeded').toBe(of(isCounted));
  });

  it('whatever a caller asks of the SDK’s own retries: they multiply nothing', async () => {
    const { bare, api, governor } = await startGoverned({
      config: { retries: { maxAttempts: 2, maxDelay: '5ms' } },
    });
    const claude = governor.govern(bare.withOptions({ timeout: 100 }));
    for (const [fault, attempts] of [
      [status(529), 2],
      [status(503, { headers: { 'x-should-retry': 'true' } }), 2],
      [{ kind: 'reset', at: 'before-headers' }, 2],
      [{ kind: 'stall', at: 'before-headers', ms: 300 }, 2],
      [status(400), 1],
    ] as [Fault, number][]) {
      const end = api.inject({ ...fault, times: ALWAYS });
      const before = api.received.length;
      await expect(
        claude.messages.create(ask('x', { stream: kind !== 'JSON' } as object), { maxRetries: 5 }),
      ).rejects.toThrow();
      expect(api.received.length - before).toBe(attempts);
      end();
    }
    expect(isSettled(governor)).toBe(true);
  });
});

it('a response that another middleware has read to its end: the SDK’s own error, and nothing is held', async () => {
  const { bare, governor, api } = await startGoverned();
  const greedy: Middleware = async (request, next) => {
    const response = await next(request);
    await response.text();
    return response;
  };
  const client = bare.withOptions({ middleware: [greedy] });
  const errors = await Promise.all([
    seen(() => client.messages.create(ask())),
    seen(() => governor.govern(client).messages.create(ask())),
  ]);
  expect(errors[1]).toEqual(errors[0]);
  expect(errors[0]).toHaveProperty('message');
  expect(api.received).toHaveLength(2);
  expect(isSettled(governor)).toBe(true);
});
