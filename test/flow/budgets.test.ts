import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor, QuotaExceededError } from '@headgate/core';
import { type LedgerEntry, type ManualClock, manualClock, startClaudeApi } from '@headgate/testing';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { endsInMs, Pace } from '../../packages/core/src/admission/pace.ts';
import { pass, shut, watch } from '../batch/support.ts';
import { ask, startGoverned } from '../support/governed.ts';

const MODEL = 'claude-sonnet-4-6';
const usdOf = ({ model, inputTokens, outputTokens }: LedgerEntry) =>
  model === MODEL ? (inputTokens * 3 + outputTokens * 15) / 1e6 : (inputTokens * 1 + outputTokens * 5) / 1e6;
const WIDE = [{ name: 'all', models: ['*'], requestsPerMinute: 600_000 }];

/** A governor and an API on one manual clock, with answers of 1,000 tokens: 0.015 USD and a little for the question. */
async function bench(config: ConfigInput) {
  const clock: ManualClock = manualClock(Date.parse('2026-03-10T00:00:00Z'), { turns: 20 });
  const api = await startClaudeApi({
    clock,
    limits: WIDE,
    latency: { timeToFirstTokenMs: 0, tokensPerSecond: Number.POSITIVE_INFINITY },
    output: () => 1_000,
  });
  const warnings: string[] = [];
  const governor = createGovernor({
    clock,
    random: () => 0.5,
    logger: { info() {}, warn: (text) => void warnings.push(text), error() {} },
    config: { account: WIDE, ...config },
  });
  onTestFinished(async () => {
    await shut(clock, governor);
    await api.close();
  });
  const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: api.url }));
  const one = async (caller: object = { user: 'ada' }, model = MODEL, more: object = {}, streams = false) => {
    const params = { ...ask('hello', { model, max_tokens: 1_000 }), ...more };
    const done = watch(
      governor.run(
        caller,
        (): Promise<unknown> =>
          streams ? claude.messages.stream(params).finalMessage() : claude.messages.create(params),
      ),
    );
    // It may have to wait a little for its turn.
    for (let step = 0; step < 300 && done.state === 'pending'; step++) await pass(clock, 10, 10);
    return done;
  };
  const spent = () => api.ledger.entries.reduce((sum, entry) => sum + usdOf(entry), 0);
  return { clock, api, governor, one, spent, warnings };
}

describe('a hard budget', () => {
  it('under 100 concurrent callers is overrun by what runs when it ends, and no more', async () => {
    const LIMIT = 2;
    const { api, governor, claude } = await startGoverned({
      api: {
        limits: WIDE,
        latency: { timeToFirstTokenMs: 20, tokensPerSecond: 20_000 },
        // Lengths that no estimate can know: from 1 to 2,000 tokens.
        output: (_, random) => 1 + Math.floor(random() ** 2 * 2_000),
      },
      config: { account: WIDE, budgets: [{ name: 'all', usd: `${LIMIT}/day` }] },
    });
    const refusals: unknown[] = [];
    await Promise.all(
      Array.from({ length: 100 }, async (_, caller) => {
        for (let n = 0; ; n++) {
          try {
            await governor.run({ user: `u${caller}` }, () =>
              claude.messages.create(ask(`question ${n}`, { max_tokens: 2_000 })),
            );
          } catch (error) {
            refusals.push(error);
            return;
          }
        }
      }),
    );
    expect(refusals).toHaveLength(100);
    for (const error of refusals) {
      expect(error).toBeInstanceOf(QuotaExceededError);
      expect(error).toMatchObject({ reason: 'budget', rule: 'all' });
    }
    const spent = api.ledger.entries.reduce((sum, entry) => sum + usdOf(entry), 0);
    const [budget] = governor.budgets();
    expect(budget?.usedUsd).toBeCloseTo(spent, 6);
    // It is used, and not just refused: what is left is less than two calls of the usual size.
    expect(spent).toBeGreaterThan(LIMIT - 2 * 0.02);
    // The bound of the documentation: at most what the calls in flight cost beyond their estimates. A hundred of the
    // longest would be 3 USD more; by their mean, estimates are right.
    const inFlight = 100 * ((2_000 * 15) / 1e6);
    expect(spent).toBeLessThan(LIMIT + inFlight);
    expect(spent).toBeLessThan(LIMIT * 1.25);
    console.log(`budget of ${LIMIT} USD: ${spent.toFixed(3)} spent, in ${api.ledger.entries.length} calls`);
  });

  it('of each user, tenant and account is its own', async () => {
    const { one } = await bench({
      budgets: [
        { name: 'users', per: 'user', when: { tenant: 'a' }, usd: '0.035/day' },
        { name: 'tenants', per: 'tenant', when: { tenant: 'b' }, usd: '0.035/day' },
        { name: 'accounts', per: 'account', when: { tenant: 'c' }, usd: '0.035/day' },
      ],
    });
    const tries = async (...callers: object[]) => {
      const states: string[] = [];
      for (const caller of callers) states.push((await one(caller)).state);
      return states;
    };
    const ada = { user: 'ada', tenant: 'a' };
    expect(await tries(ada, ada, ada, { ...ada, user: 'eve' })).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
    ]);
    expect(
      await tries({ user: 'x', tenant: 'b' }, { user: 'y', tenant: 'b' }, { user: 'z', tenant: 'b' }),
    ).toEqual(['fulfilled', 'fulfilled', 'rejected']);
    expect(
      await tries({ user: 'x', tenant: 'c' }, { user: 'y', tenant: 'c' }, { user: 'z', tenant: 'c' }),
    ).toEqual(['fulfilled', 'fulfilled', 'rejected']);
  });

  it('that is soft alone never refuses', async () => {
    const { one, spent } = await bench({ budgets: [{ name: 'b', usd: '0.02/day', hard: false }] });
    for (let n = 0; n < 5; n++) expect((await one()).state).toBe('fulfilled');
    expect(spent()).toBeGreaterThan(0.07);
  });
});

