import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type Anthropic from '@anthropic-ai/sdk';
import { BadRequestError, InternalServerError } from '@anthropic-ai/sdk';
import { BatchFailedError, createGovernor, QuotaExceededError, sqliteJournal } from '@headgate/core';
import OldestAnthropic from 'anthropic-sdk-oldest';
import { describe, expect, it, onTestFinished } from 'vitest';
import { batchBench, MODEL, params, pass, watch } from './support.ts';

describe('the batch lane', () => {
  it('gathers requests by age, sends them in one batch, and delivers each answer to its own handle', async () => {
    const { clock, api, batches } = await batchBench();
    const handles = await Promise.all([1, 2, 3].map((n) => batches.submit(params(n), { customId: `r${n}` })));
    const results = handles.map((handle) => watch(handle.result()));
    await pass(clock, 9_000);
    expect(api.received.filter(({ method }) => method === 'POST')).toHaveLength(0);
    await pass(clock, 2_000);
    expect(
      api.received.filter(({ method, path }) => method === 'POST' && path.endsWith('/batches')),
    ).toHaveLength(1);
    expect(results.map(({ state }) => state)).toEqual(['pending', 'pending', 'pending']);
    await pass(clock, 100_000);
    expect(results.map(({ state }) => state)).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
    for (const { value } of results) {
      expect(value).toMatchObject({ type: 'message', role: 'assistant', usage: { service_tier: 'batch' } });
    }
    expect(new Set(results.map(({ value }) => value?.id)).size).toBe(3);
    expect(await batches.pending()).toEqual([]);
  });

  it('sends at once what is full, by number and by bytes, and what is flushed', async () => {
    const { clock, api, batches } = await batchBench({
      config: { batch: { maxRequests: 3, maxBytes: 5_000 } },
    });
    const posts = () =>
      api.received.flatMap(({ method, body }) =>
        method === 'POST' ? [(body as { requests: unknown[] }).requests.length] : [],
      );
    for (let n = 0; n < 7; n++) await batches.submit(params(n));
    await pass(clock, 2_000, 100);
    expect(posts()).toEqual([3, 3]);
    await batches.submit(params('x'.repeat(4_000)));
    await batches.submit(params('x'.repeat(4_000)));
    await pass(clock, 2_000, 100);
    expect(posts()).toEqual([3, 3, 2]);
    await batches.submit(params('y'), { flush: true });
    await pass(clock, 2_000, 100);
    expect(posts()).toEqual([3, 3, 2, 2]);
  });

  it('finds everything again with another governor on the same journal', async () => {
    const { clock, open, governor, batches } = await batchBench();
    await batches.submit(params(1), { customId: 'sent', flush: true });
    await pass(clock, 1_000);
    await batches.submit(params(2), { customId: 'waiting' });
    const lost = watch((await batches.get('sent'))!.result());
    const closing = governor.close({ drainMs: 0 });
    await pass(clock, 10);
    await closing;
    expect(lost.error).toMatchObject({ code: 'upstream_unavailable', reason: 'closed' });

    const next = open();
    expect((await next.batches.pending()).map(({ id }) => id)).toEqual(['sent', 'waiting']);
    const results = await Promise.all(
      ['sent', 'waiting'].map(async (id) => watch((await next.batches.get(id))!.result())),
    );
    await pass(clock, 200_000);
    expect(results.map(({ state }) => state)).toEqual(['fulfilled', 'fulfilled']);
    expect(await next.batches.get('never')).toBeUndefined();
  });

  it('takes the same customId for the same request', async () => {
    const { clock, api, batches } = await batchBench();
    await batches.submit(params(1), { customId: 'once' });
    await batches.submit(params(1), { customId: 'once', flush: true });
    await pass(clock, 100_000);
    const again = watch((await batches.submit(params(1), { customId: 'once' })).result());
    await pass(clock, 1_000);
    expect(again.state).toBe('fulfilled');
    expect(api.ledger.count({ customId: 'once' })).toBe(1);
  });

  it('refuses what no batch can hold, naming the rule and the value', async () => {
    const { batches } = await batchBench({ config: { batch: { maxPending: 1 } } });
    await expect(batches.submit(params(1), { customId: 'a b' })).rejects.toThrow(/1 to 64 letters.*"a b"/);
    await expect(batches.submit({ ...params(1), stream: true } as never)).rejects.toThrow(/without a stream/);
    await expect(batches.submit({ ...params(1), model: 7 } as never)).rejects.toThrow(
      /with a model, received model: 7/,
    );
    await expect(batches.submit(null as never)).rejects.toThrow(/received null/);
    await batches.submit(params(1));
    await expect(batches.submit(params(2))).rejects.toMatchObject({
      code: 'queue_full',
      rule: 'batch.maxPending',
    });
  });

  it('applies caps and routes, and charges budgets at half price', async () => {
    const { clock, api, governor, batches } = await batchBench({
      config: {
        caps: [{ when: { user: 'ada' }, maxTokens: 50 }],
        routes: [{ when: { user: 'ada' }, model: 'claude-sonnet-4-6' }],
        quotas: [{ name: 'budget', when: { user: 'ada' }, per: 'user', usd: '0.0011/day' }],
      },
    });
    // Sonnet: about 15 tokens in and 50 out at most, at half of 3 and 15 dollars: less than 0.0004.
    await governor.run({ user: 'ada' }, () => batches.submit(params(1), { customId: 'a', flush: true }));
    await pass(clock, 1_000);
    const [sent] = api.received.filter(({ method }) => method === 'POST');
    expect(sent?.body).toMatchObject({
      requests: [{ custom_id: 'a', params: { model: 'claude-sonnet-4-6', max_tokens: 50 } }],
    });
    await pass(clock, 100_000);
    const { total, rows } = await governor.usage({ by: 'user' });
    expect(rows).toMatchObject([{ key: 'ada', calls: 1, outputTokens: 40 }]);
    const [entry] = api.ledger.entries.filter(({ customId }) => customId === 'a');
    expect(total.usd).toBeCloseTo((entry!.inputTokens * 3 + 40 * 15) / 2e6, 10);
    const spent: unknown[] = [];
    for (let n = 0; n < 6; n++) {
      await batches
        .submit(params(n), { caller: { user: 'ada' } })
        .catch((error: unknown) => spent.push(error));
    }
    expect(spent.length).toBeGreaterThan(2);
    for (const error of spent) {
      expect(error).toBeInstanceOf(QuotaExceededError);
      expect(error).toMatchObject({ reason: 'budget', rule: 'budget' });
    }
  });

  it('never has more in processing than it may', async () => {
    const { clock, api, batches } = await batchBench({
      config: { batch: { maxRequests: 10, maxProcessing: 25 } },
      api: { batches: { durationMs: 20_000, maxQueued: 25 } },
    });
    const results = [];
    for (let n = 0; n < 60; n++) results.push(watch((await batches.submit(params(n))).result()));
    await pass(clock, 300_000);
    expect(results.every(({ state }) => state === 'fulfilled')).toBe(true);
    expect(api.ledger.count({ path: '/v1/messages/batches', status: 429 })).toBe(0);
  });
});

