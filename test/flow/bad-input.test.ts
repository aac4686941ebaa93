import Anthropic from '@anthropic-ai/sdk';
import { ConfigError, createGovernor } from '@headgate/core';
import { describe, expect, it } from 'vitest';
import { ACCOUNT, ask, isSettled, MODEL, rejection, startGoverned } from '../support/governed.ts';

describe('a wrong configuration', () => {
  it('is refused with every problem at once, each with its path, rule and value', () => {
    let error: unknown;
    try {
      createGovernor({
        config: {
          account: [{ name: 'a b', models: [], requestsPerMinute: -1 }],
          lanes: { only: { maxWait: 'soon' } },
          quotas: [{ name: 'q', requests: '30/fortnight', burst: 3 }],
          retries: { maxAttempts: 0 },
          nonsense: true,
        } as never,
      });
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(ConfigError);
    const { problems, message } = error as ConfigError;
    const byPath = Object.fromEntries(problems.map(({ path, received }) => [path, received]));
    expect(byPath).toEqual({
      'account[0].name': '"a b"',
      'account[0].models': '[]',
      'account[0].requestsPerMinute': '-1',
      'lanes.only.maxWait': '"soon"',
      'quotas[0].requests': '"30/fortnight"',
      'quotas[0].burst': '3',
      'retries.maxAttempts': '0',
      nonsense: 'true',
    });
    for (const { path, expected } of problems) {
      expect(message).toContain(path);
      expect(message).toContain(expected);
    }
  });

  it('is refused for what contradicts itself', () => {
    expect(() =>
      createGovernor({
        config: {
          account: ACCOUNT,
          lanes: { a: { guarantee: 0.7 }, b: { guarantee: 0.6 } },
          defaultLane: 'c',
          quotas: [
            { name: 'q', requests: '1/day', when: { lane: 'd' } },
            { name: 'q', when: {} },
          ],
        },
      }),
    ).toThrow(/defaultLane[\s\S]*guarantees[\s\S]*quotas\[1\]\.name[\s\S]*no such lane[\s\S]*limits nothing/);
  });

  it('names an account that does not exist', () => {
    const governor = createGovernor();
    const client = new Anthropic({ apiKey: 'k' });
    expect(() => governor.govern(client, { account: 'europe' })).toThrow(/no account "europe".*default/);
  });
});

describe('a wrong request goes to the API untouched, whose error comes back as the SDK’s own', () => {
  it.each([
    ['without max_tokens', { model: MODEL, messages: [{ role: 'user', content: 'x' }] }, 'max_tokens'],
    ['without messages', { model: MODEL, max_tokens: 10 }, 'messages'],
    [
      'with a role that does not exist',
      { model: MODEL, max_tokens: 10, messages: [{ role: 'alien', content: 'x' }] },
      'role',
    ],
    [
      'with max_tokens as text',
      { model: MODEL, max_tokens: 'many', messages: [{ role: 'user', content: 'x' }] },
      'max_tokens',
    ],
    [
      'with a negative max_tokens',
      { model: MODEL, max_tokens: -5, messages: [{ role: 'user', content: 'x' }] },
      'max_tokens',
    ],
  ])('%s', async (_, body, word) => {
    const { claude, bare, governor, api } = await startGoverned();
    const governed = (await rejection(claude.messages.create(body as never))) as InstanceType<
      typeof Anthropic.APIError
    >;
    const ungoverned = (await rejection(bare.messages.create(body as never))) as typeof governed;
    expect(governed).toBeInstanceOf(Anthropic.BadRequestError);
    expect(governed.apiMessage).toBe(ungoverned.apiMessage);
    expect(governed.apiMessage).toContain(word);
    expect(api.received.at(-2)?.body).toEqual(api.received.at(-1)?.body);
    // Refused by the API: one attempt, and nothing of a user's quota.
    expect(api.ledger.count({})).toBe(2);
    expect(isSettled(governor)).toBe(true);
  });

  it('with a body that is no JSON at all', async () => {
    const { claude, governor } = await startGoverned();
    for (const body of ['{"model":', '[1,2]', 'null']) {
      const error = await rejection(
        claude.post('/v1/messages', { body, headers: { 'content-type': 'application/json' } }),
      );
      expect(error).toBeInstanceOf(Anthropic.BadRequestError);
    }
    expect(isSettled(governor)).toBe(true);
  });

  it('and takes nothing of the caller’s quota', async () => {
    const { claude, governor } = await startGoverned({
      config: { quotas: [{ name: 'q', requests: '1/day' }] },
    });
    const run = <T>(fn: () => T) => governor.run({ user: 'ada' }, fn);
    await rejection(run(() => claude.messages.create({ model: MODEL, max_tokens: 10 } as never)));
    await run(() => claude.messages.create(ask()));
  });
});

describe('an unknown model', () => {
  it('is governed under a default bucket, and said so once', async () => {
    const { claude: governed, governor, warnings } = await startGoverned();
    const claude = governor.with({ user: 'ada' }, governed);
    for (let i = 0; i < 3; i++) {
      const error = await rejection(claude.messages.create({ ...ask(), model: 'claude-tulip-9' as never }));
      expect(error).toBeInstanceOf(Anthropic.NotFoundError);
    }
    expect(warnings).toEqual([
      expect.stringMatching(/"claude-tulip-9".*HG_UNKNOWN_MODEL/),
      expect.stringMatching(/"claude-tulip-9".*HG_MODEL_GONE/),
    ]);
    const { buckets, warnings: inSnapshot } = governor.snapshot();
    expect(buckets.map(({ name }) => name)).toContain('default');
    expect(inSnapshot).toMatchObject([{ code: 'HG_UNKNOWN_MODEL' }, { code: 'HG_MODEL_GONE' }]);
  });

  it('known to the API and not configured, learns its limits', async () => {
    const { claude, governor, warnings, api } = await startGoverned({
      api: {
        limits: [
          {
            name: 'opus',
            models: ['claude-opus-*'],
            requestsPerMinute: 120,
            inputTokensPerMinute: 50_000,
            outputTokensPerMinute: 10_000,
          },
        ],
      },
    });
    await governor.run({ user: 'ada' }, () => claude.messages.create({ ...ask(), model: 'claude-opus-5-5' }));
    expect(warnings).toHaveLength(1);
    const bucket = governor.snapshot().buckets.find(({ name }) => name === 'opus-5-5');
    expect(bucket?.limits).toMatchObject({
      requests: { perMinute: 120, source: 'learned' },
      inputTokens: { perMinute: 50_000, source: 'learned' },
      outputTokens: { perMinute: 10_000, source: 'learned' },
    });
    expect(api.ledger.count({ status: 429 })).toBe(0);
  });
});

describe('caps', () => {
  it('clamp max_tokens, or refuse, and never go under the thinking budget', async () => {
    const { claude, governor, api } = await startGoverned({
      config: {
        caps: [
          { when: { tier: 'free' }, maxTokens: 64 },
          { when: { tier: 'trial' }, maxTokens: 32, onExceed: 'refuse' },
        ],
      },
    });
    await governor.run({ tier: 'free' }, () => claude.messages.create(ask()));
    expect(api.received.at(-1)?.body).toMatchObject({ max_tokens: 64 });
    await governor.run({ tier: 'paid' }, () => claude.messages.create(ask()));
    expect(api.received.at(-1)?.body).toMatchObject({ max_tokens: 200 });
    const refused = await rejection(governor.run({ tier: 'trial' }, () => claude.messages.create(ask())));
    expect(refused).toMatchObject({ name: 'CapRefusedError', status: 400, reason: 'cap' });
    const thinking = await rejection(
      governor.run({ tier: 'free' }, () =>
        claude.messages.create(
          ask('x', { max_tokens: 4_000, thinking: { type: 'enabled', budget_tokens: 2_000 } }),
        ),
      ),
    );
    expect(thinking).toMatchObject({ name: 'CapRefusedError' });
    expect((thinking as Error).message).toContain('thinking budget of 2000');
  });
});

describe('the whole policy in shadow', () => {
  it('decides and records, and refuses nothing', async () => {
    const { claude, governor } = await startGoverned({
      config: {
        shadow: true,
        unknownCaller: 'refuse',
        caps: [{ maxTokens: 10, onExceed: 'refuse' }],
        quotas: [{ name: 'q', requests: '1/day', concurrency: 1 }],
      },
    });
    const answers = await Promise.all([1, 2, 3].map(() => claude.messages.create(ask())));
    expect(answers).toHaveLength(3);
    expect(isSettled(governor)).toBe(true);
  });
});