describe('the soft share of a budget', () => {
  const budgets = [
    { name: 'team', usd: '0.10/day', soft: 0.5, downgradeTo: 'claude-haiku-4-5', refuseFirst: 'background' },
  ];

  it('warns, refuses the lanes that go first, and asks the smaller model, but of no one who forbids it', async () => {
    const { api, governor, one, warnings } = await bench({ budgets });
    const background = { user: 'job', lane: 'background' };
    for (let n = 0; n < 3; n++) expect((await one(background)).state).toBe('fulfilled');
    expect(warnings.filter((text) => text.includes('HG_BUDGET_SOFT'))).toHaveLength(0);
    expect((await one()).state).toBe('fulfilled');
    expect(governor.snapshot().budgets).toMatchObject([{ name: 'team', isSoft: true, limitUsd: 0.1 }]);
    // Past half of it.
    const late = await one(background);
    expect(late.error).toMatchObject({
      code: 'quota_exceeded',
      reason: 'budget',
      rule: 'team',
      lane: 'background',
    });
    expect((late.error as QuotaExceededError).retryAfterMs).toBeGreaterThan(80_000_000);
    await one();
    await one({ user: 'ada', fallback: false });
    expect(api.ledger.entries.slice(-2).map(({ model }) => model)).toEqual(['claude-haiku-4-5', MODEL]);
    expect(warnings.filter((text) => text.includes('HG_BUDGET_SOFT'))).toHaveLength(1);
  });

  it('is over with its window', async () => {
    const { api, clock, one } = await bench({ budgets });
    for (let n = 0; n < 5; n++) await one();
    await clock.advance(86_400_000);
    await one();
    expect(api.ledger.entries.at(-1)?.model).toBe(MODEL);
  });

  it('changes nothing in shadow', async () => {
    const { api, one } = await bench({ budgets, shadow: true });
    for (let n = 0; n < 10; n++)
      expect((await one({ user: 'job', lane: 'background' })).state).toBe('fulfilled');
    expect(new Set(api.ledger.entries.map(({ model }) => model))).toEqual(new Set([MODEL]));
  });
});

