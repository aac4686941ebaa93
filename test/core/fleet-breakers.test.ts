import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Breaker } from '../../packages/core/src/attempts/breaker.ts';
import { readBreakers, writeBreakers } from '../../packages/core/src/attempts/breaker-notice.ts';
import type { BreakersTold } from '../../packages/core/src/attempts/breakers.ts';
import { RetryBudget } from '../../packages/core/src/attempts/retry.ts';
import { hashOfName } from '../../packages/core/src/hash.ts';
import { type Fleet, type FleetProcess, startFleet } from '../support/fleet-process.ts';

const MODEL = 'claude-a';
const breakerOf = ({ breakers }: FleetProcess): Breaker => breakers.of('default', MODEL);
const statesOf = (processes: readonly FleetProcess[]) => processes.map((each) => breakerOf(each).state);
const joinAll = async (fleet: Fleet, count: number) => {
  const processes: FleetProcess[] = [];
  for (let i = 0; i < count; i++) processes.push(await fleet.join());
  return processes;
};
/** Every process has five callers, who take turns. */
let turn = 0;
const callerOf = (process: FleetProcess) => `${process.name} ${turn++ % 5}`;
const fail = (process: FleetProcess) => {
  const caller = callerOf(process);
  if (breakerOf(process).enter(caller).pass) breakerOf(process).failed(false, caller);
};
const succeed = (process: FleetProcess) => {
  if (breakerOf(process).enter(callerOf(process)).pass) breakerOf(process).succeeded(false);
};
/** All processes open, by what all of them have seen fail. */
const openAll = async (fleet: Fleet, processes: readonly FleetProcess[]) => {
  for (let round = 0; round < 20 && statesOf(processes).includes('closed'); round++) {
    for (const each of processes) fail(each);
    await fleet.clock.advance(100);
  }
  await fleet.clock.advance(5);
};