describe('the batch lane, looked after', () => {
  it('works with the oldest SDK that is supported', async () => {
    const { clock, api, batches } = await batchBench({
      client: (baseURL) => new OldestAnthropic({ apiKey: 'k', baseURL }) as unknown as Anthropic,
    });
    api.inject({ kind: 'unanswered' });
    const result = watch((await batches.submit(params(1), { flush: true })).result());
    await pass(clock, 200_000);
    expect(result.state).toBe('fulfilled');
    expect(new Set(api.received.map(({ headers }) => headers['x-stainless-package-version']))).toEqual(
      new Set(['0.101.0']),
    );
  });

  it('leaves no timer and no waiting promise behind when the governor is closed, at whatever moment', async () => {
    for (const after of [0, 5_000, 10_500, 40_000, 75_000]) {
      const { clock, governor, batches } = await batchBench();
      const results = [1, 2].map(async (n) => watch((await batches.submit(params(n))).result()));
      const watched = await Promise.all(results);
      await pass(clock, after);
      const closing = watch(governor.close({ drainMs: 1_000 }));
      await pass(clock, 5_000);
      expect(closing.state).toBe('fulfilled');
      for (const { state } of watched) expect(state).not.toBe('pending');
      expect(clock.pending()).toBe(0);
      await expect(batches.submit(params(3))).rejects.toMatchObject({ code: 'upstream_unavailable' });
      await expect((await batches.get('x').catch(() => undefined)) ?? 'none').toBe('none');
    }
  });

  it('waits for a journal that another process has not let go of yet', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'headgate-locked-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'batches.sqlite');
    const other = sqliteJournal({ path });
    await other.add({
      id: 'left-behind',
      account: 'default',
      params: JSON.stringify(params(1)),
      owner: {
        user: 'ada',
        tenant: undefined,
        tier: undefined,
        route: undefined,
        lane: 'background',
        model: MODEL,
      },
      charges: [],
      trace: undefined,
      submittedAt: 0,
      attempts: 0,
    });
    const { clock, api, batches, warnings } = await batchBench({ journal: sqliteJournal({ path }) });
    await expect(batches.submit(params(2))).rejects.toThrow(/another process has it/);
    expect(warnings.join()).toContain('HG_JOURNAL');
    await pass(clock, 20_000);
    expect(api.received).toHaveLength(0);
    await other.end();
    await pass(clock, 120_000);
    expect(api.ledger.count({ customId: 'left-behind', status: 200 })).toBe(1);
  });

  it('keeps the requests of two accounts apart', async () => {
    const { clock, governor, batches, client } = await batchBench({ config: { accounts: { second: [] } } });
    const second = governor.batches(client, { account: 'second' });
    await batches.submit(params(1), { customId: 'mine' });
    expect(await second.get('mine')).toBeUndefined();
    expect(await second.pending()).toEqual([]);
    await expect(second.submit(params(1), { customId: 'mine' })).rejects.toThrow(
      /which is of account "default"/,
    );
    const other = watch((await second.submit(params(2), { customId: 'theirs' })).result());
    await pass(clock, 120_000);
    expect(other.state).toBe('fulfilled');
    expect(
      (await governor.usage({ by: 'account' })).rows.map(({ key, calls }) => [key, calls]).sort(),
    ).toEqual([
      ['default', 1],
      ['second', 1],
    ]);
  });

  it('tells a client that has no batches, and an account that does not exist', async () => {
    const { governor } = await batchBench();
    const other = createGovernor({ logger: { info() {}, warn() {}, error() {} } });
    const withoutBatches = { withOptions: () => other, middleware: [] };
    expect(() => other.batches(withoutBatches as never)).toThrow(/no client of account "default"/);
    expect(() => governor.batches({} as never, { account: 'nope' })).toThrow(/no account "nope"/);
    await other.close();
    expect(() => createGovernor({ config: { account: [{ name: 'batches', models: ['*'] }] } })).toThrow(
      /account\[0\]\.name: this name is taken/,
    );
  });
});

