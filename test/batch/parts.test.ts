import { manualClock } from '@headgate/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Alarms } from '../../packages/core/src/alarms.ts';
import { BatchApi, classifyFailure } from '../../packages/core/src/batch/api.ts';
import { Lines } from '../../packages/core/src/batch/lines.ts';
import { readLine } from '../../packages/core/src/batch/outcome.ts';
import { reconcile } from '../../packages/core/src/batch/reconcile.ts';
import { backoffDelay, dueIn, pollDelay } from '../../packages/core/src/batch/schedule.ts';
import type { BatchClient } from '../../packages/core/src/batch/types.ts';
import { AbortedError, QueueFullError, UpstreamUnavailableError } from '../../packages/core/src/errors.ts';
import { memoryJournal } from '../../packages/core/src/stores/memory-journal.ts';

const encoder = new TextEncoder();

describe('lines', () => {
  it('are the lines of the text, however its bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.string({ unit: 'grapheme' }).map((text) => text.replace(/[\r\n]/g, ' ')),
          { maxLength: 12 },
        ),
        fc.array(fc.nat(40), { maxLength: 30 }),
        fc.boolean(),
        (lines, cuts, endsWithLine) => {
          const bytes = encoder.encode(lines.join('\n') + (endsWithLine ? '\n' : ''));
          const splitter = new Lines();
          const found: string[] = [];
          let from = 0;
          for (const cut of [...cuts, bytes.length]) {
            const to = Math.min(bytes.length, from + cut);
            found.push(...splitter.push(bytes.subarray(from, to)));
            from = to;
          }
          found.push(...splitter.end());
          // A decoder drops a byte order mark at the very beginning.
          const text = new TextDecoder().decode(bytes);
          const expected = text.split('\n');
          if (expected.at(-1) === '') expected.pop();
          expect(found).toEqual(expected);
        },
      ),
    );
  });

  it('that are too long do not parse, and cost nothing to hold', () => {
    const splitter = new Lines(100);
    const found: string[] = [];
    for (let n = 0; n < 50; n++) found.push(...splitter.push(encoder.encode('x'.repeat(10))));
    found.push(...splitter.push(encoder.encode('\n{"a":1}\n')));
    expect(found.map((line) => line.length)).toEqual([1, 7]);
    expect(readLine(found[0]!)).toBeUndefined();
  });
});

describe('a line of results', () => {
  it('is read, or is none; never thrown over', () => {
    expect(readLine('{"custom_id":"a","result":{"type":"expired"}}')).toEqual({
      customId: 'a',
      outcome: { type: 'expired' },
    });
    for (const bad of [
      '',
      'null',
      '[]',
      '{"custom_id":1,"result":{"type":"expired"}}',
      '{"custom_id":"a"}',
      '{"custom_id":"a","result":{"type":"unheard"}}',
      '{"custom_id":"a","result":{"type":"succeeded"}}',
    ])
      expect(readLine(bad)).toBeUndefined();
    fc.assert(fc.property(fc.string(), (text) => void readLine(text)));
    fc.assert(fc.property(fc.json(), (text) => void readLine(text)));
  });
});

describe('the times of the lane', () => {
  const poll = { first: 15_000, most: 120_000 };

  it('look ever less often, and are late by a quarter at the most', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1e8, noNaN: true }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (age, random) => {
          const delay = pollDelay(age, poll, () => random);
          expect(delay).toBeGreaterThanOrEqual(0.9 * 15_000);
          expect(delay).toBeLessThanOrEqual(1.1 * Math.min(120_000, Math.max(15_000, age / 4)));
        },
      ),
    );
    let age = 0;
    let looks = 0;
    for (; age < 86_400_000; looks++) age += pollDelay(age, poll, () => 0.5);
    // A batch that takes a whole day costs one request in two minutes.
    expect(looks).toBeLessThan(740);
  });

  it('back off, bounded, and never come earlier than asked', () => {
    for (let failures = 1; failures < 2_000; failures *= 2) {
      expect(backoffDelay(failures, undefined, () => 0.999)).toBeLessThanOrEqual(300_000);
      expect(backoffDelay(failures, 400_000, () => 0)).toBe(400_000);
    }
  });

  it('send when it is full, old or flushed, and not before', () => {
    const config = { maxAge: 1_000, maxRequests: 10, maxBytes: 100 };
    const never = Number.NEGATIVE_INFINITY;
    expect(dueIn({ count: 0, bytes: 0, oldestAt: undefined }, never, config, 0)).toBeUndefined();
    expect(dueIn({ count: 1, bytes: 1, oldestAt: 500 }, never, config, 700)).toBe(800);
    expect(dueIn({ count: 1, bytes: 1, oldestAt: 500 }, never, config, 9_000)).toBe(0);
    expect(dueIn({ count: 10, bytes: 1, oldestAt: 500 }, never, config, 700)).toBe(0);
    expect(dueIn({ count: 1, bytes: 100, oldestAt: 500 }, never, config, 700)).toBe(0);
    expect(dueIn({ count: 1, bytes: 1, oldestAt: 500 }, 500, config, 700)).toBe(0);
    expect(dueIn({ count: 1, bytes: 1, oldestAt: 501 }, 500, config, 701)).toBe(800);
  });
});

