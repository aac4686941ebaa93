import { describe, expect, it } from 'vitest';
import { batchBench, params, pass, watch } from './support.ts';

/** A batch whose sending nobody answers, in each way that can happen. */
describe('a submission in doubt', () => {
  it('whose answer never came is found by its custom_ids, and never sent again', async () => {
    const { clock, api, batches, governor } = await batchBench();
    api.inject({ kind: 'unanswered' });
    const results = [];
    for (let n = 0; n < 20; n++) results.push(watch((await batches.submit(params(n))).result()));
    batches.flush();
    await pass(clock, 20_000);
    expect(governor.snapshot().batches).toMatchObject([{ inDoubt: 1, processing: 20 }]);
    await pass(clock, 200_000);
    expect(results.every(({ state }) => state === 'fulfilled')).toBe(true);
    expect(api.ledger.count({ path: '/v1/messages/batches', status: 200 })).toBeGreaterThan(0);
    expect(
      api.ledger.entries.filter(({ batchId, path }) => batchId !== undefined && path === '/v1/messages'),
    ).toHaveLength(20);
    expect(governor.snapshot().batches).toMatchObject([{ inDoubt: 0, processing: 0, batches: 0 }]);
  });

  it('that never arrived is sent again, after the grace and not before', async () => {
    const { clock, api, batches } = await batchBench({ config: { batch: { grace: '5m' } } });
    api.inject({ kind: 'reset', at: 'before-headers', path: '/v1/messages/batches' });
    const result = watch((await batches.submit(params(1), { flush: true })).result());
    const posts = () => api.received.filter(({ method }) => method === 'POST').length;
    await pass(clock, 290_000);
    expect(posts()).toBe(1);
    await pass(clock, 30_000);
    expect(posts()).toBe(2);
    await pass(clock, 120_000);
    expect(result.state).toBe('fulfilled');
    expect(api.ledger.count({ path: '/v1/messages' })).toBe(1);
  });

  it('is told from a batch of others, of the same size and time', async () => {
    const { clock, api, batches, client } = await batchBench({ config: { batch: { grace: '1m' } } });
    const foreign = [1, 2].map((n) => ({ custom_id: `foreign-${n}`, params: params(n) }));
    await client.messages.batches.create({ requests: foreign });
    api.inject({ kind: 'unanswered', times: 1 });
    const results = [1, 2].map(async (n) =>
      watch((await batches.submit(params(n), { customId: `own-${n}` })).result()),
    );
    const watched = await Promise.all(results);
    batches.flush();
    await pass(clock, 1_000);
    await client.messages.batches.create({ requests: foreign });
    await pass(clock, 400_000);
    expect(watched.map(({ state }) => state)).toEqual(['fulfilled', 'fulfilled']);
    expect(api.ledger.count({ customId: 'own-1' })).toBe(1);
    expect(api.ledger.count({ customId: 'own-2' })).toBe(1);
  });

  it('is not sent again while a batch that may be it has not ended, however long', async () => {
    const { clock, api, batches, client } = await batchBench({
      config: { batch: { grace: '1m' } },
      api: { batches: { durationMs: 3_600_000 } },
    });
    // Nothing of ours arrives, and somebody else's batch looks just like it.
    api.inject({ kind: 'reset', at: 'before-headers', path: '/v1/messages/batches' });
    const result = watch((await batches.submit(params(1), { customId: 'own', flush: true })).result());
    await pass(clock, 1_000);
    await client.messages.batches.create({ requests: [{ custom_id: 'foreign', params: params(2) }] });
    await pass(clock, 3_500_000, 10_000);
    expect(api.received.filter(({ method }) => method === 'POST')).toHaveLength(2);
    await pass(clock, 5_000_000, 10_000);
    expect(result.state).toBe('fulfilled');
    expect(api.ledger.count({ customId: 'own' })).toBe(1);
  });

  it('in which a server error left it is looked into as well', async () => {
    const { clock, api, batches } = await batchBench({ config: { batch: { grace: '1m' } } });
    api.inject({ kind: 'status', status: 500, path: '/v1/messages/batches' });
    const result = watch((await batches.submit(params(1), { customId: 'a', flush: true })).result());
    await pass(clock, 50_000);
    expect(api.received.filter(({ method }) => method === 'POST')).toHaveLength(1);
    await pass(clock, 200_000);
    expect(result.state).toBe('fulfilled');
    expect(api.ledger.count({ customId: 'a' })).toBe(1);
  });

  it('is none where the API said no: overload and limits are waited out', async () => {
    const { clock, api, batches, governor } = await batchBench();
    api.inject({ kind: 'status', status: 529, path: '/v1/messages/batches', times: 6 });
    api.inject({
      kind: 'status',
      status: 429,
      path: '/v1/messages/batches',
      headers: { 'retry-after': '7' },
      times: 2,
    });
    const result = watch((await batches.submit(params(1), { customId: 'a', flush: true })).result());
    await pass(clock, 5_000);
    expect(governor.snapshot().batches).toMatchObject([{ inDoubt: 0 }]);
    await pass(clock, 400_000);
    expect(result.state).toBe('fulfilled');
    expect(api.ledger.count({ customId: 'a' })).toBe(1);
  });
});
