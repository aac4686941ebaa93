import { once } from 'node:events';
import { connect } from 'node:net';
import type { Chunking, ClaudeApi } from '@headgate/testing';
import { describe, expect, test } from 'vitest';
import { bench, clientOf, hello, post, stillBench, until } from './support.ts';

const WIRE_TEXT =
  'Grüße, 水は低きに流れる — 👩‍🚀🚤 and plain words, some of them, so that there is more than one event.';

/** The chunks of a stream's body, each as its own piece of bytes. */
async function chunksOf(response: Response): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of response.body ?? []) chunks.push(chunk);
  return chunks;
}

describe('chunks', () => {
  const output = () => ({ text: WIRE_TEXT, thinkingTokens: 20 });
  const latency = { timeToFirstTokenMs: 1, tokensPerSecond: 2_000, flushMs: 5 };
  const halves: Chunking = (bytes) => [
    bytes.subarray(0, bytes.length >> 1),
    bytes.subarray(bytes.length >> 1),
  ];

  test.each<[string, Chunking, '\n' | '\r\n']>([
    ['events', 'events', '\n'],
    ['events, CRLF', 'events', '\r\n'],
    ['bytes', 'bytes', '\n'],
    ['bytes, CRLF', 'bytes', '\r\n'],
    ['split-utf8', 'split-utf8', '\n'],
    ['many-per-chunk', 'many-per-chunk', '\n'],
    ['a function', halves, '\n'],
  ])('%s: the same message', async (_, chunking, newline) => {
    const { client } = await bench({ chunking, newline, output, latency });
    const message = await client.messages.stream(hello()).finalMessage();
    expect(message.content.at(-1)).toMatchObject({
      type: 'text',
      text: WIRE_TEXT,
    });
    expect(message.stop_reason).toBe('end_turn');
    expect(message.usage.output_tokens_details).toEqual({
      thinking_tokens: 20,
    });
  });

  test('they are cut as named', async () => {
    const chunked = async (chunking: Chunking) => {
      const { api } = await bench({
        chunking,
        output: () => ({ text: WIRE_TEXT }),
      });
      return chunksOf(await post(api, { ...hello(), stream: true }));
    };
    const bytes = await chunked('bytes');
    // The reader may be late for one now and then, and take two at once.
    expect(bytes.filter((chunk) => chunk.length === 1).length / bytes.length).toBeGreaterThan(0.8);
    const split = await chunked('split-utf8');
    const isBroken = (chunk: Uint8Array) => {
      const first = chunk[0] ?? 0;
      return first >= 0x80 && first < 0xc0;
    };
    expect(split.filter(isBroken).length).toBeGreaterThan(20);
    const many = await chunked('many-per-chunk');
    expect(many).toHaveLength(1);
  });

  test('every event is there: ping, one that nobody knows, cumulative usage, null fields', async () => {
    const { api, client } = await bench({
      unknownEvents: true,
      output: () => 20,
    });
    const text = await (await post(api, { ...hello(), stream: true })).text();
    const types = [...text.matchAll(/^event: (.*)$/gm)].map((match) => match[1]);
    expect(types).toEqual([
      'message_start',
      'weather',
      'content_block_start',
      'ping',
      'content_block_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
    const delta: unknown = JSON.parse(/^data: (\{"type":"message_delta".*)$/m.exec(text)?.[1] ?? '');
    expect(delta).toMatchObject({
      delta: { stop_reason: 'end_turn', stop_sequence: null },
      usage: {
        output_tokens: 20,
        server_tool_use: null,
        output_tokens_details: null,
      },
    });
    const start: unknown = JSON.parse(/^data: (\{"type":"message_start".*)$/m.exec(text)?.[1] ?? '');
    expect(start).toMatchObject({
      message: { stop_reason: null, usage: { output_tokens: 1 } },
    });
    expect(await client.messages.stream(hello()).finalText()).not.toBe('');
  });

  test('tokens come in groups as they are produced', async () => {
    const latency = {
      timeToFirstTokenMs: 200,
      tokensPerSecond: 100,
      flushMs: 100,
    };
    const { api, client, clock } = await stillBench({
      latency,
      output: () => 100,
    });
    const lengths: number[] = [];
    const stream = client.messages.stream(hello());
    stream.on('text', (delta) => lengths.push(delta.length));
    const done = stream.finalMessage();
    await until(() => api.ledger.count({ outcome: 'admitted' }) === 1);
    await clock.advance(1_200);
    await done;
    expect(lengths).toHaveLength(10);
    expect(Math.max(...lengths) - Math.min(...lengths)).toBeLessThanOrEqual(2);
  });
});

describe('a client that goes away', () => {
  const latency = { timeToFirstTokenMs: 100, tokensPerSecond: 100 };
  const limits = [
    {
      name: 'opus',
      models: ['*'],
      outputTokensPerMinute: 3_000,
      burstSeconds: 60,
    },
  ];
  const output = () => 1_000;

  async function isAdmitted(api: ClaudeApi): Promise<void> {
    await until(() => api.ledger.count({ outcome: 'admitted' }) === 1);
  }

  test('a broken-off stream stops generating, and what was generated until then is known', async () => {
    const { api, client, clock } = await stillBench({
      latency,
      limits,
      output,
    });
    const stream = await opened(client.messages.create({ ...hello(), stream: true }), api, () =>
      clock.advance(100),
    );
    const reading = (async () => {
      for await (const event of stream) if (event.type === 'message_stop') break;
    })();
    await clock.advance(2_000);
    stream.controller.abort();
    await reading;
    await until(() => api.ledger.entries[0]?.disconnected === true);
    expect(api.ledger.entries[0]).toMatchObject({
      generatedTokens: 200,
      outputTokens: 200,
      endedAt: 2_100,
      status: 200,
    });
    // 100 per second out and 50 in for two seconds; now only in.
    expect(api.level('opus').outputTokens).toBeCloseTo(3_000 - 100);
    await clock.advance(500);
    expect(api.level('opus').outputTokens).toBeCloseTo(3_000 - 100 + 25);
    await clock.advance(60_000);
    expect(api.ledger.totals()).toMatchObject({
      outputTokens: 200,
      disconnected: 1,
    });
    expect(clock.pending()).toBe(0);
  });

  test('before the first token nothing has been generated', async () => {
    const { api, client, clock } = await stillBench({
      latency,
      limits,
      output,
    });
    const controller = new AbortController();
    const call = client.messages.create(hello(), { signal: controller.signal }).catch(() => undefined);
    await isAdmitted(api);
    controller.abort();
    await call;
    await until(() => api.ledger.entries[0]?.disconnected === true);
    expect(api.ledger.entries[0]).toMatchObject({
      generatedTokens: 0,
      firstTokenAt: undefined,
    });
    expect(clock.pending()).toBe(0);
  });

  test('a reader that stalls stalls the writer, not the model', async () => {
    const text = 'x'.repeat(8_000_000);
    const { api, clock } = await stillBench({
      latency,
      limits,
      output: () => ({ text, tokens: 1_000 }),
    });
    const url = new URL(api.url);
    const socket = connect(Number(url.port), url.hostname);
    const body = JSON.stringify({ ...hello(), stream: true });
    socket.write(
      `POST /v1/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\nanthropic-version: 2026-10-21\r\n`,
    );
    socket.write(`content-length: ${body.length}\r\n\r\n${body}`);
    await isAdmitted(api);
    for (let step = 0; step < 110; step += 1) await clock.advance(100);
    // 10 s of tokens have been produced, no more than the socket buffers of their 8 MB written.
    expect(api.ledger.entries[0]?.outputTokens).toBe(1_000);
    expect(clock.pending()).toBe(0);
    expect(socket.bytesRead).toBeLessThan(7_000_000);
    // Then comes what the buffers held, in its groups, and all the rest as one.
    let read = 0;
    let deltas = 0;
    socket.on('data', (chunk) => {
      read += chunk.length;
      deltas += chunk.toString('latin1').split('event: content_block_delta').length - 1;
    });
    await until(() => read > 8_000_000);
    expect(deltas).toBeLessThan(80);
    socket.destroy();
    await once(socket, 'close');
  });
});

/** Keeps time going until the headers have come. */
async function opened<T>(promise: PromiseLike<T>, api: ClaudeApi, go: () => Promise<void>): Promise<T> {
  await until(() => api.ledger.count({ outcome: 'admitted' }) === 1);
  await go();
  return promise;
}

describe('closing', () => {
  test('leaves no socket and no timer, whatever is going on', async () => {
    const latency = { timeToFirstTokenMs: 100, tokensPerSecond: 10 };
    const { api, client, clock } = await stillBench({
      latency,
      output: () => 1_000,
    });
    const json = client.messages.create(hello()).catch((error: unknown) => error);
    const stream = client.messages.stream(hello());
    const streamed = stream.finalMessage().catch((error: unknown) => error);
    await until(() => api.ledger.count({ outcome: 'admitted' }) === 2);
    await clock.advance(500);
    expect(api.openConnections()).toBe(2);
    await api.close();
    expect(await json).toBeInstanceOf(Error);
    expect(await streamed).toBeInstanceOf(Error);
    expect(api.openConnections()).toBe(0);
    expect(clock.pending()).toBe(0);
    await api.close();
    await expect(clientOf(api).messages.create(hello())).rejects.toThrow();
  });

  test('`await using` closes', async () => {
    let url = '';
    {
      const { startClaudeApi } = await import('@headgate/testing');
      await using api = await startClaudeApi();
      url = api.url;
      expect((await fetch(url)).status).toBe(401);
    }
    await expect(fetch(url)).rejects.toThrow();
  });
});

describe('what is kept', () => {
  test('is bounded; totals go on', async () => {
    const { api, client } = await bench({
      ledgerSize: 10,
      receivedSize: 3,
      output: () => 5,
    });
    for (let round = 0; round < 30; round += 1) await client.messages.create(hello());
    expect(api.received).toHaveLength(3);
    expect(api.ledger.entries.length).toBeLessThanOrEqual(12);
    expect(api.ledger.totals()).toMatchObject({
      attempts: 30,
      admitted: 30,
      outputTokens: 150,
    });
    expect(api.ledger.totals('opus-5').attempts).toBe(30);
    expect(api.ledger.totals('haiku-4-5').attempts).toBe(0);
    api.reset();
    expect(api.ledger.totals().attempts).toBe(0);
  });

  test('is what came in', async () => {
    const { api, client } = await bench();
    await client.messages.create(hello());
    expect(api.received[0]).toMatchObject({
      method: 'POST',
      path: '/v1/messages',
      headers: {
        authorization: 'Bearer test-key',
        'anthropic-version': '2026-10-21',
      },
      body: { model: hello().model, max_tokens: 1_000 },
    });
  });
});
