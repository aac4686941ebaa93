import type { MeterAsk, Store } from '@headgate/core';
import { expect, it } from 'vitest';
import { dayQuota, grantedOf, Peer } from '../../../packages/testing/src/store/exchanges.ts';
import { describeStores, SetClock } from './clocked.ts';

const LIMITS = { requests: 600, burst: 0.1 };

/** What calls turn out to have taken, on a clock that is set by hand. */
function testCorrections(create: (clock: SetClock) => Store): void {
  it('are charged to a quota that has refilled meanwhile', async () => {
    const clock = new SetClock();
    const store = create(clock);
    const one = new Peer(store, 'bucket', 'one');
    const meter = (amount: number): MeterAsk => ({
      name: 'outputTokens',
      amount,
      quota: 600,
      kind: 'continuous',
      capacity: 600,
      ratePerMs: 0.01,
    });
    const call = (amount: number) =>
      one.call({ quotas: [{ key: 'q', onExceed: 'refuse', isHeld: false, meters: [meter(amount)] }] });
    expect(grantedOf(await one.tell({ limits: LIMITS, candidates: [call(100)] }))).toBe(1);
    const { at } = clock;
    clock.at += 60_000;
    const used = { name: 'outputTokens', released: 0, used: 400, at };
    await one.tell({ quotas: [{ key: 'q', slots: -1, meters: [used] }] });
    expect((await one.tell({ candidates: [call(201)] })).results[0]).toMatchObject({
      type: 'exceeded',
      waitMs: 100,
    });
    expect(grantedOf(await one.tell({ candidates: [call(200)] }))).toBe(1);
    await store.close();
  });

  it('belong to the window of the call that they correct', async () => {
    const clock = new SetClock();
    const store = create(clock);
    const one = new Peer(store, 'bucket', 'one');
    const first = clock.at;
    // A window about now; the next begins where it ends.
    const calls = (count: number) =>
      Array.from({ length: count }, () => one.call({ quotas: [dayQuota('d', 2, clock.at)] }));
    const giveBack = (at: number) =>
      one.tell({
        quotas: [{ key: 'd', slots: -1, meters: [{ name: 'requests', released: 0, used: -1, at }] }],
        candidates: calls(1),
      });
    expect(grantedOf(await one.tell({ limits: LIMITS, candidates: calls(2) }))).toBe(2);
    clock.at += 86_400_000;
    expect(grantedOf(await one.tell({ limits: LIMITS, candidates: calls(3) }))).toBe(2);
    expect(grantedOf(await giveBack(first))).toBe(0);
    expect(grantedOf(await giveBack(clock.at))).toBe(1);
    await store.close();
  });

  it('put back a user that was charged too much', async () => {
    const clock = new SetClock();
    const store = create(clock);
    const one = new Peer(store, 'bucket', 'one');
    const other = new Peer(store, 'bucket', 'other');
    await other.tell({ limits: LIMITS, users: 1 });
    const call = () => one.call({ user: 'dora', isQueued: true });
    const { results } = await one.tell({ candidates: [call(), call()], users: 1 });
    const turn = results[0]?.type === 'granted' ? results[0].turn : undefined;
    const epoch = turn?.epoch ?? -1;
    clock.at += 1;
    await one.tell({ events: [{ type: 'pause', ms: 1_000 }], users: 1 });
    const asked = { candidates: [call()], users: 1 };
    const [charged] = (await one.tell(asked)).results;
    const delta = -(charged?.type === 'waits' ? charged.lead : 0);
    expect(delta).toBeLessThan(0);
    const corrected = {
      type: 'corrected' as const,
      lane: 'interactive',
      user: 'dora',
      delta,
      isOwed: false,
      epoch,
    };
    await one.tell({ events: [corrected], users: 1 });
    expect((await one.tell(asked)).results[0]).toMatchObject({ type: 'waits', lead: 0 });
    await store.close();
  });
}

describeStores('corrections', testCorrections);
