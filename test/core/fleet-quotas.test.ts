import { manualClock } from '@headgate/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FleetQuotas } from '../../packages/core/src/admission/fleet/fleet-quotas.ts';
import { type Ask, QuotaBacklog } from '../../packages/core/src/admission/fleet/quota-backlog.ts';
import { Quotas } from '../../packages/core/src/admission/quotas.ts';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import { change, commit, emptyQuota, type QuotaState } from '../../packages/core/src/stores/ledger/quotas.ts';
import type { Exchange } from '../../packages/core/src/stores/store.ts';

const ONE = { requests: 1, inputTokens: 10, outputTokens: 10, usd: 0.01 } as const;
const TRUTH = { inputTokens: 20, outputTokens: 5, usd: 0.02 };
const DAY = 86_400_000;
const NOW = 20_000 * DAY;

/** Applies messages as a ledger does. */
function applyTo(
  states: Map<string, QuotaState>,
  { quotas, spent }: Pick<Exchange, 'quotas' | 'spent'>,
  now: number,
) {
  const of = (key: string) => {
    const state = states.get(key) ?? emptyQuota();
    states.set(key, state);
    return state;
  };
  for (const ask of spent) commit(of(ask.key), ask, 'me', now);
  for (const each of quotas) change(of(each.key), each, 'me', now);
}

function setUp(quotas: object[]) {
  const clock = manualClock();
  const config = parseConfig({ quotas });
  const states = new Quotas(config.quotas, 'UTC', clock);
  const told = new FleetQuotas(
    clock,
    () => {},
    () => {},
  );
  told.heard(clock.wall());
  const ticket = (user: string) =>
    states.ticket(
      config.quotas.map((rule) => ({ rule, key: user })),
      () => ({ amounts: ONE, least: ONE, isGuess: false }),
    );
  const takeAll = () => {
    const all: Pick<Exchange, 'quotas' | 'spent'>[] = [];
    for (;;) {
      const each = told.take();
      if (each.quotas.length === 0 && each.spent.length === 0) return all;
      all.push(each);
    }
  };
  return { clock, told, states, ticket, takeAll };
}

