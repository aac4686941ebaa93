import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readRateHeaders, readRetryAfter } from '../../packages/core/src/admission/rate-headers.ts';
import { classifyResponse, type Verdict } from '../../packages/core/src/attempts/classify.ts';
import { nextAttempt, RetryBudget } from '../../packages/core/src/attempts/retry.ts';
import { parseAmount, parseDuration, parseRate } from '../../packages/core/src/config/units.ts';
import { compileGlob } from '../../packages/core/src/policy/glob.ts';
import { compileWhen } from '../../packages/core/src/policy/match.ts';
import { readCall } from '../../packages/core/src/request/read.ts';
import { type Keyed, KeyedStates } from '../../packages/core/src/stores/keyed.ts';
import { matchesGlob } from '../../packages/testing/src/api/glob.ts';

const at = (iso: string) => new Date(iso).toUTCString();

describe('units', () => {
  it.each([
    ['500ms', 500],
    ['20s', 20_000],
    ['1.5m', 90_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
    ['20', undefined],
    ['s', undefined],
    ['-5s', undefined],
    ['5 weeks', undefined],
  ])('duration %s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });
  it.each([
    ['30/minute', { amount: 30, per: 'minute' }],
    ['40k/minute', { amount: 40_000, per: 'minute' }],
    ['1.5/day', { amount: 1.5, per: 'day' }],
    ['2M / month', { amount: 2_000_000, per: 'month' }],
    ['30/min', undefined],
    ['30', undefined],
    ['/minute', undefined],
  ])('rate %s', (text, rate) => {
    expect(parseRate(text)).toEqual(rate);
  });
  it.each([
    ['2000', 2_000],
    ['2.5M', 2_500_000],
    ['400k', 400_000],
    ['4G', undefined],
  ])('amount %s', (text, amount) => {
    expect(parseAmount(text)).toBe(amount);
  });
});

describe('matchers', () => {
  it.each([
    ['claude-opus-*', 'claude-opus-4-7', true],
    ['claude-opus-*', 'claude-sonnet-4-6', false],
    ['*', '', true],
    ['a*c*e', 'abcde', true],
    ['a*c*e', 'abce!', false],
    ['a.b', 'axb', false],
    ['(x)*', '(x)y', true],
    ['exact', 'exactly', false],
  ])('%s on %s', (pattern, text, matches) => {
    expect(compileGlob(pattern)(text)).toBe(matches);
    expect(matchesGlob(pattern, text)).toBe(matches);
  });

  it('a pattern matches what a table of all its ways says', () => {
    // By dynamic programming: `at[i]` says whether the pattern so far matches the first i characters.
    const matches = (pattern: string, text: string) => {
      let at = [true, ...Array<boolean>(text.length).fill(false)];
      for (const sign of pattern) {
        const next = [sign === '*' && at[0] === true];
        for (let i = 1; i <= text.length; i++)
          next.push(
            sign === '*'
              ? next[i - 1] === true || at[i] === true
              : at[i - 1] === true && text[i - 1] === sign,
          );
        at = next;
      }
      return at[text.length] === true;
    };
    const word = (letters: string[], maxLength: number) =>
      fc.array(fc.constantFrom(...letters), { maxLength }).map((all) => all.join(''));
    fc.assert(
      fc.property(word(['a', 'b', '*'], 8), word(['a', 'b'], 10), (pattern, text) => {
        expect(compileGlob(pattern)(text)).toBe(matches(pattern, text));
        expect(matchesGlob(pattern, text)).toBe(matches(pattern, text));
      }),
      { numRuns: 2_000 },
    );
  });

  it('a pattern looks at no character of a text twice, whatever it was made for', () => {
    /** A text that counts what of it is looked at. */
    const counted = (text: string) => {
      let steps = 0;
      const self = {
        length: text.length,
        startsWith(part: string) {
          steps += part.length;
          return text.startsWith(part);
        },
        endsWith(part: string) {
          steps += part.length;
          return text.endsWith(part);
        },
        indexOf(part: string, from: number) {
          const at = text.indexOf(part, from);
          steps += (at === -1 ? text.length : at + part.length) - from;
          return at;
        },
      };
      return { text: self as unknown as string, steps: () => steps };
    };
    const part = fc.constantFrom('a', 'aa', 'ab', 'b', '@', '');
    const hostile = fc.record({
      unit: fc.constantFrom('a', 'ab', 'aab', '@a'),
      times: fc.integer({ min: 1, max: 20_000 }),
    });
    fc.assert(
      fc.property(fc.array(part, { minLength: 2, maxLength: 12 }), hostile, (parts, { unit, times }) => {
        const pattern = parts.join('*');
        const { text, steps } = counted(`${unit.repeat(times)}c`);
        compileGlob(pattern)(text);
        expect(steps()).toBeLessThanOrEqual(text.length + pattern.length);
      }),
      { numRuns: 300 },
    );
  });

  it('every pattern of a configuration is of that kind', () => {
    const sources = new URL('../../packages/core/src/', import.meta.url);
    const files = readdirSync(sources, { recursive: true, encoding: 'utf8' }).filter((file) =>
      file.endsWith('.ts'),
    );
    expect(files.length).toBeGreaterThan(100);
    expect(
      files.filter((file) => readFileSync(new URL(file, sources), 'utf8').includes('new RegExp(')),
    ).toEqual([]);
  });

  it('all that are given must match; a list matches when one does; what is missing never matches', () => {
    const subject = {
      user: 'ada',
      tenant: undefined,
      tier: 'free',
      lane: 'interactive',
      route: '/chat',
      model: 'claude-opus-4-7',
    };
    expect(compileWhen({})(subject)).toBe(true);
    expect(compileWhen({ tier: ['paid', 'free'], model: 'claude-opus-*' })(subject)).toBe(true);
    expect(compileWhen({ tier: 'free', lane: 'background' })(subject)).toBe(false);
    expect(compileWhen({ tenant: '*' })(subject)).toBe(false);
  });
});

describe('a request', () => {
  const request = (method: string, url: string, body: unknown) =>
    readCall({ method, url, body: body as string, headers: new Headers() } as never);

  it.each([
    ['POST', 'https://api.anthropic.com/v1/messages?beta=true', 'messages'],
    ['POST', 'http://gateway/claude/v1/messages', 'messages'],
    ['POST', 'https://x/v1/messages/count_tokens', 'count_tokens'],
    ['POST', 'https://x/v1/messages/batches', 'batches'],
    ['GET', 'https://x/v1/messages/batches', 'batches'],
    ['GET', 'https://x/v1/messages/batches/b1', 'batches'],
    ['GET', 'https://x/v1/messages/batches/b1/results', 'batches'],
    ['POST', 'https://x/v1/messages/batches/b1/cancel?beta=true', 'batches'],
    ['DELETE', 'https://x/v1/messages/batches/b1', 'batches'],
    ['GET', 'https://x/v1/messages/batches/b1/more/still', 'other'],
    ['GET', 'https://x/v1/models', 'other'],
    ['POST', 'https://x/v1/files', 'other'],
  ])('%s %s is %s', (method, url, kind) => {
    expect(request(method, url, '{}').kind).toBe(kind);
  });

  it('is read as far as it can be', () => {
    expect(
      request('POST', 'https://x/v1/messages', '{"model":"m","max_tokens":5,"stream":true}'),
    ).toMatchObject({ model: 'm', maxTokens: 5, isStreaming: true, isReplayable: true });
    for (const body of ['', '{', '[]', 'null', '{"max_tokens":"5","model":7,"stream":"yes"}']) {
      expect(request('POST', 'https://x/v1/messages', body)).toMatchObject({
        model: 'unknown',
        maxTokens: undefined,
        isStreaming: false,
      });
    }
    expect(request('POST', 'https://x/v1/files', new ReadableStream()).isReplayable).toBe(false);
  });
});

describe('headers', () => {
  it('of limits are read by dimension; nonsense and the sum of tokens are not', () => {
    const headers = new Headers({
      'anthropic-ratelimit-requests-limit': '50',
      'anthropic-ratelimit-requests-remaining': '49',
      'anthropic-ratelimit-input-tokens-limit': 'many',
      'anthropic-ratelimit-input-tokens-remaining': '5',
      'anthropic-ratelimit-output-tokens-limit': '1e9',
      'anthropic-ratelimit-output-tokens-remaining': '-3',
      'anthropic-ratelimit-tokens-limit': '7',
      'anthropic-ratelimit-tokens-remaining': '7',
    });
    expect(readRateHeaders(headers)).toEqual({ requests: { limit: 50, remaining: 49 } });
  });

  it.each([
    [{ 'retry-after': '16' }, 16_000],
    [{ 'retry-after': '0.5' }, 500],
    [{ 'retry-after': '0' }, undefined],
    [{ 'retry-after': '-3' }, undefined],
    [{ 'retry-after': 'soon' }, undefined, 'soon'],
    [{}, undefined],
    [{ 'retry-after': '' }, undefined],
    [{ 'retry-after': '86400' }, 86_400_000],
    [{ 'retry-after': '86401' }, undefined, '86401'],
    // A date as seconds, and as milliseconds, of the epoch: 86,400 s before.
    [{ 'retry-after': '1764450000' }, undefined, '1764450000'],
    [{ 'retry-after': '1764450000000' }, undefined, '1764450000000'],
    [{ 'retry-after-ms': '1764450000000', 'retry-after': '16' }, 16_000, '1764450000000'],
    [{ 'retry-after': 'Thu, 01 Jan 1970 00:00:30 GMT' }, 20_000],
    [{ 'retry-after': 'Thu, 01 Jan 1970 00:00:05 GMT' }, undefined],
    // The clock of the other side is a year ahead, then an hour behind.
    [{ 'retry-after': at('1971-01-01T00:00:30Z'), date: at('1971-01-01T00:00:10Z') }, 20_000],
    [{ 'retry-after': at('1969-12-31T23:00:30Z'), date: at('1969-12-31T23:00:10Z') }, 20_000],
    [{ 'retry-after': at('1971-01-01T00:00:30Z') }, undefined, at('1971-01-01T00:00:30Z')],
    [{ 'retry-after': at('1970-01-01T00:00:30Z'), date: 'yesterday' }, 20_000],
    [{ 'retry-after-ms': '250', 'retry-after': '16' }, 250],
    [{ 'retry-after-ms': 'x', 'retry-after': '16' }, 16_000, 'x'],
  ])('retry-after %j', (headers, ms, impossible?: string) => {
    const read = readRetryAfter(new Headers(headers as Record<string, string>), 10_000);
    expect(read).toEqual({ ms, impossible });
  });
});

describe('the next attempt', () => {
  const verdict = (more: Partial<Verdict>): Verdict => ({
    kind: 'overloaded',
    isRetryable: true,
    retryAfterMs: undefined,
    errorType: 'x',
    errorCode: undefined,
    ...more,
  });
  const decide = (more: Partial<Verdict>, attempts = 1, random = 0.5, deadlineAt = 1e9) =>
    nextAttempt({
      verdict: verdict(more),
      attempts,
      retries: { maxAttempts: 4, budget: 0.1, maxDelay: 30_000 },
      budget: new RetryBudget(0.1, 0),
      now: 0,
      deadlineAt,
      random: () => random,
    });

  it('backs off by full jitter, doubling, up to its bound', () => {
    expect([1, 2, 3].map((attempts) => decide({}, attempts))).toMatchObject([
      { delayMs: 250 },
      { delayMs: 500 },
      { delayMs: 1_000 },
    ]);
    expect(decide({}, 1, 0)).toMatchObject({ delayMs: 0, source: 'backoff' });
    expect(decide({}, 4)).toMatchObject({ retry: false });
  });

  it('is never earlier than the API asks', () => {
    for (const random of [0, 0.5, 0.999]) {
      expect(decide({ retryAfterMs: 5_000 }, 1, random)).toMatchObject({
        retry: true,
        source: 'retry_after',
      });
      const next = decide({ retryAfterMs: 5_000 }, 1, random);
      expect(next.retry && next.delayMs).toBeGreaterThanOrEqual(5_000);
      expect(decide({ kind: 'rate_limited', retryAfterMs: 5_000 }, 1, random)).toMatchObject({
        delayMs: 5_000,
      });
    }
  });

  it('keeps its turn and costs neither an attempt nor the budget where too many calls were in flight', () => {
    const budget = new RetryBudget(0.1, 0);
    const base = {
      verdict: verdict({ kind: 'congested' }),
      retries: { maxAttempts: 4, budget: 0.1, maxDelay: 30_000 },
      budget,
      now: 0,
      deadlineAt: 1e9,
      random: () => 1,
    };
    expect(nextAttempt({ ...base, attempts: 1, isCrowded: true })).toMatchObject({ retry: true, delayMs: 0 });
    const alone = [1, 2, 3, 4].map((attempts) => nextAttempt({ ...base, attempts }));
    expect(alone).toMatchObject([
      { delayMs: 250 },
      { delayMs: 500 },
      { delayMs: 1_000 },
      { why: 'attempts' },
    ]);
    expect(budget.remaining(0)).toBe(10);
  });

  it('is not made past the deadline', () => {
    expect(decide({ retryAfterMs: 5_000 }, 1, 0, 4_000)).toMatchObject({ retry: false });
  });

  it('is paid from the budget, but for a 429 that is paced by its bucket', () => {
    const budget = new RetryBudget(0.1, 0);
    for (let i = 0; i < 10; i++) expect(budget.take(0)).toBe(true);
    expect(budget.take(0)).toBe(false);
    const base = {
      attempts: 1,
      retries: { maxAttempts: 4, budget: 0.1, maxDelay: 1_000 },
      budget,
      now: 0,
      deadlineAt: 1e9,
      random: () => 0,
    };
    expect(nextAttempt({ ...base, verdict: verdict({}) })).toMatchObject({ retry: false });
    expect(
      nextAttempt({ ...base, verdict: verdict({ kind: 'rate_limited', retryAfterMs: 10 }) }),
    ).toMatchObject({ retry: true });
    for (let i = 0; i < 10; i++) budget.firstAttempt(0);
    expect(budget.take(0)).toBe(true);
    expect(budget.take(999)).toBe(false);
    expect(budget.take(1_001)).toBe(true);
  });

  it('has a type for every status, and `_OTHER` for what nobody knows', () => {
    const type = (status: number, body = '') => classifyResponse(status, new Headers(), body, 0).errorType;
    expect([400, 401, 429, 500, 529, 418].map((status) => type(status))).toEqual([
      'invalid_request_error',
      'authentication_error',
      'rate_limit_error',
      'api_error',
      'overloaded_error',
      '_OTHER',
    ]);
    expect(type(400, '{"type":"error","error":{"type":"permission_error"}}')).toBe('permission_error');
    expect(type(502, '<html>')).toBe('api_error');
  });

  const plenty = {
    'anthropic-ratelimit-requests-limit': '1000',
    'anthropic-ratelimit-requests-remaining': '990',
  };
  const empty = { ...plenty, 'anthropic-ratelimit-requests-remaining': '0' };
  const coded = '{"error":{"type":"rate_limit_error","details":{"error_code":"another_limit_reached"}}}';
  it.each([
    ['no headers at all', {}, '', 'congested'],
    ['plenty left', plenty, '', 'congested'],
    ['a time that cannot be', { ...plenty, 'retry-after': '1764450000' }, '', 'congested'],
    ['a page of a proxy', {}, '<html>', 'congested'],
    ['nothing left of requests', empty, '', 'rate_limited'],
    ['a time', { ...plenty, 'retry-after': '2' }, '', 'rate_limited'],
    ['a code that nobody knows', plenty, coded, 'rate_limited'],
  ])('of a 429 with %s', (_, headers, body, kind) => {
    const verdict = classifyResponse(429, new Headers(headers as Record<string, string>), body, 0);
    expect(verdict).toMatchObject({ kind, isRetryable: true });
  });
});

describe('state per key', () => {
  const state = (id: number, more: Partial<Keyed> = {}) => ({
    id,
    isIdle: false,
    isBusy: false,
    isSaved: false,
    usedShare: 0.5,
    lastUsedAt: 0,
    ...more,
  });

  it('is bounded: those go first that have used least, and none on which calls run', () => {
    let made = 0;
    let forgotten = 0;
    const used: Record<string, Partial<Keyed>> = {
      heavy: { usedShare: 1 },
      running: { usedShare: 0, isBusy: true },
    };
    const states = new KeyedStates({
      create: (key) => state(made++, used[key]),
      now: () => 0,
      limit: 100,
      onForgotten: () => forgotten++,
    });
    const [heavy, running] = [states.get('heavy'), states.get('running')];
    for (let i = 1; i < 20_000; i++) states.get(`key ${i}`);
    expect(states.size).toBeLessThanOrEqual(100);
    expect(states.get('heavy')).toBe(heavy);
    expect(states.get('running')).toBe(running);
    expect(forgotten).toBe(made - states.size);
  });

  it('drops what is idle at once, and what is saved elsewhere when it was not used for minutes', () => {
    let now = 0;
    const of = (more: Partial<Keyed>) =>
      new KeyedStates({
        create: () => state(0, more),
        now: () => now,
        limit: 1_000_000,
        onForgotten: () => expect.unreachable(),
      });
    const idle = of({ isIdle: true });
    for (let i = 0; i < 10_000; i++) idle.get(`key ${i}`);
    expect(idle.size).toBeLessThan(10);
    // A hundred an hour and ten a second: only those of the last minutes are there.
    const saved = of({ isSaved: true });
    for (let i = 0; i < 30_000; i++) {
      now += 100;
      saved.get(`key ${i}`);
    }
    expect(saved.size).toBeLessThan(1.5 * 3_000);
  });
});
