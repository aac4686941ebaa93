import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { type BatchJournal, createGovernor, isHeadgateError, sqliteJournal } from '@headgate/core';
import { type MessageRequest, manualClock, startClaudeApi } from '@headgate/testing';
import { expect, it, onTestFinished } from 'vitest';
import { seeded } from '../../packages/cli/src/plan/random.ts';
import { params, pass, shut } from './support.ts';

const REQUESTS = 10_000;
const SECONDS = 90;
/** Requests a minute that the interactive bucket allows, and how many times as many come. */
const PER_MINUTE = 600;
const LOAD = 1.4;
const LIMITS = { name: 'haiku', models: ['claude-haiku-*'], requestsPerMinute: PER_MINUTE };

/** As long as the question says: the same answers, by whichever way and in whichever order they come. */
const output = ({ messages }: MessageRequest) => 20 + (JSON.stringify(messages).length % 7) * 30;
const question = (n: number) => params(`${n} ${'x'.repeat(n % 11)}`);

/** The interactive lane at 1.4 times its limit, with or without ten thousand requests in the batch lane. Same seed. */
async function run(withBatch: boolean) {
  const clock = manualClock(undefined, { turns: 20 });
  const api = await startClaudeApi({
    clock,
    limits: [{ ...LIMITS, burstSeconds: 6 }],
    latency: { timeToFirstTokenMs: 200, tokensPerSecond: 500 },
    output,
    batches: { durationMs: 30_000 },
    ledgerSize: 3 * REQUESTS,
    receivedSize: 10,
  });
  const folder = mkdtempSync(join(tmpdir(), 'headgate-saturated-'));
  const kept = sqliteJournal({ path: join(folder, 'batches.sqlite') });
  // How many results have been read off the wire, and how many are in the journal: the difference is held.
  let read = 0;
  let written = 0;
  let mostHeld = 0;
  const journal: BatchJournal = {
    ...kept,
    finish: async (outcomes, at) => {
      await kept.finish(outcomes, at);
      written += outcomes.length;
    },
  };
  const client = new Anthropic({
    apiKey: 'k',
    baseURL: api.url,
    maxRetries: 0,
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      if (!String(url).endsWith('/results') || response.body === null) return response;
      const counted = response.body.pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>(
          {
            transform(chunk, controller) {
              for (const byte of chunk) if (byte === 10) read++;
              mostHeld = Math.max(mostHeld, read - written);
              controller.enqueue(chunk);
            },
          },
          undefined,
          { highWaterMark: 0 },
        ),
      );
      return new Response(counted, response);
    },
  });
  const governor = createGovernor({
    clock,
    random: () => 0.5,
    journal,
    logger: { info() {}, warn() {}, error() {} },
    config: {
      account: [{ ...LIMITS, burst: 0.1 }],
      batch: {
        requestsPerMinute: 1_000,
        maxAge: '5s',
        maxRequests: 4_000,
        poll: { first: '10s', most: '30s' },
      },
    },
  });
  onTestFinished(async () => {
    await shut(clock, governor);
    await api.close();
    rmSync(folder, { recursive: true });
  });
  const claude = governor.govern(client);

  const waits: number[] = [];
  let refused = 0;
  const random = seeded(7);
  const ask = async (n: number) => {
    const at = clock.now();
    try {
      await governor.run({ user: `user ${n % 20}`, lane: 'interactive' }, () =>
        claude.messages.create(question(n)),
      );
      waits[n] = clock.now() - at;
    } catch (error) {
      if (!isHeadgateError(error)) throw error;
      refused++;
      waits[n] = Number.NaN;
    }
  };
  let count = 0;
  const next = () => {
    if (clock.now() > SECONDS * 1_000) return;
    void ask(count++);
    clock.after((-Math.log(1 - random()) * 60_000) / (PER_MINUTE * LOAD), next);
  };
  next();

  const delivered = new Map<string, number>();
  if (withBatch) {
    await pass(clock, 5_000);
    const batches = governor.batches(client);
    for (let n = 0; n < REQUESTS; n++) {
      const handle = await governor.run({ user: 'nightly', lane: 'background' }, () =>
        batches.submit(question(n), { customId: `b${n}` }),
      );
      void handle.result().then(() => delivered.set(handle.id, (delivered.get(handle.id) ?? 0) + 1));
    }
  }
  await pass(clock, 200_000 - clock.now());
  const { total: background } = await governor
    .usage({ by: 'lane' })
    .then(({ rows }) => ({ total: rows.find(({ key }) => key === 'background') }));
  const items = api.ledger.entries.filter(
    ({ batchId, path }) => batchId !== undefined && path === '/v1/messages',
  );
  const limited = api.ledger.count({ status: 429 });
  return { waits, refused, delivered, background, items, mostHeld, limited };
}

/** What the same requests cost one by one, with nothing in their way. */
async function direct(): Promise<number> {
  const wide = { name: 'all', models: ['*'], requestsPerMinute: 10_000_000 };
  const api = await startClaudeApi({
    limits: [{ ...wide, burstSeconds: 60 }],
    latency: { timeToFirstTokenMs: 0, tokensPerSecond: Number.POSITIVE_INFINITY },
    output,
    ledgerSize: 10,
    receivedSize: 10,
  });
  const governor = createGovernor({ config: { account: [wide] } });
  const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: api.url }));
  let next = 0;
  await governor.run({ user: 'nightly', lane: 'background' }, () =>
    Promise.all(
      Array.from({ length: 25 }, async () => {
        while (next < REQUESTS) await claude.messages.create(question(next++));
      }),
    ),
  );
  const { usage } = governor.snapshot();
  await governor.close();
  await api.close();
  expect(usage.calls).toBe(REQUESTS);
  return usage.usd;
}

it(`${REQUESTS} requests in the batch lane leave a saturated interactive lane as it was`, async () => {
  const alone = await run(false);
  const beside = await run(true);

  // Saturated: many wait for seconds, and some are refused.
  const sorted = alone.waits.filter((wait) => !Number.isNaN(wait)).sort((a, b) => a - b);
  expect(sorted[Math.floor(sorted.length / 2)]).toBeGreaterThan(1_000);
  expect(alone.refused).toBeGreaterThan(20);

  // Unchanged: each call waited as long as it had without the batch.
  expect(beside.refused).toBe(alone.refused);
  expect(beside.waits).toEqual(alone.waits);
  expect(beside.limited).toBe(alone.limited);

  // All results, each once; each request processed once.
  expect(beside.delivered.size).toBe(REQUESTS);
  expect([...beside.delivered.values()].every((times) => times === 1)).toBe(true);
  expect(beside.items).toHaveLength(REQUESTS);
  expect(new Set(beside.items.map(({ customId }) => customId)).size).toBe(REQUESTS);

  // Half the price of the same requests one by one.
  expect(beside.background?.calls).toBe(REQUESTS);
  expect(beside.background?.usd).toBeCloseTo((await direct()) / 2, 8);

  // Never held whole: what is read and not yet in the journal is a hundred lines and a chunk.
  expect(beside.mostHeld).toBeGreaterThan(0);
  expect(beside.mostHeld).toBeLessThan(300);
}, 120_000);
