import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ask, isSettled, pause, rejection, startGoverned, until } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

const SLOW = { latency: { timeToFirstTokenMs: 10, tokensPerSecond: 200, flushMs: 10 }, output: () => 2_000 };

/** A server that answers every request as it is told, byte by byte. */
async function rawServer(answer: (res: ServerResponse) => void, isStream = true) {
  const server = createServer((req, res) => {
    req.resume().on('end', () => {
      if (isStream)
        res.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'request-id': 'req_raw' });
      answer(res);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const governor = createGovernor({ logger: { info() {}, warn() {}, error() {} } });
  onTestFinished(async () => {
    await governor.close({ drainMs: 0 });
    server.closeAllConnections();
    server.close();
  });
  const baseURL = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { governor, claude: governor.govern(new Anthropic({ apiKey: 'k', baseURL })) };
}

const ANSWER = { type: 'message', content: [], usage: { input_tokens: 10, output_tokens: 5 } };

const event = (type: string, data: object) =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;

function script(newline: string): Buffer {
  const usage = {
    input_tokens: 25,
    cache_creation_input_tokens: null,
    cache_read_input_tokens: null,
    output_tokens: 1,
  };
  const message = {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-sonnet-4-6',
    content: [],
    stop_reason: null,
    usage,
  };
  const text = [
    event('message_start', { message }),
    event('content_block_start', { index: 0, content_block: { type: 'text', text: '' } }),
    event('ping', {}),
    event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: 'Größe 🌊 水門' } }),
    'event: something_new\ndata: {"type":"something_new"}\n\n',
    ': a comment\n\n',
    event('content_block_delta', { index: 0, delta: { type: 'text_delta', text: ' done' } }),
    event('content_block_stop', { index: 0 }),
    event('message_delta', { delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 17 } }),
    event('message_stop', {}),
  ].join('');
  return Buffer.from(text.replaceAll('\n', newline));
}

describe('the bytes of a stream', () => {
  const chunkings: Record<string, (bytes: Buffer) => Buffer[]> = {
    'all at once': (bytes) => [bytes],
    'one byte at a time': (bytes) => [...bytes].map((byte) => Buffer.of(byte)),
    'by sevens, through characters and line ends': (bytes) =>
      Array.from({ length: Math.ceil(bytes.length / 7) }, (_, i) => bytes.subarray(i * 7, i * 7 + 7)),
    'cut inside a character': (bytes) => {
      const at = bytes.indexOf('🌊') + 2;
      return [bytes.subarray(0, at), bytes.subarray(at)];
    },
  };
  for (const [newline, name] of [
    ['\n', 'LF'],
    ['\r\n', 'CRLF'],
    ['\r', 'CR'],
  ] as const) {
    for (const [how, cut] of Object.entries(chunkings)) {
      it(`reach the caller untouched, and are read along: ${name}, ${how}`, async () => {
        const bytes = script(newline);
        const { claude, governor } = await rawServer(async (res) => {
          for (const chunk of cut(bytes)) {
            // Written and flushed apart, so that they are chunks on the wire too.
            res.write(chunk);
            if (cut(bytes).length < 20) await pause(1);
          }
          res.end();
        });
        const response = await claude.messages.create({ ...ask(), stream: true }).asResponse();
        const received = Buffer.concat(await Array.fromAsync(response.body as ReadableStream<Uint8Array>));
        expect(received.equals(bytes)).toBe(true);
        await until(() => isSettled(governor));
        // The bucket learned what the stream told: 17 tokens of output, not the characters' worth.
        expect(governor.snapshot().inFlight).toBe(0);
      });
    }
  }

  it('keep their backpressure: a reader that stalls stalls the server', async () => {
    let sent = 0;
    let isStalled = false;
    const { claude, governor } = await rawServer(async (res) => {
      const chunk = Buffer.alloc(64 * 1024, event('ping', {}));
      while (!res.destroyed && sent < 64 * 1024 * 1024) {
        sent += chunk.length;
        if (!res.write(chunk)) {
          isStalled = true;
          await new Promise<void>((resume) => {
            const go = () => {
              res.off('drain', go).off('close', go);
              resume();
            };
            res.on('drain', go).on('close', go);
          });
          isStalled = false;
        }
      }
    });
    const response = await claude.messages.create({ ...ask(), stream: true }).asResponse();
    await until(() => isStalled);
    const before = sent;
    await pause(150);
    expect(isStalled).toBe(true);
    expect(sent).toBe(before);
    // Socket buffers of both ends, and no more: nothing piles up in between.
    expect(sent).toBeLessThan(16 * 1024 * 1024);
    await response.body?.cancel();
    await until(() => isSettled(governor));
  });
});