describe('each end of a request', () => {
  const ends = async (what: Parameters<typeof batchBench>[0], ids = ['a', 'b', 'c']) => {
    const bench = await batchBench(what);
    const results = new Map<string, ReturnType<typeof watch>>();
    for (const id of ids)
      results.set(id, watch((await bench.batches.submit(params(id), { customId: id })).result()));
    return { ...bench, results };
  };

  it('succeeded; errored for good: the error of a direct call', async () => {
    const { clock, results } = await ends({
      api: {
        batches: {
          result: (id) => (id === 'b' ? { type: 'invalid_request_error', message: 'no good' } : 'succeeded'),
        },
      },
    });
    await pass(clock, 120_000);
    expect(results.get('a')?.state).toBe('fulfilled');
    expect(results.get('b')?.error).toBeInstanceOf(BadRequestError);
    expect(String(results.get('b')?.error)).toContain('no good');
    expect(results.get('c')?.state).toBe('fulfilled');
  });

  it('errored in passing: it goes in the next batch, so often and no more', async () => {
    const tries = new Map<string, number>();
    const { clock, api, results } = await ends({
      api: {
        batches: {
          result: (id) => {
            tries.set(id, (tries.get(id) ?? 0) + 1);
            if (id === 'b' && tries.get(id)! < 3) return { type: 'overloaded_error' };
            return id === 'c' ? { type: 'api_error', message: 'broken' } : 'succeeded';
          },
        },
      },
    });
    await pass(clock, 500_000);
    expect([...tries]).toEqual([
      ['a', 1],
      ['b', 3],
      ['c', 3],
    ]);
    expect(results.get('b')?.state).toBe('fulfilled');
    expect(results.get('c')?.error).toBeInstanceOf(InternalServerError);
    expect(api.ledger.count({ customId: 'a' })).toBe(1);
  });

  it('canceled: while it waits at once, and in its batch with it', async () => {
    const { clock, batches, results } = await ends({ api: { batches: { durationMs: 600_000 } } });
    expect(await batches.cancel('a')).toEqual({ canceled: 1, canceling: 0 });
    await pass(clock, 10);
    expect(results.get('a')?.error).toMatchObject({ code: 'batch_failed', reason: 'batch_canceled' });
    await pass(clock, 20_000);
    expect(await batches.cancel('b')).toEqual({ canceled: 0, canceling: 0 });
    const all = batches.cancel();
    await pass(clock, 10);
    expect(await all).toEqual({ canceled: 0, canceling: 2 });
    await pass(clock, 60_000);
    for (const id of ['b', 'c']) {
      expect(results.get(id)?.error).toBeInstanceOf(BatchFailedError);
      expect(results.get(id)?.error).toMatchObject({ reason: 'batch_canceled' });
    }
  });

  it('expired', async () => {
    const { clock, results } = await ends({ api: { batches: { durationMs: 1e12, expiresAfterMs: 30_000 } } });
    await pass(clock, 100_000);
    for (const { error } of results.values()) expect(error).toMatchObject({ reason: 'batch_expired' });
  });

  it('a line that does not parse: those whose results are missing because of it', async () => {
    const { clock, api, results } = await ends({});
    api.inject({
      kind: 'results',
      times: Number.POSITIVE_INFINITY,
      line: (line, id) => (id === 'b' ? '{"custom_id":"b' : line),
    });
    await pass(clock, 200_000);
    expect(results.get('a')?.state).toBe('fulfilled');
    expect(results.get('b')?.error).toMatchObject({ reason: 'batch_result_unreadable' });
    expect(results.get('c')?.state).toBe('fulfilled');
  });

  it('a missing id: after it was looked for again', async () => {
    const { clock, api, results } = await ends({});
    api.inject({
      kind: 'results',
      times: Number.POSITIVE_INFINITY,
      line: (line, id) => (id === 'b' ? undefined : line),
    });
    await pass(clock, 200_000);
    expect(results.get('a')?.state).toBe('fulfilled');
    expect(results.get('b')?.error).toMatchObject({ reason: 'batch_result_missing' });
    expect(api.received.filter(({ path }) => path.endsWith('/results')).length).toBe(4);
  });

  it('a line too few, once: the second look finds it', async () => {
    const { clock, api, results } = await ends({});
    api.inject({ kind: 'results', line: (line, id) => (id === 'b' ? undefined : line) });
    await pass(clock, 200_000);
    for (const { state } of results.values()) expect(state).toBe('fulfilled');
  });

  it('results that break off, and come whole later', async () => {
    const { clock, api, results } = await ends({});
    api.inject({ kind: 'reset', at: 'mid-stream', afterEvents: 1, path: '*/results' });
    api.inject({ kind: 'truncate', afterEvents: 2, path: '*/results' });
    await pass(clock, 200_000);
    for (const { state } of results.values()) expect(state).toBe('fulfilled');
  });

  it('results that are not there: 404 at their address, for good', async () => {
    const { clock, api, results } = await ends({});
    api.inject({ kind: 'status', status: 404, path: '*/results', times: Number.POSITIVE_INFINITY });
    await pass(clock, 200_000);
    for (const { error } of results.values()) expect(error).toMatchObject({ reason: 'batch_results_gone' });
  });

  it('a batch that is gone', async () => {
    const { clock, api, results } = await ends({});
    await pass(clock, 11_000);
    api.inject({
      kind: 'status',
      status: 404,
      path: '/v1/messages/batches/*',
      times: Number.POSITIVE_INFINITY,
    });
    await pass(clock, 200_000);
    for (const { error } of results.values()) expect(error).toMatchObject({ reason: 'batch_results_gone' });
  });

  it('a request that spoils its batch fails alone', async () => {
    const { clock, api, batches } = await batchBench();
    // The API calls the whole batch invalid for the sake of one request.
    api.inject({
      kind: 'status',
      status: 400,
      message: 'requests: something is wrong',
      path: '/v1/messages/batches',
      times: Number.POSITIVE_INFINITY,
      when: ({ body }) => JSON.stringify(body ?? '').includes('poison'),
    });
    const results = new Map<string, ReturnType<typeof watch>>();
    for (let n = 0; n < 16; n++) {
      const id = `r${n}`;
      const one = params(n === 11 ? 'poison' : n);
      results.set(id, watch((await batches.submit(one, { customId: id, flush: n === 15 })).result()));
    }
    await pass(clock, 200_000);
    for (const [id, { state, error }] of results) {
      expect([id, state]).toEqual([id, id === 'r11' ? 'rejected' : 'fulfilled']);
      if (id === 'r11') expect(error).toBeInstanceOf(BadRequestError);
    }
    expect(
      api.ledger.entries.filter(({ batchId, path }) => batchId !== undefined && path === '/v1/messages'),
    ).toHaveLength(15);
  });

  it('a request that could not be sent for as long as requests are kept', async () => {
    const { clock, api, batches } = await batchBench({ config: { batch: { keep: '1h' } } });
    api.inject({
      kind: 'status',
      status: 429,
      path: '/v1/messages/batches',
      times: Number.POSITIVE_INFINITY,
    });
    const result = watch((await batches.submit(params(1))).result());
    await pass(clock, 2 * 3_600_000, 60_000);
    expect(result.error).toMatchObject({ reason: 'batch_expired' });
  });
});