describe('a failed request to a batch endpoint', () => {
  const api = (status: number, type = 'x', message = '', retryAfter?: string) => ({
    status,
    error: { type: 'error', error: { type, message } },
    headers: new Headers(retryAfter === undefined ? {} : { 'retry-after': retryAfter }),
  });

  it.each([
    ['429', api(429, 'rate_limit_error', '', '3'), 'refused'],
    ['529', api(529), 'refused'],
    ['402', api(402), 'refused'],
    [
      '400 for money',
      api(400, 'invalid_request_error', 'You have reached your specified API usage limits.'),
      'refused',
    ],
    ['400', api(400), 'invalid'],
    ['401', api(401), 'invalid'],
    ['413', api(413), 'invalid'],
    ['404', api(404), 'gone'],
    ['500', api(500), 'doubt'],
    ['503', api(503), 'doubt'],
    ['408', api(408), 'doubt'],
    ['a broken connection', Object.assign(new Error('x'), { cause: { code: 'ECONNRESET' } }), 'doubt'],
    ['no connection', Object.assign(new Error('x'), { cause: { code: 'ECONNREFUSED' } }), 'refused'],
    ['a queue that is full', new QueueFullError('x', { reason: 'queue_full' }), 'refused'],
    ['a spend limit', new UpstreamUnavailableError('x', { reason: 'spend_limit' }), 'refused'],
    ['a closed governor', new UpstreamUnavailableError('x', { reason: 'closed' }), 'closed'],
    ['a deadline while it ran', new AbortedError('x', { reason: 'deadline' }), 'doubt'],
    ['an end while it ran', new AbortedError('x', { reason: 'closed' }), 'doubt'],
    ['nothing', undefined, 'doubt'],
  ])('%s', (_, error, kind) => {
    expect(classifyFailure(error).kind).toBe(kind);
  });

  it('says when to come back', () => {
    expect(classifyFailure(api(429, 'x', '', '3')).retryAfterMs).toBe(3_000);
  });
});

describe('the address of results', () => {
  const asked: string[] = [];
  const client: BatchClient = {
    baseURL: 'https://gateway.example/claude',
    post: () => Promise.reject(new Error('unused')),
    get: (path) => {
      asked.push(path);
      const response = new Response('x');
      return Object.assign(Promise.resolve(response), { asResponse: () => Promise.resolve(response) });
    },
  };
  const batch = { id: 'b1', isEnded: true, total: 1, createdAt: 0 };

  it('of another host is not followed: the client’s key stays where it belongs', async () => {
    const batchApi = new BatchApi(client, (fn) => fn());
    await batchApi.results({ ...batch, resultsUrl: 'https://api.example/v1/messages/batches/b1/results' });
    await batchApi.results({ ...batch, resultsUrl: 'https://gateway.example/files/b1.jsonl' });
    expect(asked).toEqual(['/v1/messages/batches/b1/results', 'https://gateway.example/files/b1.jsonl']);
  });
});

describe('a list of batches without end', () => {
  it('decides nothing: what has not been looked at may be it', async () => {
    const clock = manualClock();
    let page = 0;
    const client: BatchClient = {
      post: () => Promise.reject(new Error('unused')),
      get: () => {
        page++;
        const data = [
          {
            id: `b${page}`,
            processing_status: 'ended',
            request_counts: { succeeded: 7 },
            created_at: new Date(clock.wall()).toISOString(),
          },
        ];
        const body = { data, has_more: true, last_id: `b${page}` };
        return Object.assign(Promise.resolve(body), {
          asResponse: () => Promise.reject(new Error('unused')),
        });
      },
    };
    const parts = {
      api: new BatchApi(client, (fn) => fn()),
      journal: memoryJournal(),
      alarms: new Alarms(clock),
      clock,
    };
    const submission = { id: 's', account: 'default', at: clock.wall(), items: 3, batchId: undefined };
    expect(await reconcile(parts, submission, new Set())).toEqual({ kind: 'undecided' });
    expect(page).toBe(100);
  });
});
