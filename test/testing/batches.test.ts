import type Anthropic from '@anthropic-ai/sdk';
import { APIConnectionError, BadRequestError, NotFoundError, RateLimitError } from '@anthropic-ai/sdk';
import { describe, expect, test } from 'vitest';
import { bench, failureOf, hello, stillBench } from './support.ts';

const request = (customId: string, over: Partial<Anthropic.MessageCreateParamsNonStreaming> = {}) => ({
  custom_id: customId,
  params: hello({ model: 'claude-haiku-4-5', max_tokens: 50, ...over }),
});

async function resultsOf(client: Anthropic, id: string) {
  const found: Record<string, Anthropic.Messages.MessageBatchIndividualResponse['result']> = {};
  const order: string[] = [];
  for await (const { custom_id, result } of await client.messages.batches.results(id)) {
    found[custom_id] = result;
    order.push(custom_id);
  }
  return { found, order };
}

describe('a batch', () => {
  test('is processed in its time, and its results come in an order of their own', async () => {
    const { client, clock, api } = await stillBench({ batches: { durationMs: 10_000 } });
    const requests = Array.from({ length: 30 }, (_, index) => request(`r${index}`));
    const made = await client.messages.batches.create({ requests });
    expect(made.processing_status).toBe('in_progress');
    expect(made.request_counts).toEqual({
      processing: 30,
      succeeded: 0,
      errored: 0,
      canceled: 0,
      expired: 0,
    });
    expect(made.results_url).toBeNull();
    expect(Date.parse(made.expires_at) - Date.parse(made.created_at)).toBe(86_400_000);
    await clock.advance(9_999);
    expect((await client.messages.batches.retrieve(made.id)).processing_status).toBe('in_progress');
    await clock.advance(1);
    const ended = await client.messages.batches.retrieve(made.id);
    expect(ended.processing_status).toBe('ended');
    expect(ended.request_counts.succeeded).toBe(30);
    expect(ended.results_url).toBe(`${api.url}/v1/messages/batches/${made.id}/results`);
    const { found, order } = await resultsOf(client, made.id);
    expect(order).not.toEqual(requests.map((each) => each.custom_id));
    expect([...order].sort()).toEqual(requests.map((each) => each.custom_id).sort());
    for (const result of Object.values(found)) {
      if (result.type !== 'succeeded') throw new Error(result.type);
      expect(result.message.usage.service_tier).toBe('batch');
    }
    // Read again, the same.
    expect(await resultsOf(client, made.id)).toEqual({ found, order });
  });

  test('is in the ledger by its requests, with what they used', async () => {
    const { client, clock, api } = await stillBench({ batches: { durationMs: 1_000 }, output: () => 20 });
    const made = await client.messages.batches.create({
      requests: [request('a', { metadata: { user_id: 'ada' } }), request('b')],
    });
    expect(api.ledger.count({ batchId: made.id, path: '/v1/messages' })).toBe(0);
    await clock.advance(1_000);
    expect(api.ledger.count({ batchId: made.id, path: '/v1/messages', outcome: 'admitted' })).toBe(2);
    expect(api.ledger.count({ customId: 'a', userId: 'ada', outputTokens: 20 })).toBe(1);
    // None of it counts against the limits of the model.
    expect(api.ledger.totals('haiku-4-5').attempts).toBe(0);
  });

  test('can be canceled: what is done stays done', async () => {
    const { client, clock } = await stillBench({ batches: { durationMs: 10_000, cancelMs: 500 } });
    const requests = Array.from({ length: 40 }, (_, index) => request(`r${index}`));
    const { id } = await client.messages.batches.create({ requests });
    await clock.advance(5_000);
    expect((await client.messages.batches.cancel(id)).processing_status).toBe('canceling');
    expect((await client.messages.batches.retrieve(id)).request_counts.processing).toBe(40);
    await clock.advance(500);
    const { processing_status, request_counts } = await client.messages.batches.retrieve(id);
    expect(processing_status).toBe('ended');
    expect(request_counts.canceled).toBeGreaterThan(5);
    expect(request_counts.succeeded).toBeGreaterThan(5);
    expect(request_counts.canceled + request_counts.succeeded).toBe(40);
  });

  test('expires: what is not done by then never is', async () => {
    const { client, clock } = await stillBench({ batches: { durationMs: 4_000, expiresAfterMs: 2_000 } });
    const requests = Array.from({ length: 40 }, (_, index) => request(`r${index}`));
    const { id } = await client.messages.batches.create({ requests });
    await clock.advance(2_000);
    const { request_counts } = await client.messages.batches.retrieve(id);
    expect(request_counts.expired).toBeGreaterThan(5);
    expect(request_counts.expired + request_counts.succeeded).toBe(40);
  });

  test('has requests that fail one by one', async () => {
    const { client, clock } = await stillBench({
      batches: {
        durationMs: 1_000,
        result: (customId) =>
          customId === 'busy' ? { type: 'overloaded_error', message: 'Overloaded' } : 'succeeded',
      },
    });
    const { id } = await client.messages.batches.create({
      requests: [request('good'), request('busy'), request('wrong', { max_tokens: 10_000_000 })],
    });
    await clock.advance(1_000);
    const { found } = await resultsOf(client, id);
    expect(found.good).toMatchObject({ type: 'succeeded' });
    expect(found.busy).toMatchObject({ type: 'errored', error: { error: { type: 'overloaded_error' } } });
    expect(found.wrong).toMatchObject({
      type: 'errored',
      error: { error: { type: 'invalid_request_error' } },
    });
  });

  test('keeps its results for a time, and is deleted when it has ended', async () => {
    const { client, clock } = await stillBench({ batches: { durationMs: 1_000, resultsKeptMs: 5_000 } });
    const { id } = await client.messages.batches.create({ requests: [request('a')] });
    await expect(client.messages.batches.delete(id)).rejects.toThrow(BadRequestError);
    await clock.advance(6_000);
    const archived = await client.messages.batches.retrieve(id);
    expect(archived.archived_at).not.toBeNull();
    expect(archived.results_url).toBeNull();
    await client.messages.batches.delete(id);
    await expect(client.messages.batches.retrieve(id)).rejects.toThrow(NotFoundError);
  });
});

