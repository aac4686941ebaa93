import type { Store } from '@headgate/core';
import { expect, it } from 'vitest';
import { dayQuota, grantedOf, Peer } from '../../../packages/testing/src/store/exchanges.ts';
import { describeStores, SetClock } from './clocked.ts';

/** Just too long: whoever is not heard of for that is given up. */
const GONE_MS = 10_001;
const LIMITS = { requests: 600, inputTokens: 60_000, outputTokens: 60_000, burst: 0.1 };

/** What becomes of a process that was given up and comes back. It takes ten seconds, so the clock is set by hand. */
function testGivenUp(create: (clock: SetClock) => Store): void {
  async function fleet() {
    const clock = new SetClock();
    const store = create(clock);
    const peers = [new Peer(store, 'bucket', 'one'), new Peer(store, 'bucket', 'other')] as const;
    for (const peer of peers) await peer.tell({ limits: LIMITS });
    return { clock, store, peers };
  }
  const room = (key: string, peer: Peer, at: number) =>
    Array.from({ length: 10 }, () => peer.call({ quotas: [dayQuota(key, 5, at)] }));

  it('applies what it says again once', async () => {
    const { clock, store, peers } = await fleet();
    const [one, other] = peers;
    const given = { name: 'requests', released: 0, used: -1, at: clock.at };
    await one.tell({ spent: [dayQuota('q', 5, clock.at), dayQuota('q', 5, clock.at)] });
    const first = await one.tell({
      charges: { requests: 5, inputTokens: 100, outputTokens: 0 },
      quotas: [{ key: 'q', slots: -1, meters: [given] }],
    });
    clock.at += GONE_MS;
    const { levels, processes } = await other.tell();
    expect(processes).toBe(1);
    expect(await one.again()).toEqual(first);
    // Nor has it come back by that.
    const after = await other.tell({ candidates: room('q', other, clock.at) });
    expect(after.processes).toBe(1);
    expect(after.levels.inputTokens).toEqual(levels.inputTokens);
    expect(grantedOf(after)).toBe(4);
    expect((await one.tell()).isUnknown).toBe(true);
    await store.close();
  });

  it('has nothing reserved any more that another has taken', async () => {
    const { clock, store, peers } = await fleet();
    const [one, other] = peers;
    const quotas = [dayQuota('a', 5, clock.at), dayQuota('b', 5, clock.at)];
    expect((await one.tell({ reserve: [{ id: 900, quotas }] })).results[0]?.type).toBe('waits');
    clock.at += GONE_MS;
    expect(grantedOf(await other.tell({ candidates: room('b', other, clock.at) }))).toBe(5);
    const back = one.call({ id: 900, quotas: quotas.map((ask) => ({ ...ask, isHeld: true })) });
    const [result] = (await one.tell({ limits: LIMITS, candidates: [back] })).results;
    expect(result).toMatchObject({ type: 'exceeded', quota: 1, onExceed: 'refuse' });
    expect(grantedOf(await other.tell({ candidates: room('a', other, clock.at) }))).toBe(5);
    await store.close();
  });

  it('lets in what it had reserved where nobody has taken it, and keeps what it reserves when old calls end', async () => {
    const { clock, store, peers } = await fleet();
    const [one, other] = peers;
    const ask = dayQuota('c', 2, clock.at, { concurrency: 2 });
    const old = one.call({ quotas: [ask] });
    expect(grantedOf(await one.tell({ candidates: [old], reserve: [{ id: 900, quotas: [ask] }] }))).toBe(1);
    clock.at += GONE_MS;
    const slots = { key: 'c', onExceed: 'refuse' as const, isHeld: false, meters: [], concurrency: 1 };
    expect(grantedOf(await other.tell({ candidates: [other.call({ quotas: [slots] })] }))).toBe(1);
    await one.tell({ limits: LIMITS, reserve: [{ id: 901, quotas: [ask] }] });
    // The call that it had when it was given up ends: the slot is not that of the call that waits.
    await one.tell({ quotas: [{ key: 'c', slots: -1, meters: [] }] });
    const asked = { quotas: [dayQuota('c', 2, clock.at)] };
    expect(grantedOf(await other.tell({ candidates: [other.call(asked)] }))).toBe(0);
    const back = one.call({ id: 901, quotas: [{ ...ask, isHeld: true }] });
    expect(grantedOf(await one.tell({ candidates: [back] }))).toBe(1);
    await store.close();
  });
}

describeStores('a process that was given up', testGivenUp);