describe('the breakers of a fleet', () => {
  it('open by what all have sent, though none has enough of its own', async () => {
    const fleet = startFleet();
    const processes = await joinAll(fleet, 20);
    for (let half = 0; half < 3; half++) {
      for (const each of processes) fail(each);
      await fleet.clock.advance(500);
    }
    expect(statesOf(processes)).toEqual(new Array(20).fill('open'));
    expect(new Set(processes.map(({ moves }) => `${moves}`))).toEqual(new Set(['open']));
  });

  it('stay closed where as many succeed', async () => {
    const fleet = startFleet();
    const processes = await joinAll(fleet, 20);
    for (let half = 0; half < 10; half++) {
      for (const [i, each] of processes.entries()) i < 9 ? fail(each) : succeed(each);
      await fleet.clock.advance(500);
    }
    expect(statesOf(processes)).toEqual(new Array(20).fill('closed'));
  });

  it('leave to itself a process that alone has trouble, whatever it sends', async () => {
    const fleet = startFleet();
    const [ill, ...well] = (await joinAll(fleet, 10)) as [FleetProcess, ...FleetProcess[]];
    const states = new Set<string>();
    for (let tenth = 0; tenth < 100; tenth++) {
      // It opens and tries again, and sees its probes fail.
      for (let i = 0; i < 30; i++) {
        const caller = callerOf(ill);
        const passage = breakerOf(ill).enter(caller);
        if (passage.pass) breakerOf(ill).failed(passage.isProbe, caller);
      }
      for (const each of well) succeed(each);
      await fleet.clock.advance(100);
      for (const state of statesOf(well)) states.add(state);
    }
    expect([...states]).toEqual(['closed']);
    expect(ill.moves.slice(0, 3)).toEqual(['open', 'half_open', 'open']);
  });

  it('are open for as long in all, also in one that has sent nothing, and one that comes later', async () => {
    const fleet = startFleet();
    const processes = await joinAll(fleet, 4);
    const [idle, ...busy] = processes as [FleetProcess, ...FleetProcess[]];
    await openAll(fleet, busy);
    const late = await fleet.join();
    const waits = [...busy, idle, late].map((each) => {
      const passage = breakerOf(each).look();
      return passage.pass ? 0 : passage.retryAfterMs;
    });
    expect(Math.min(...waits)).toBeGreaterThan(800);
    expect(Math.max(...waits) - Math.min(...waits)).toBeLessThan(20);
  });

  it('are tried by one process at a time, and closed by what all have seen succeed', async () => {
    const fleet = startFleet();
    const processes = await joinAll(fleet, 3);
    await openAll(fleet, processes);
    await fleet.clock.advance(1_001);
    for (const prober of processes) {
      expect(breakerOf(prober).enter()).toEqual({ pass: true, isProbe: true });
      await fleet.clock.advance(5);
      for (const each of processes) expect(breakerOf(each).look()).toMatchObject({ pass: false });
      breakerOf(prober).succeeded(true);
      await fleet.clock.advance(5);
    }
    expect(statesOf(processes)).toEqual(['closed', 'closed', 'closed']);
    // Each has seen one probe of its own, and all the common moves.
    expect(processes.map(({ moves }) => moves)).toEqual(new Array(3).fill(['open', 'half_open', 'closed']));
    await fleet.clock.advance(10_000);
    expect(statesOf(processes)).toEqual(['closed', 'closed', 'closed']);
  });

  it('stay open longer each time, for all, whoever has probed', async () => {
    const fleet = startFleet();
    const processes = await joinAll(fleet, 3);
    await openAll(fleet, processes);
    const waits: number[] = [];
    for (let round = 0; round < 5; round++) {
      const passage = breakerOf(processes[0] as FleetProcess).look();
      const ms = passage.pass ? 0 : passage.retryAfterMs;
      waits.push(Math.round(ms / 500) * 500);
      await fleet.clock.advance(ms + 2);
      const prober = processes[round % 3] as FleetProcess;
      expect(breakerOf(prober).enter()).toEqual({ pass: true, isProbe: true });
      await fleet.clock.advance(2);
      breakerOf(prober).failed(true);
      await fleet.clock.advance(2);
      expect(statesOf(processes)).toEqual(['open', 'open', 'open']);
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 8_000]);
  });

  it('are not opened by one caller whose calls fail in every process', async () => {
    const fleet = startFleet();
    const processes = await joinAll(fleet, 4);
    for (let tenth = 0; tenth < 100; tenth++) {
      for (const each of processes) {
        for (let i = 0; i < 5; i++) if (breakerOf(each).enter('A').pass) breakerOf(each).failed(false, 'A');
        if (tenth % 10 === 0) succeed(each);
      }
      await fleet.clock.advance(100);
      expect(statesOf(processes)).toEqual(new Array(4).fill('closed'));
    }
    // A's own calls are known to fail, also in a process to which they come seldom.
    expect(processes.map((each) => breakerOf(each).failsFor('A'))).toEqual(new Array(4).fill(true));
  });

  it('wait for a probe whose process has died no longer than ten seconds', async () => {
    const fleet = startFleet();
    const processes = await joinAll(fleet, 2);
    const [dying, living] = processes as [FleetProcess, FleetProcess];
    await openAll(fleet, processes);
    await fleet.clock.advance(1_001);
    breakerOf(dying).enter();
    await fleet.clock.advance(9_900);
    expect(breakerOf(living).look()).toMatchObject({ pass: false });
    await fleet.clock.advance(200);
    expect(breakerOf(living).enter()).toEqual({ pass: true, isProbe: true });
  });

  it('say when a probe came to nothing, also as their process ends', async () => {
    const fleet = startFleet();
    const processes = await joinAll(fleet, 2);
    const [ending, other] = processes as [FleetProcess, FleetProcess];
    await openAll(fleet, processes);
    await fleet.clock.advance(1_001);
    breakerOf(ending).enter();
    await fleet.clock.advance(5);
    breakerOf(ending).released(true);
    await ending.close();
    expect(breakerOf(other).enter()).toEqual({ pass: true, isProbe: true });
    await other.close();
    await fleet.clock.advance(60_000);
    expect(fleet.clock.pending()).toBe(0);
  });

  it('are closed everywhere by the hand of an operator, once', async () => {
    const fleet = startFleet();
    const processes = await joinAll(fleet, 3);
    await openAll(fleet, processes);
    processes[1]?.breakers.reset();
    await fleet.clock.advance(5);
    expect(statesOf(processes)).toEqual(['closed', 'closed', 'closed']);
    // What opens after that stays open, though the same notice is read again.
    await fleet.clock.advance(1_500);
    await openAll(fleet, processes);
    processes[1]?.breakers.onChange('now');
    await fleet.clock.advance(5);
    expect(statesOf(processes)).toEqual(['open', 'open', 'open']);
  });

  it('take a move once, however often it is told', async () => {
    const fleet = startFleet();
    const process = await fleet.join();
    const move = { n: 5, to: 'open', ms: 4_000, nextMs: 8_000, successes: 0 } as const;
    const breakers = new Map([
      [hashOfName(`default\n${MODEL}`), { sent: 0, failed: 0, callers: 0, failing: 0, move }],
    ]);
    process.breakers.heard('another', { breakers, spendLimits: [] }, 0, []);
    expect(breakerOf(process).state).toBe('open');
    process.breakers.reset();
    await fleet.clock.advance(1_500);
    process.breakers.heard('another', { breakers, spendLimits: [] }, 0, []);
    expect(breakerOf(process).state).toBe('closed');
  });

  it('say little: nothing where nothing fails, and some notices a second where everything does', async () => {
    const fleet = startFleet();
    const processes = await joinAll(fleet, 2);
    for (let tenth = 0; tenth < 100; tenth++) {
      for (const each of processes) succeed(each);
      await fleet.clock.advance(100);
    }
    expect(fleet.notices).toEqual([]);
    for (let tenth = 0; tenth < 100; tenth++) {
      for (const each of processes) {
        succeed(each);
        if (tenth % 10 === 0) fail(each);
      }
      await fleet.clock.advance(100);
    }
    expect(fleet.notices.length).toBeGreaterThan(10);
    expect(fleet.notices.length).toBeLessThanOrEqual(2 * 21);
    const before = fleet.notices.length;
    await fleet.clock.advance(60_000);
    // What has failed leaves the window, and then there is no more to say.
    expect(fleet.notices.length - before).toBeLessThan(30);
    expect(fleet.clock.pending()).toBe(0);
  });

  it('tell by hash which they are', async () => {
    const fleet = startFleet();
    const processes = await joinAll(fleet, 2);
    await openAll(fleet, processes);
    for (const { notice } of fleet.notices) {
      expect(notice).not.toContain(MODEL);
      expect(notice).not.toContain('default');
    }
  });
});