describe('the batch endpoints', () => {
  test('list the newest first, page by page', async () => {
    const { client } = await bench();
    const ids: string[] = [];
    for (let each = 0; each < 5; each++) {
      ids.push((await client.messages.batches.create({ requests: [request('a')] })).id);
    }
    const listed: string[] = [];
    for await (const batch of client.messages.batches.list({ limit: 2 })) listed.push(batch.id);
    expect(listed).toEqual([...ids].reverse());
  });

  test('refuse what is no batch', async () => {
    const { client } = await bench({ batches: { maxPerBatch: 3 } });
    const create = (requests: Anthropic.Messages.BatchCreateParams.Request[]) =>
      failureOf(client.messages.batches.create({ requests }));
    expect(String(await create([]))).toContain('at least 1 item');
    expect(String(await create([request('a'), request('a')]))).toContain('not unique');
    expect(String(await create([request('no spaces')]))).toContain('should match pattern');
    expect(String(await create(['a', 'b', 'c', 'd'].map((id) => request(id))))).toContain('413');
  });

  test('have limits of their own: requests a minute, and requests in the queue', async () => {
    const { client, clock, api } = await stillBench({
      batches: { requestsPerMinute: 20, maxQueued: 3, durationMs: 1_000 },
    });
    await client.messages.batches.create({ requests: [request('a'), request('b')] });
    const full = await failureOf(client.messages.batches.create({ requests: [request('a'), request('b')] }));
    if (!(full instanceof RateLimitError)) throw full;
    expect(full.apiMessage).toContain('processing queue');
    await clock.advance(6_000);
    await client.messages.batches.create({ requests: [request('a'), request('b')] });
    await client.messages.batches.list();
    const tooFast = await failureOf(client.messages.batches.list());
    if (!(tooFast instanceof RateLimitError)) throw tooFast;
    expect(tooFast.headers.get('retry-after')).toBe('3');
    expect(api.ledger.count({ bucket: 'batch', outcome: 'refused' })).toBe(2);
  });

  test('do what they are asked though the answer never comes', async () => {
    const { client, api } = await bench();
    api.inject({ kind: 'unanswered' });
    await expect(client.messages.batches.create({ requests: [request('a')] })).rejects.toThrow(
      APIConnectionError,
    );
    api.inject({ kind: 'unanswered', how: 'silence' });
    const silent = client.messages.batches.create({ requests: [request('a')] }, { timeout: 100 });
    await expect(silent).rejects.toThrow(APIConnectionError);
    expect((await client.messages.batches.list()).data).toHaveLength(2);
  });

  test('hand out results that are broken, when asked to', async () => {
    const { client, clock, api } = await stillBench({ batches: { durationMs: 10 } });
    const { id } = await client.messages.batches.create({
      requests: [request('a'), request('b'), request('c')],
    });
    await clock.advance(10);
    api.inject({
      kind: 'results',
      line: (line, customId) => (customId === 'a' ? '{"custom_id":' : customId === 'b' ? undefined : line),
    });
    const url = `${api.url}/v1/messages/batches/${id}/results`;
    const headers = { authorization: 'Bearer k', 'anthropic-version': '2026-10-21' };
    const lines = (await (await fetch(url, { headers })).text()).trim().split('\n');
    expect(lines).toHaveLength(2);
    expect(lines).toContain('{"custom_id":');
    api.inject({ kind: 'truncate', path: '*/results', afterEvents: 1 });
    expect((await (await fetch(url, { headers })).text()).trim().split('\n')).toHaveLength(1);
    api.inject({ kind: 'status', status: 404, path: '*/results' });
    expect((await fetch(url, { headers })).status).toBe(404);
  });
});
