import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ConfigInput, type CounterStore, type HeadgateError, sqliteStore } from '@headgate/core';
import { manualClock } from '@headgate/testing';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Quotas } from '../../packages/core/src/admission/quotas.ts';
import { Alarms } from '../../packages/core/src/alarms.ts';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import { SafeCounters } from '../../packages/core/src/stores/safe.ts';
import { taking } from '../support/estimates.ts';
import { gate, MODEL, type Outcome, outcome } from '../support/gate.ts';

const granted = (all: Outcome[]) => all.flatMap((each) => (each.granted === undefined ? [] : [each.granted]));

interface Limits {
  readonly quotas?: Partial<NonNullable<ConfigInput['quotas']>[number]>;
  readonly bucket?: Partial<NonNullable<ConfigInput['account']>[number]>;
}

/** The outcome, with as much time as a lane lets wait. */
async function within(clock: ReturnType<typeof manualClock>, promise: Promise<Outcome>): Promise<Outcome> {
  let isOver = false;
  void promise.then(() => {
    isOver = true;
  });
  for (let i = 0; i < 25 && !isOver; i++) await clock.advance(1_000);
  return promise;
}

describe('a quota', () => {
  it('never lets more through in any window than its burst, its refill and what is in flight', async () => {
    const step = fc.record({
      after: fc.integer({ min: 0, max: 20_000 }),
      calls: fc.integer({ min: 1, max: 12 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 25 }),
        fc.integer({ min: 2, max: 30 }),
        fc.constantFrom(0.2, 0.5, 1),
        async (steps, perMinute, burst) => {
          const { ask, done, clock } = gate({
            quotas: [{ name: 'q', requests: `${perMinute}/minute`, burst }],
          });
          const passed: number[] = [];
          for (const { after, calls } of steps) {
            await clock.advance(after);
            const all = await Promise.all(Array.from({ length: calls }, () => outcome(ask('ada'))));
            for (const each of granted(all)) {
              passed.push(clock.now());
              done(each);
            }
          }
          const depth = Math.max(1, perMinute * burst);
          for (let from = 0; from < passed.length; from++) {
            for (let to = from; to < passed.length; to++) {
              const window = (passed[to] ?? 0) - (passed[from] ?? 0);
              expect(to - from + 1).toBeLessThanOrEqual(depth + (perMinute * window) / 60_000 + 1e-6);
            }
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  describe.each([
    {
      where: 'in one process',
      isFleet: false,
      window: 'day' as const,
      shorter: 'hour' as const,
      numRuns: 150,
    },
    // Processes tell that they live: hours of it take too long here.
    {
      where: 'in a fleet',
      isFleet: true,
      window: 'minute' as const,
      shorter: 'minute' as const,
      numRuns: 30,
    },
  ])('$where', ({ isFleet, window, shorter, numRuns }) => {
    it('refuses nobody for good whose call may fit, whatever was answered before', async () => {
      const answer = fc.record({
        user: fc.constantFrom('ada', 'bob', 'eve'),
        chars: fc.integer({ min: 1, max: 40_000 }),
        // As no API should tell it, too.
        told: fc.oneof(
          fc.integer({ min: 0, max: 2_000 }),
          fc.integer({ min: 0, max: 2 ** 32 }),
          fc.constant(Number.MAX_SAFE_INTEGER),
        ),
        output: fc.oneof(fc.integer({ min: 0, max: 500 }), fc.integer({ min: 0, max: 64_000 })),
        after: fc.integer({ min: 0, max: 90_000 }),
      });
      const quota = fc.constantFrom(
        { inputTokens: '1k/minute' },
        { outputTokens: '1k/minute' },
        { inputTokens: '300/day', outputTokens: '500/day' },
        { usd: '0.01/hour' },
        { usd: '0.01/day' },
        { inputTokens: '2k/hour', outputTokens: '100/minute', usd: '0.005/minute', burst: 0.1 },
      );
      await fc.assert(
        fc.asyncProperty(
          fc.array(answer, { maxLength: 15 }),
          quota,
          fc.constantFrom('refuse' as const, 'wait' as const),
          async (answers, limits, onExceed) => {
            const { ask, done, clock, close } = gate(
              { quotas: [{ name: 'q', per: 'user', ...limits, onExceed }] },
              { isFleet },
            );
            for (const { user, chars, told, output, after } of answers) {
              const { granted: one } = await within(clock, outcome(ask(user, { chars, maxTokens: 64_000 })));
              if (one !== undefined) done(one, output, told);
              await clock.advance(after);
            }
            // About a hundred tokens, and an answer of one.
            for (const user of ['ada', 'bob', 'eve', 'new']) {
              const { error } = await within(clock, outcome(ask(user, { chars: 400, maxTokens: 64_000 })));
              const { retryAfterMs = Number.NaN } = (error ?? { retryAfterMs: 0 }) as HeadgateError;
              expect(retryAfterMs).toBeLessThan(Number.POSITIVE_INFINITY);
            }
            await close();
          },
        ),
        { numRuns },
      );
    });

    it('lets in everybody whose call fits after the time that it tells, whatever was answered before', async () => {
      const answer = fc.record({
        user: fc.constantFrom('ada', 'bob'),
        chars: fc.integer({ min: 1, max: 40_000 }),
        told: fc.integer({ min: 0, max: 30_000 }),
        output: fc.integer({ min: 0, max: 64_000 }),
        after: fc.integer({ min: 0, max: 90_000 }),
      });
      // An answer that is not like the others makes the next one look longer than the bucket is deep.
      const unlike = [0, 133].map((output) => ({
        user: 'ada' as const,
        chars: 1,
        told: 0,
        output,
        after: 0,
      }));
      const deep: Limits = {
        bucket: { inputTokensPerMinute: 20_000, outputTokensPerMinute: 4_000 },
      };
      const limits = fc.constantFrom<Limits>(
        { quotas: { inputTokens: '1k/minute' } },
        { quotas: { inputTokens: `300/${window}` as const } },
        { quotas: { outputTokens: `500/${window}` as const, usd: `0.02/${window}` as const } },
        { quotas: { outputTokens: `500/${shorter}` as const, burst: 0.1 } },
        { bucket: { inputTokensPerMinute: 2_000, burst: 0.1 } },
        deep,
      );
      await fc.assert(
        fc.asyncProperty(fc.array(answer, { maxLength: 10 }), limits, async (answers, { quotas, bucket }) => {
          const { ask, done, clock, close } = gate(
            {
              account: [{ name: 's', models: ['*'], requestsPerMinute: 60_000, ...bucket }],
              quotas: quotas === undefined ? [] : [{ name: 'q', per: 'user', ...quotas }],
            },
            { isFleet },
          );
          for (const { user, chars, told, output, after } of answers) {
            const { granted: one } = await within(clock, outcome(ask(user, { chars, maxTokens: 64_000 })));
            if (one !== undefined) done(one, output, told);
            await clock.advance(after);
          }
          for (const user of ['ada', 'bob', 'new']) {
            let isIn = false;
            // A time told may be of a bucket that others drew on meanwhile; not so three times.
            for (let round = 0; round < 4 && !isIn; round++) {
              const { granted: one, error } = await within(clock, outcome(ask(user, { maxTokens: 64_000 })));
              isIn = one !== undefined;
              if (one !== undefined) done(one, 1, 100);
              else await clock.advance((error as HeadgateError).retryAfterMs ?? Number.NaN);
            }
            expect(isIn, user).toBe(true);
          }
          await close();
        }),
        { numRuns, examples: [[unlike, deep]] },
      );
    });
  });

  it('in money is overrun by no more than what was in flight', async () => {
    const call = fc.record({
      chars: fc.integer({ min: 10, max: 60_000 }),
      output: fc.integer({ min: 1, max: 4_000 }),
      parallel: fc.integer({ min: 1, max: 5 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(call, { minLength: 5, maxLength: 40 }), async (calls) => {
        const { ask, done } = gate({ quotas: [{ name: 'money', usd: '0.50/day' }] });
        const price = (input: number, output: number) => (input * 3 + output * 15) / 1e6;
        let spent = 0;
        for (const { chars, output, parallel } of calls) {
          const all = granted(
            await Promise.all(
              Array.from({ length: parallel }, () => outcome(ask('ada', { chars, maxTokens: 4_096 }))),
            ),
          );
          let inFlight = 0;
          for (const each of all) {
            inFlight += price(each.demand.estimate.rawInputTokens, output);
            done(each, output);
          }
          // Whoever was let in found the quota not used up; beyond it goes only what they themselves cost.
          if (all.length > 0) expect(spent).toBeLessThan(0.5);
          spent += inFlight;
        }
      }),
      { numRuns: 40 },
    );
  });

  it('in shadow never changes an outcome', async () => {
    const move = fc.record({
      after: fc.integer({ min: 0, max: 5_000 }),
      user: fc.constantFrom('a', 'b'),
      chars: fc.integer({ min: 1, max: 5_000 }),
      settles: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(move, { maxLength: 40 }), async (moves) => {
        const real = { name: 'real', requests: '20/minute' as const, concurrency: 4 };
        const shadows = [
          { name: 'x', requests: '1/day', shadow: true },
          { name: 'y', usd: '0.001/month', concurrency: 1, onExceed: 'wait' as const, shadow: true },
        ];
        const runs = [gate({ quotas: [real] }), gate({ quotas: [real, ...shadows] })];
        const open = runs.map(() => [] as Awaited<ReturnType<typeof outcome>>[]);
        for (const { after, user, chars, settles } of moves) {
          const seen: boolean[] = [];
          for (const [index, run] of runs.entries()) {
            await run.clock.advance(after);
            const result = await outcome(run.ask(user, { chars }));
            seen.push(result.granted !== undefined);
            if (result.granted !== undefined) {
              if (settles) run.done(result.granted);
              else open[index]?.push(result);
            }
          }
          expect(seen[1]).toBe(seen[0]);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('tells a time after which the call passes, and before which it does not', async () => {
    let early = 0;
    let onTime = 0;
    let refusals = 0;
    for (let seed = 1; seed <= 60; seed++) {
      const perMinute = 3 + (seed % 17);
      const wait = async (share: number) => {
        const { ask, done, clock } = gate({
          quotas: [{ name: 'q', requests: `${perMinute}/minute`, burst: 0.5 }],
        });
        for (;;) {
          const { granted, error } = await outcome(ask('ada'));
          if (granted !== undefined) {
            done(granted);
            await clock.advance(100);
            continue;
          }
          await clock.advance(((error as HeadgateError).retryAfterMs ?? 0) * share);
          return (await outcome(ask('ada'))).granted !== undefined;
        }
      };
      refusals++;
      if (await wait(1)) onTime++;
      if (await wait(0.5)) early++;
    }
    expect(onTime / refusals).toBeGreaterThanOrEqual(0.95);
    expect(early).toBe(0);
  });

  it('counts by what it says: user, tenant, route, model, all', async () => {
    for (const [per, same, other] of [
      ['user', { tenant: 't' }, { tenant: 'u' }],
      ['tenant', { tenant: 't', route: '/x' }, { tenant: 'u' }],
      ['route', { tenant: 't', route: '/x' }, { tenant: 't', route: '/y' }],
      ['model', { tenant: 't' }, { tenant: 't', model: 'claude-sonnet-4-5' }],
    ] as const) {
      const { ask, done } = gate({ quotas: [{ name: 'q', per, requests: '1/day' }] });
      const first = await ask('ada', same);
      done(first);
      expect((await outcome(ask('ada', same))).error, per).toBeDefined();
      expect((await outcome(ask('ada', other))).granted, per).toBeDefined();
    }
    const { ask } = gate({ quotas: [{ name: 'q', per: 'all', requests: '1/day' }] });
    await ask('ada');
    expect((await outcome(ask('ben', { tenant: 'u', route: '/z' }))).error).toBeDefined();
  });

  it('parks with `wait`, in order, and lets all through as they fit', async () => {
    const { ask, done, clock } = gate({
      quotas: [{ name: 'q', requests: '60/minute', burst: 1 / 60, onExceed: 'wait' }],
    });
    const order: number[] = [];
    const all = Array.from({ length: 10 }, (_, index) =>
      outcome(ask('ada')).then((each) => {
        order.push(index);
        if (each.granted !== undefined) done(each.granted);
        return each;
      }),
    );
    await clock.advance(10_000);
    expect(granted(await Promise.all(all))).toHaveLength(10);
    expect(order).toEqual([...order].sort((a, b) => a - b));
  });
});

describe('a reload', () => {
  const day = (requests: string, more = {}) => ({ quotas: [{ name: 'q', requests, ...more }] });

  it('keeps what has been used, whichever way the limit goes', async () => {
    const { ask, done, update } = gate(day('10/day'));
    for (let i = 0; i < 6; i++) done(await ask('ada'));
    update(day('8/day'));
    for (let i = 0; i < 2; i++) done(await ask('ada'));
    expect((await outcome(ask('ada'))).error).toMatchObject({ code: 'quota_exceeded' });
    update(day('5/day'));
    expect((await outcome(ask('ada'))).error).toMatchObject({ code: 'quota_exceeded' });
    update(day('9/day'));
    done(await ask('ada'));
    expect((await outcome(ask('ada'))).error).toMatchObject({ code: 'quota_exceeded' });
  });

  it('at any moment conserves everything', async () => {
    const configs = [
      {
        quotas: [
          { name: 'q', requests: '10/day' },
          { name: 'r', inputTokens: '5k/minute', onExceed: 'wait' as const },
        ],
      },
      { quotas: [{ name: 'q', requests: '4/day', concurrency: 2 }] },
      {
        quotas: [
          { name: 'q', requests: '10/minute' },
          { name: 's', usd: '1/month' },
        ],
      },
      { quotas: [{ name: 'q', per: 'all' as const, requests: '10/day' }] },
      {
        quotas: [],
        account: [{ name: 's', models: ['*'], requestsPerMinute: 30 }],
        lanes: { interactive: {}, slow: {} },
      },
    ];
    const move = fc.record({
      kind: fc.constantFrom('ask', 'ask', 'settle', 'reload', 'advance', 'drop'),
      user: fc.constantFrom('a', 'b'),
      pick: fc.nat(),
      ms: fc.integer({ min: 1, max: 30_000 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(move, { maxLength: 60 }), async (moves) => {
        const { ask, done, update, clock, admission, alarms } = gate(configs[0] ?? {});
        const running: Awaited<ReturnType<typeof ask>>[] = [];
        let asked = 0;
        let answered = 0;
        for (const { kind, user, pick, ms } of moves) {
          if (kind === 'ask') {
            asked++;
            void ask(user)
              .then(
                (each) => void running.push(each),
                () => {},
              )
              .then(() => answered++);
          } else if (kind === 'settle' || kind === 'drop') {
            const [each] = running.splice(pick % Math.max(1, running.length), 1);
            if (each !== undefined) kind === 'settle' ? done(each) : each.lease.drop('unsent');
          } else if (kind === 'reload') update(configs[pick % configs.length] ?? {});
          else await clock.advance(ms);
        }
        for (let i = 0; i < 40; i++) {
          for (const each of running.splice(0)) done(each);
          await clock.advance(30_000);
        }
        expect(answered).toBe(asked);
        const { buckets, inFlight } = admission.snapshot();
        expect(inFlight).toBe(0);
        for (const bucket of buckets) {
          expect([bucket.active, bucket.parked]).toEqual([0, 0]);
          for (const limit of Object.values(bucket.limits)) expect(limit.level).toBe(limit.capacity);
        }
        expect([alarms.size, clock.pending()]).toEqual([0, 0]);
      }),
      { numRuns: 60 },
    );
  });
});

describe('counters of days and months', () => {
  function file() {
    const folder = mkdtempSync(join(tmpdir(), 'headgate-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    return join(folder, 'counters.db');
  }
  const config = { quotas: [{ name: 'q', requests: '5/day', usd: '1/month' }] };

  it('survive a restart, in a file that only its owner can read', async () => {
    const path = file();
    const start = Date.parse('2026-06-01T10:00:00Z');
    const first = gate(config, { store: sqliteStore({ path }), clock: manualClock(start) });
    for (let i = 0; i < 3; i++) first.done(await first.ask('ada@example.org'));
    first.closeStore();
    expect(statSync(path).mode & 0o777).toBe(0o600);

    const second = gate(config, { store: sqliteStore({ path }), clock: manualClock(start + 3_600_000) });
    expect(
      granted(await Promise.all(Array.from({ length: 5 }, () => outcome(second.ask('ada@example.org'))))),
    ).toHaveLength(2);
    second.closeStore();

    const nextDay = gate(config, { store: sqliteStore({ path }), clock: manualClock(start + 86_400_000) });
    expect(
      granted(await Promise.all(Array.from({ length: 7 }, () => outcome(nextDay.ask('ada@example.org'))))),
    ).toHaveLength(5);
    nextDay.closeStore();
    expect([...first.errors, ...second.errors, ...nextDay.errors]).toEqual([]);
  });

  it('name nobody in the file', async () => {
    const path = file();
    const { ask, done, closeStore } = gate(config, { store: sqliteStore({ path }) });
    done(await ask('ada@example.org'));
    closeStore();
    const { readFileSync } = await import('node:fs');
    expect(readFileSync(path).includes('ada@example.org')).toBe(false);
  });

  it('are flushed by themselves, soon', async () => {
    const path = file();
    const { ask, done, clock } = gate(config, { store: sqliteStore({ path }) });
    done(await ask('ada'));
    await clock.advance(600);
    const other = gate(config, { store: sqliteStore({ path }) });
    expect(
      granted(await Promise.all(Array.from({ length: 5 }, () => outcome(other.ask('ada'))))),
    ).toHaveLength(4);
    other.closeStore();
  });

  it('go on in memory where the file cannot be used, and no call fails of it', async () => {
    const { ask, done, errors } = gate(config, { store: sqliteStore({ path: '/nowhere/at/all.db' }) });
    for (let i = 0; i < 5; i++) done(await ask('ada'));
    expect((await outcome(ask('ada'))).error).toMatchObject({ code: 'quota_exceeded' });
    expect(String(errors[0])).toContain('/nowhere/at/all.db');
  });
});

describe('memory', () => {
  const NOTHING = { inputTokens: 0, outputTokens: 0, usd: 0 };
  const users = (store?: CounterStore) => {
    const { quotas: rules, timeZone } = parseConfig({ quotas: [{ name: 'q', requests: '2/day' }] });
    const clock = manualClock();
    const counters = store && new SafeCounters(store, new Alarms(clock), clock, () => expect.unreachable());
    let forgotten = 0;
    const quotas = new Quotas(rules, timeZone, clock, counters, {
      maxKeys: 1_000,
      onForgotten: () => forgotten++,
    });
    const rule = rules[0]!;
    const enter = (user: string) => {
      const ticket = quotas.ticket([{ rule, key: user }], taking({}));
      if (ticket.arrive() !== undefined) return undefined;
      ticket.commit();
      return ticket;
    };
    const use = (user: string) => {
      const ticket = enter(user);
      ticket?.settle(true, () => NOTHING);
      return ticket !== undefined;
    };
    return { clock, enter, use, keys: () => quotas.snapshot()[0]?.keys ?? 0, forgotten: () => forgotten };
  };

  it('is bounded: made-up users push out each other, and nobody who has used up his quota', () => {
    const { enter, use, keys, forgotten } = users();
    expect([use('victim'), use('victim'), use('victim')]).toEqual([true, true, false]);
    const running = enter('running');
    for (let i = 0; i < 20_000; i++) use(`made up ${i}`);
    expect(keys()).toBeLessThanOrEqual(1_000);
    expect(use('victim')).toBe(false);
    expect(forgotten()).toBeGreaterThan(18_000);
    // Its charge and its slot are still its own.
    running?.settle(true, () => NOTHING);
    expect([use('running'), use('running')]).toEqual([true, false]);
  });

  it('with a store has users of the last minutes alone, and forgets nothing of the others', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'headgate-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const { clock, use, keys, forgotten } = users(sqliteStore({ path: join(folder, 's.sqlite') }));
    expect([use('first'), use('first')]).toEqual([true, true]);
    for (let minute = 0; minute < 30; minute++) {
      for (let i = 0; i < 60; i++) use(`user ${minute} ${i}`);
      await clock.advance(60_000);
    }
    expect(keys()).toBeLessThan(60 * 10);
    expect(forgotten()).toBe(0);
    expect([use('first'), use('user 0 0'), use('user 0 0')]).toEqual([false, true, false]);
  });

  it('of users who are done is given back as others come', () => {
    const { quotas: rules, timeZone } = parseConfig({ quotas: [{ name: 'q', requests: '60/minute' }] });
    const clock = manualClock();
    const quotas = new Quotas(rules, timeZone, clock);
    for (let i = 0; i < 100_000; i++) {
      quotas.ticket([{ rule: rules[0]!, key: `user ${i}` }], taking({})).arrive();
    }
    expect(quotas.snapshot()[0]?.keys).toBe(100_000);
  });
});

it('two accounts side by side never share a bucket', async () => {
  const { ask, admission } = gate({
    account: [{ name: 's', models: ['*'], concurrency: 1, requestsPerMinute: 60 }],
    accounts: { europe: [{ name: 's', models: ['*'], concurrency: 1, requestsPerMinute: 60 }] },
  });
  await ask('ada');
  const other = await outcome(ask('ada', { account: 'europe' }));
  expect(other.granted).toBeDefined();
  expect(admission.snapshot().buckets.map(({ account, name, active }) => [account, name, active])).toEqual([
    ['default', 's', 1],
    ['europe', 's', 1],
  ]);
  expect(MODEL).toBeDefined();
});