describe('a spend limit', () => {
  const limitOf = ({ breakers }: FleetProcess) => breakers.spendLimit('default');

  it('is known to all as one has come upon it, and lifted in all by the hand of an operator', async () => {
    const fleet = startFleet();
    const [one, other] = (await joinAll(fleet, 2)) as [FleetProcess, FleetProcess];
    const foreign = await fleet.join({ accounts: ['elsewhere'] });
    const until = fleet.clock.wall() + 3_600_000;
    one.breakers.spendLimitReached('default', { until, code: 'enforced_spend_limit_reached' });
    await fleet.clock.advance(5);
    expect(limitOf(other)?.code).toBe('enforced_spend_limit_reached');
    expect(Math.abs((limitOf(other)?.until ?? 0) - until)).toBeLessThan(50);
    expect(foreign.breakers.snapshot().spendLimits).toEqual([]);
    other.breakers.reset();
    await fleet.clock.advance(5);
    expect([limitOf(one), limitOf(other)]).toEqual([undefined, undefined]);
  });

  it('is no news to who comes later: a deploy may have brought a new key', async () => {
    const fleet = startFleet();
    const one = await fleet.join();
    const until = fleet.clock.wall() + 3_600_000;
    one.breakers.spendLimitReached('default', { until, code: 'enforced_spend_limit_reached' });
    await fleet.clock.advance(6_000);
    const late = await fleet.join();
    one.breakers.onChange('now');
    await fleet.clock.advance(5);
    expect(limitOf(late)).toBeUndefined();
    expect(limitOf(one)).toBeDefined();
  });
});