describe('what was delivered', () => {
  it('is kept for a while, and then gone; what nobody fetched is kept longer', async () => {
    const { clock, batches, journal } = await batchBench({
      config: { batch: { keepDelivered: '10m', keep: '5h' } },
    });
    const delivered = watch((await batches.submit(params(1), { customId: 'a' })).result());
    await batches.submit(params(2), { customId: 'b' });
    await pass(clock, 120_000);
    expect(delivered.state).toBe('fulfilled');
    const again = watch((await batches.get('a'))!.result());
    await pass(clock, 1_000);
    expect(again.value).toEqual(delivered.value);
    await pass(clock, 900_000, 30_000);
    expect(await journal.state('a')).toBeUndefined();
    expect(await batches.get('a')).toBeUndefined();
    const late = watch((await batches.get('b'))!.result());
    await pass(clock, 1_000);
    expect(late.state).toBe('fulfilled');
  });
});

describe('a lane that goes by batch', () => {
  const config = { lanes: { interactive: {}, slow: { via: 'batch' as const } } };

  it('answers calls of its callers by batch, as if they had been direct', async () => {
    const { clock, api, governor, client } = await batchBench({ config });
    const claude = governor.govern(client);
    const calls = [1, 2, 3].map((n) =>
      watch(
        governor.run(
          { user: `u${n}`, lane: 'slow' },
          () => claude.messages.create(params(n)) as Promise<unknown>,
        ),
      ),
    );
    const direct = watch(
      governor.run({ user: 'u' }, () => claude.messages.create(params(0)) as Promise<unknown>),
    );
    await pass(clock, 1_000);
    expect(direct.state).toBe('fulfilled');
    // Longer than any direct call may take.
    await pass(clock, 200_000);
    expect(calls.map(({ state }) => state)).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
    expect(calls[0]?.value).toMatchObject({ type: 'message', usage: { service_tier: 'batch' } });
    expect(api.ledger.count({ path: '/v1/messages', batchId: undefined })).toBe(1);
    const { rows } = await governor.usage({ by: 'lane' });
    expect(rows.map(({ key, calls: n }) => [key, n]).sort()).toEqual([
      ['interactive', 1],
      ['slow', 3],
    ]);
  });

  it('gives errors of the API as the SDK’s own, its own ends as ours, and lets go of who leaves', async () => {
    const { clock, api, governor, client } = await batchBench({
      config,
      api: {
        batches: {
          result: (_, { messages }) =>
            JSON.stringify(messages).includes('bad') ? { type: 'invalid_request_error' } : 'succeeded',
        },
      },
    });
    const claude = governor.govern(client);
    const run = (n: string, more = {}, options = {}) =>
      watch(
        governor.run(
          { user: 'u', lane: 'slow', ...more },
          () => claude.messages.create(params(n), options) as Promise<unknown>,
        ),
      );
    const bad = run('bad');
    const late = run('late', { deadlineMs: 5_000 });
    const controller = new AbortController();
    const left = run('left', {}, { signal: controller.signal });
    await pass(clock, 6_000);
    controller.abort();
    await pass(clock, 200_000);
    expect(bad.error).toBeInstanceOf(BadRequestError);
    expect(late.error).toMatchObject({ code: 'aborted', reason: 'deadline' });
    expect(String(left.error)).toMatch(/abort|hung up/i);
    // What was handed over goes on, and is accounted for.
    expect(api.ledger.count({ path: '/v1/messages', status: 200 })).toBe(2);
    expect((await governor.usage({ by: 'user' })).total.calls).toBe(2);
  });

  it('sends streams directly, and says so once', async () => {
    const { governor, client, warnings, clock } = await batchBench({ config });
    const claude = governor.govern(client);
    const streamed = watch(
      governor.run({ user: 'u', lane: 'slow' }, () => claude.messages.stream(params(1)).finalMessage()),
    );
    await pass(clock, 1_000);
    expect(streamed.state).toBe('fulfilled');
    expect(warnings.filter((text) => text.includes('HG_BATCH_DIRECT'))).toHaveLength(1);
  });
});

describe('the journal of a batch lane', () => {
  it('is told to be memory where no file was named', async () => {
    const { warnings } = await batchBench({ governor: { journal: undefined } as never });
    expect(warnings.join()).toContain('HG_MEMORY_ONLY');
    expect(MODEL).toBe('claude-haiku-4-5');
  });
});