describe('a stream that is broken off', () => {
  it('by break: the connection closes and what was generated is settled', async () => {
    const { claude, api, governor } = await startGoverned({ api: SLOW });
    let events = 0;
    let brokenAt = 0;
    for await (const _ of await claude.messages.create({
      ...ask('x', { max_tokens: 4_000 }),
      stream: true,
    })) {
      if (++events === 12) {
        brokenAt = performance.now();
        break;
      }
    }
    await until(() => api.ledger.count({ disconnected: true }) === 1);
    expect(performance.now() - brokenAt).toBeLessThan(100);
    await until(() => isSettled(governor));
    const generated = api.ledger.totals().outputTokens;
    expect(generated).toBeLessThan(500);
    const bucket = governor.snapshot().buckets[0];
    // Charged about what was generated, not the 2,000 tokens that were to come.
    const charged = (bucket?.limits.outputTokens?.capacity ?? 0) - (bucket?.limits.outputTokens?.level ?? 0);
    expect(charged).toBeLessThan(500);
  });

  it('by abort, with no read pending', async () => {
    const { claude, api, governor } = await startGoverned({ api: SLOW });
    const controller = new AbortController();
    const response = await claude.messages
      .create({ ...ask('x', { max_tokens: 4_000 }), stream: true }, { signal: controller.signal })
      .asResponse();
    expect(governor.snapshot().inFlight).toBe(1);
    const abortedAt = performance.now();
    controller.abort();
    await until(() => api.ledger.count({ disconnected: true }) === 1);
    expect(performance.now() - abortedAt).toBeLessThan(100);
    await until(() => isSettled(governor));
    await rejection((response.body as ReadableStream).getReader().read());
  });

  it('by MessageStream.abort()', async () => {
    const { claude, api, governor } = await startGoverned({ api: SLOW });
    const stream = claude.messages.stream(ask('x', { max_tokens: 4_000 }));
    stream.on('text', () => stream.abort());
    expect(await rejection(stream.finalMessage())).toBeInstanceOf(Anthropic.APIUserAbortError);
    await until(() => api.ledger.count({ disconnected: true }) === 1 && isSettled(governor));
  });

  it('by the API, with an error event: the SDK gives it as its own', async () => {
    const { claude, api, bare, governor } = await startGoverned({ api: SLOW });
    const errors: unknown[] = [];
    for (const client of [claude, bare]) {
      api.inject({ kind: 'stream-error', type: 'overloaded_error', afterEvents: 6 });
      errors.push(
        await rejection(
          (async () => {
            for await (const _ of await client.messages.create({ ...ask(), stream: true })) void _;
          })(),
        ),
      );
    }
    const [governed, ungoverned] = errors as InstanceType<typeof Anthropic.APIError>[];
    expect(governed).toBeInstanceOf(Anthropic.APIError);
    const shape = (error: typeof governed) => [
      error?.type,
      error?.status,
      error?.constructor,
      error?.message.replace(/req_\w+/, ''),
    ];
    expect(shape(governed)).toEqual(shape(ungoverned));
    // Nothing is played again once bytes have reached the caller.
    expect(api.ledger.count({})).toBe(2);
    await until(() => isSettled(governor));
  });

  it('by the connection: reset and truncated streams settle', async () => {
    const { claude, api, governor } = await startGoverned({ api: SLOW });
    for (const fault of [{ kind: 'reset', at: 'mid-stream' }, { kind: 'truncate' }] as const) {
      api.inject({ ...fault, afterEvents: 6 });
      await rejection(claude.messages.stream(ask()).finalMessage());
      await until(() => isSettled(governor));
    }
    expect(api.ledger.count({})).toBe(2);
  });

  it('that nobody reads ends by streamIdle, and frees its slot', async () => {
    const { claude, api, governor } = await startGoverned({
      api: SLOW,
      config: { timeouts: { streamIdle: '120ms' } },
    });
    const response = await claude.messages
      .create({ ...ask('x', { max_tokens: 4_000 }), stream: true })
      .asResponse();
    await until(() => isSettled(governor));
    await until(() => api.ledger.count({ disconnected: true }) === 1);
    const error = await rejection((response.body as ReadableStream).getReader().read());
    expect(error).toMatchObject({ name: 'AbortedError', reason: 'stream_idle' });
  });

  it.each(['after-headers', 'mid-stream'] as const)(
    'that the API stops sending, %s, ends by streamIdle as the API’s own time-out (was aborted by the caller)',
    async (at) => {
      const { spans, tracerProvider } = startTelemetry();
      const { claude, api, governor } = await startGoverned({
        api: SLOW,
        config: { timeouts: { streamIdle: '150ms' } },
        governor: { tracerProvider },
      });
      for (const stream of [true, false]) {
        if (!stream && at === 'mid-stream') continue;
        api.inject({ kind: 'stall', at, ms: 30_000 });
        const error = await rejection(
          stream
            ? claude.messages.stream(ask()).finalMessage()
            : Promise.resolve(claude.messages.create(ask())),
        );
        expect(error).toMatchObject({ name: 'AbortedError', reason: 'upstream_stalled', status: 504 });
        await until(() => isSettled(governor));
        const span = spans.spans.findLast(({ name }) => name === 'headgate.attempt');
        expect(span?.attributes).toMatchObject({
          'headgate.outcome': 'error',
          'error.type': 'timeout',
          'headgate.reason': 'upstream_stalled',
        });
      }
    },
  );

  it.each([
    ['is announced as empty', { 'content-length': '0' }, ''],
    ['is JSON that nobody reads', { 'content-type': 'application/json' }, JSON.stringify(ANSWER)],
    ['is text that nobody reads', { 'content-type': 'text/plain' }, 'x'.repeat(300_000)],
  ])('that %s is over when it is there', async (_, headers, body) => {
    const { claude, governor } = await rawServer((res) => {
      for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
      res.end(body);
    }, false);
    const response = await claude.messages.create(ask()).asResponse();
    expect(response.status).toBe(200);
    await until(() => isSettled(governor), 2_000);
    expect(await response.text()).toBe(body);
  });

  it.each([204, 205])('that has status %d is over at once', async (status) => {
    const { claude, governor } = await rawServer((res) => res.writeHead(status).end(), false);
    await claude.messages.create(ask()).asResponse();
    expect(isSettled(governor)).toBe(true);
  });

  it('of a list that nobody reads holds nothing', async () => {
    const { claude, governor } = await rawServer((res) => {
      res.writeHead(200, { 'content-type': 'application/x-jsonl' });
      res.end('{}\n'.repeat(100_000));
    }, false);
    await claude.get('/v1/messages/batches/b1/results').asResponse();
    await claude.post('/v1/messages/count_tokens', { body: ask() }).asResponse();
    expect(isSettled(governor)).toBe(true);
  });

  it('that outlasts the deadline ends with it', async () => {
    const { claude, api, governor } = await startGoverned({ api: SLOW });
    const error = await rejection(
      governor.run({ user: 'ada', deadlineMs: 150 }, async () => {
        for await (const _ of await claude.messages.create({
          ...ask('x', { max_tokens: 4_000 }),
          stream: true,
        }))
          void _;
      }),
    );
    expect(error).toMatchObject({ name: 'AbortedError', reason: 'deadline' });
    await until(() => isSettled(governor) && api.ledger.count({ disconnected: true }) === 1);
  });
});