describe('the retry budgets of a fleet', () => {
  it.each([1, 4, 10])('of %d processes allow in sum what one would', (count) => {
    const budgets = Array.from({ length: count }, () => new RetryBudget(0.1, 0, () => count));
    const spend = (now: number) => budgets.filter((budget) => budget.take(now)).length;
    let saved = 0;
    for (let made = spend(0); made > 0; made = spend(0)) saved += made;
    expect(saved).toBeGreaterThan(10 - count);
    expect(saved).toBeLessThanOrEqual(10);
    // A hundred seconds, with ten first attempts in each of them, however they fall to the processes.
    let retries = 0;
    for (let tenth = 1; tenth <= 1_000; tenth++) {
      (budgets[tenth % Math.min(3, count)] as RetryBudget).firstAttempt(tenth * 100);
      retries += spend(tenth * 100);
    }
    expect(retries).toBeGreaterThan(190 - count);
    expect(retries).toBeLessThanOrEqual(200 + count);
  });

  it('let each of many retry at all', () => {
    const budget = new RetryBudget(0.1, 0, () => 50);
    expect([budget.take(0), budget.take(0), budget.take(49_000), budget.take(50_001)]).toEqual([
      true,
      false,
      false,
      true,
    ]);
  });
});

describe('a notice of breakers', () => {
  const amount = fc.integer({ min: 0, max: 1e9 });
  const hash = fc.string().map(hashOfName);
  const told: fc.Arbitrary<BreakersTold> = fc
    .record({
      breakers: fc.array(
        fc.tuple(
          hash,
          fc.record(
            {
              sent: amount,
              failed: amount,
              callers: amount,
              failing: amount,
              top: fc.record({ hash, sent: amount, failed: amount }),
              move: fc.record({
                n: amount,
                to: fc.constantFrom('open', 'probing', 'waiting', 'closed'),
                ms: amount,
                nextMs: amount,
                successes: amount,
              }),
            },
            { requiredKeys: ['sent', 'failed', 'callers', 'failing'] },
          ),
        ),
        { maxLength: 5 },
      ),
      spendLimits: fc.array(
        fc.record({
          account: hash,
          agoMs: amount,
          ms: amount,
          code: fc.constant('spend_limit_reached'),
          caller: fc.oneof(hash, fc.constant('')),
        }),
        { maxLength: 3 },
      ),
      reset: fc.option(fc.record({ n: amount, agoMs: amount }), { nil: undefined }),
    })
    .map(({ breakers, spendLimits, reset }) => ({
      breakers: new Map(breakers),
      spendLimits,
      ...(reset === undefined ? {} : { reset }),
    })) as fc.Arbitrary<BreakersTold>;

  it('is read as it was written', () => {
    fc.assert(
      fc.property(told, (each) => {
        expect(readBreakers(writeBreakers(each))).toEqual(each);
      }),
    );
  });

  it('of any other kind changes nothing, or nothing but what it may say, and never throws', async () => {
    const fleet = startFleet();
    const process = await fleet.join();
    const json = fc.oneof(
      fc.jsonValue(),
      fc.record({
        version: fc.constantFrom<unknown>(1, 1, 1, 2, '1'),
        breakers: fc.oneof(
          fc.dictionary(hash, fc.oneof(fc.array(fc.jsonValue()), fc.array(fc.double()))),
          fc.jsonValue(),
        ),
        spend: fc.oneof(fc.array(fc.array(fc.jsonValue())), fc.jsonValue()),
        reset: fc.oneof(fc.array(fc.jsonValue()), fc.jsonValue()),
      }),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          json.map((each) => JSON.stringify(each)),
        ),
        (notice) => {
          const read = readBreakers(notice);
          if (read !== undefined) process.breakers.heard('another', read, 0, ['default']);
          const passage = breakerOf(process).look();
          // No notice holds anybody up for longer than a breaker may.
          if (!passage.pass) expect(passage.retryAfterMs).toBeLessThanOrEqual(8_000);
        },
      ),
      { numRuns: 500 },
    );
    // Another version is not for us.
    expect(readBreakers('{"version":2,"breakers":{}}')).toBeUndefined();
    expect(readBreakers('{"version":1,"breakers":{}}')).toBeDefined();
  });

  it('from as many processes, of as many models as anybody likes, is kept in bounded number', async () => {
    const fleet = startFleet();
    const { breakers } = await fleet.join();
    for (let process = 0; process < 200; process++) {
      const many = new Map(
        Array.from({ length: 100 }, (_, i) => [
          hashOfName(`${process} ${i}`),
          { sent: 1, failed: 1, callers: 1, failing: 1 },
        ]),
      );
      breakers.heard(`process ${process}`, { breakers: many, spendLimits: [] }, 0, []);
    }
    expect(breakers.known).toBeLessThanOrEqual(256);
  });
});