describe('what a process keeps for a ledger that is lost', () => {
  it('has every slot in it, however many calls end meanwhile', () => {
    const { clock, told, ticket, takeAll } = setUp([{ name: 'slots', concurrency: 1, requests: '1000/day' }]);
    const ledger = new Map<string, QuotaState>();
    const running = Array.from({ length: 200 }, (_, n) => ticket(`running ${n}`));
    for (const each of running) {
      each.arrive();
      // The ledger has granted these.
      const asks = told.asks(each, false);
      for (const ask of asks) applyTo(ledger, { quotas: [], spent: [ask] }, clock.wall());
      told.commit(each);
    }
    for (const each of running) each.settle(true, () => TRUTH);
    for (let n = 0; n < 12_000; n++) {
      const other = ticket(`other ${n % 300}`);
      other.arrive();
      other.commit();
      told.spend(other);
      other.settle(true, () => TRUTH);
    }
    const messages = takeAll();
    for (const each of messages) applyTo(ledger, each, clock.wall());
    expect([...ledger.values()].filter(({ claims }) => Object.keys(claims).length > 0)).toEqual([]);
    const used = [...ledger.values()].map(({ meters }) => meters.requests?.used ?? 0);
    expect(used.reduce((sum, each) => sum + each, 0)).toBe(12_200);
    // By quotas in use, not by calls.
    expect(messages.flatMap(({ spent }) => spent).length).toBe(300);
  });

  it('is the sum of what was done, whatever it was and however it is told', () => {
    const ask = (key: string, day: number, amount: number): Ask => ({
      key,
      onExceed: 'refuse',
      concurrency: 100,
      meters: [
        { name: 'requests', amount, quota: 1e6, kind: 'window', start: day * DAY, end: (day + 1) * DAY },
        { name: 'inputTokens', amount: 7, quota: 1e6, kind: 'continuous', capacity: 1e6, ratePerMs: 1e-9 },
      ],
    });
    const call = fc.record({
      key: fc.constantFrom('a', 'b', 'c'),
      kind: fc.constantFrom('spent', 'granted', 'left', 'given back'),
      amount: fc.integer({ min: 1, max: 5 }),
      delta: fc.integer({ min: -4, max: 9 }),
      ends: fc.boolean(),
      isTold: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(call, { maxLength: 60 }), (calls) => {
        const backlog = new QuotaBacklog(() => {});
        const merged = new Map<string, QuotaState>();
        const plain = new Map<string, QuotaState>();
        const tell = () => {
          for (;;) {
            const each = backlog.take(2, NOW);
            if (each.quotas.length === 0 && each.spent.length === 0) return;
            applyTo(merged, each, NOW);
          }
        };
        for (const { key, kind, amount, delta, ends, isTold } of calls) {
          const own = ask(key, 20_000, amount);
          const used = [
            // No call has used less than nothing.
            { name: 'requests', delta: Math.max(-amount, delta), start: NOW },
            { name: 'inputTokens', delta: Math.max(-7, -delta), start: 0 },
          ];
          const corrected = {
            key,
            slots: -1,
            meters: used.map(({ name, delta }) => ({ name, released: 0, used: delta, at: NOW })),
          };
          if (kind === 'spent') backlog.spend(own);
          else applyTo(merged, { quotas: [], spent: [{ ...own, isHeld: false }] }, NOW);
          applyTo(plain, { quotas: [], spent: [{ ...own, isHeld: false }] }, NOW);
          if (kind === 'given back' || ends) {
            backlog.correct({ key }, -1, used, NOW);
            applyTo(plain, { quotas: [corrected], spent: [] }, NOW);
          }
          if (isTold) tell();
        }
        tell();
        expect(backlog.size).toBe(0);
        const outline = (states: Map<string, QuotaState>) =>
          [...states].map(([key, { meters, claims }]) => [
            key,
            claims.me?.slots ?? 0,
            meters.requests?.used ?? 0,
            // Given back beyond its depth: the next refill cuts that off.
            Math.round(Math.min(1e6, meters.inputTokens?.level ?? 1e6) * 1e3),
          ]);
        expect(outline(merged).sort()).toEqual(outline(plain).sort());
      }),
      { numRuns: 200 },
    );
  });

  it('has nothing of a window that is over, and of what refills no more than is missing', async () => {
    const { clock, told, ticket, takeAll } = setUp([
      { name: 'daily', requests: '100/day' },
      { name: 'minute', requests: '30/minute' },
    ]);
    const spend = (calls: number) => {
      for (let n = 0; n < calls; n++) {
        const each = ticket('ada');
        each.arrive();
        each.commit();
        told.spend(each);
        each.settle(true, () => TRUTH);
      }
    };
    // An outage of ten minutes, and of a night: in each minute a third of the quota is used.
    for (let minute = 0; minute < 10; minute++) {
      spend(10);
      await clock.advance(60_000);
    }
    const amounts = (messages: Pick<Exchange, 'quotas' | 'spent'>[]) =>
      messages.flatMap(({ spent }) => spent.flatMap(({ meters }) => meters.map(({ amount }) => amount)));
    spend(10);
    expect(amounts(takeAll()).sort((a, b) => a - b)).toEqual([10, 110]);
    spend(5);
    await clock.advance(2 * DAY);
    expect(amounts(takeAll())).toEqual([]);
  });

  it('forgets, past its bound, charges alone and in the favour of their users, and says so', () => {
    let forgotten = 0;
    const backlog = new QuotaBacklog(() => forgotten++, 100);
    const meter = { name: 'requests', amount: 1, quota: 9, kind: 'window', start: 0, end: 2 * NOW } as const;
    const ask = (key: string): Ask => ({ key, onExceed: 'refuse', meters: [meter] });
    for (let n = 0; n < 50; n++) backlog.correct({ key: `slot ${n}` }, -1, [], 0);
    for (let n = 0; n < 50; n++) backlog.release(ask(`reserved ${n}`));
    for (let n = 0; n < 5_000; n++) {
      backlog.spend(ask(`user ${n}`));
      backlog.correct({ key: `user ${n}` }, -1, [], 0);
    }
    expect(backlog.size).toBeLessThan(250);
    const { quotas, spent } = backlog.take(1_000, NOW);
    expect(forgotten).toBe(5_000 - spent.length);
    expect(quotas.filter(({ key, slots }) => key.startsWith('slot') && slots === -1)).toHaveLength(50);
    expect(quotas.filter(({ meters }) => meters[0]?.released === 1)).toHaveLength(50);
  });

  it('tells again what a ledger has refused with a message, and not for ever', () => {
    const { told, ticket, takeAll } = setUp([{ name: 'daily', requests: '100/day', concurrency: 1 }]);
    const each = ticket('ada');
    each.arrive();
    told.commit(each);
    each.settle(false, () => ({ inputTokens: 0, outputTokens: 0, usd: 0 }));
    const [first] = takeAll();
    if (first === undefined) throw new Error('nothing was told');
    for (let n = 0; n < 5; n++) {
      told.refused(first);
      const [again] = takeAll();
      expect(again).toEqual(first);
    }
    told.refused(first);
    expect(takeAll()).toEqual([]);
  });
});