describe('with hangUp: drain', () => {
  it('a stream that is left is read to its end, and settled by its own word', async () => {
    const { claude, api, governor } = await startGoverned({
      api: { ...SLOW, output: () => 60 },
      config: { hangUp: 'drain' },
    });
    for await (const event of await claude.messages.create({ ...ask(), stream: true })) {
      if (event.type === 'content_block_delta') break;
    }
    await until(() => isSettled(governor));
    expect(api.ledger.count({ disconnected: true })).toBe(0);
    expect(api.ledger.totals().outputTokens).toBe(60);
    // By the caller too, for one scope only.
    await governor.run({ hangUp: 'abort' }, async () => {
      for await (const event of await claude.messages.create({ ...ask(), stream: true })) {
        if (event.type === 'content_block_delta') break;
      }
    });
    await until(() => api.ledger.count({ disconnected: true }) === 1);
    await until(() => isSettled(governor));
  });
});

describe('what generates nothing', () => {
  it('is closed too when its reader leaves', async () => {
    let isClosed = false;
    const { claude } = await rawServer((res) => {
      res.on('close', () => {
        isClosed = true;
      });
      res.write('[1,');
    });
    const controller = new AbortController();
    const response = await claude.get('/v1/files/x/content', { signal: controller.signal }).asResponse();
    expect(response.status).toBe(200);
    controller.abort();
    await until(() => isClosed);
  });
});