describe.each([
  { way: 'JSON', streams: false },
  { way: 'a stream', streams: true },
])('a call that a customer pays, by $way,', ({ streams }) => {
  const billing_policy = { type: 'billing_policy', bill_to: 'user_profile' };
  const paidByCustomer = { billing_policy };

  it('is not downgraded, refused or counted by the account’s budget (was: asked the smaller model)', async () => {
    const { api, governor, one, warnings } = await bench({
      budgets: [
        {
          name: 'team',
          usd: '0.05/day',
          soft: 0.5,
          downgradeTo: 'claude-haiku-4-5',
          refuseFirst: 'background',
        },
      ],
    });
    const background = { user: 'job', lane: 'background' };
    for (let n = 0; n < 6; n++)
      expect((await one(background, MODEL, paidByCustomer, streams)).state).toBe('fulfilled');
    expect(governor.budgets()[0]?.usedUsd).toBe(0);
    for (let n = 0; n < 2; n++) await one();
    expect(governor.budgets()[0]?.isSoft).toBe(true);
    // Past its soft share, and past all of it.
    for (const isSpent of [false, true]) {
      while (isSpent && (await one()).state === 'fulfilled');
      const used = governor.budgets()[0]?.usedUsd;
      for (const caller of [{ user: 'ada' }, background])
        expect((await one(caller, MODEL, paidByCustomer, streams)).state).toBe('fulfilled');
      expect(api.ledger.entries.slice(-2).map(({ model }) => model)).toEqual([MODEL, MODEL]);
      expect(governor.budgets()[0]?.usedUsd).toBe(used);
    }
    expect((await one()).error).toMatchObject({ reason: 'budget', rule: 'team' });
    expect(warnings.filter((text) => text.includes('HG_BUDGET_SOFT'))).toHaveLength(1);
  });

  it('goes on where the account’s own spend limit is reached, and says nothing of it', async () => {
    const { api, one } = await bench({});
    api.inject({ kind: 'status', status: 429, errorCode: 'enforced_spend_limit_reached' });
    expect((await one()).state).toBe('rejected');
    expect((await one()).error).toMatchObject({ reason: 'spend_limit' });
    expect((await one({ user: 'ada' }, MODEL, paidByCustomer, streams)).state).toBe('fulfilled');
    expect((await one()).error).toMatchObject({ reason: 'spend_limit' });
  });
});

describe('the forecast of a budget’s end', () => {
  it('is within 10 % on a steady load', async () => {
    const { clock, governor, one } = await bench({ budgets: [{ name: 'all', usd: '10/day' }] });
    const told: { at: number; endsAt: number }[] = [];
    let endedAt: number | undefined;
    for (let n = 0; endedAt === undefined && n < 2_000; n++) {
      if ((await one()).state === 'rejected') endedAt = clock.now();
      const [budget] = governor.budgets();
      if (n > 20 && n % 25 === 0) told.push({ at: clock.now(), endsAt: clock.now() + budget!.endsInMs! });
      await pass(clock, 30_000, 30_000);
    }
    // About 660 calls, one every 30 s.
    expect(endedAt).toBeGreaterThan(5 * 3_600_000);
    expect(told.length).toBeGreaterThan(20);
    for (const { at, endsAt } of told) {
      const left = endedAt! - at;
      expect(Math.abs(endsAt - endedAt!)).toBeLessThan(Math.max(60_000, 0.1 * left));
    }
  }, 60_000);

  it('is none where the budget lasts its window', async () => {
    const { clock, governor, one } = await bench({ budgets: [{ name: 'all', usd: '10/day' }] });
    for (let n = 0; n < 30; n++) {
      await one();
      await pass(clock, 600_000, 600_000);
    }
    expect(governor.budgets()).toMatchObject([{ endsInMs: undefined, isSoft: false }]);
  });

  it('tells a steady rate as it is, from the start and after a change', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.01, max: 100, noNaN: true }),
        fc.double({ min: 0.01, max: 100, noNaN: true }),
        fc.integer({ min: 100, max: 10_000 }),
        (first, second, stepMs) => {
          const pace = new Pace(600_000);
          let now = 0;
          const steady = (usd: number, forMs: number) => {
            for (const end = now + forMs; now < end; ) {
              now += stepMs;
              pace.add(usd * stepMs, now);
            }
          };
          pace.perMs(0);
          steady(first, 100 * stepMs);
          expect(pace.perMs(now) / first).toBeCloseTo(1, 1);
          steady(second, 10 * 600_000);
          expect(pace.perMs(now) / second).toBeGreaterThan(0.98);
          expect(pace.perMs(now) / second).toBeLessThan(1.02 + (first / second) * 1e-4);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('counts on what a continuous budget gets back', () => {
    const options = { remaining: 6, perMs: 3, refillPerMs: 1, resetMs: 1 };
    expect(endsInMs(options)).toBe(3);
    expect(endsInMs({ ...options, perMs: 1 })).toBeUndefined();
    expect(endsInMs({ ...options, remaining: 0 })).toBe(0);
    expect(endsInMs({ ...options, refillPerMs: 0 })).toBeUndefined();
  });
});

describe('budgets in a configuration', () => {
  it('have names of their own, and lanes that exist', () => {
    expect(() =>
      createGovernor({
        config: {
          quotas: [{ name: 'a', requests: '1/minute' }],
          budgets: [
            { name: 'a', usd: '1/day' },
            { name: 'b', usd: '1/day', refuseFirst: 'nightly' },
          ],
        },
      }),
    ).toThrow(/budgets\[0\]\.name: a quota has this name too[\s\S]*budgets\[1\]\.refuseFirst: no such lane/);
  });
});
