import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonReader, streamReader } from '../../packages/core/src/settlement/reading.ts';
import { SseParser } from '../../packages/core/src/settlement/sse.ts';
import { chargedInput, foldUsage, NO_USAGE, totalInput } from '../../packages/core/src/settlement/usage.ts';
import { termsFor } from '../support/charge.ts';

const TERMS = termsFor('x');

const encoder = new TextEncoder();

/** Cuts bytes at the given places. */
function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const at = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => bytes.subarray(from, at[i] ?? bytes.length));
}

describe('the parser of events', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'é', '🌊', '水', ' ', ':', '{'), maxLength: 20 });
  const event = fc.record({
    event: fc.constantFrom('message_start', 'ping', 'x'),
    lines: fc.array(text, { minLength: 1, maxLength: 3 }),
  });

  it('finds the same events whatever the chunks and line ends', () => {
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 8 }),
        fc.array(fc.nat()),
        fc.constantFrom('\n', '\r\n', '\r'),
        (events, places, newline) => {
          const written = events
            .map(({ event, lines }) =>
              [`event: ${event}`, ...lines.map((line) => `data: ${line}`), '', ''].join(newline),
            )
            .join('');
          const parser = new SseParser();
          const seen = cut(encoder.encode(written), places).flatMap((chunk) => parser.push(chunk));
          expect([...seen, ...parser.end()]).toEqual(
            events.map(({ event, lines }) => ({ event, data: lines.join('\n') })),
          );
        },
      ),
    );
  });

  it('passes over comments, unknown fields and a byte order mark, and gives no event that did not end', () => {
    const parser = new SseParser();
    const bytes = encoder.encode('﻿: hi\nid: 7\nevent: a\ndata:x\n\nevent: b\ndata: y\n');
    expect(parser.push(bytes)).toEqual([{ event: 'a', data: 'x' }]);
    expect(parser.end()).toEqual([]);
  });

  it('passes over events that are longer than its bound, in bounded memory, and reads what follows', () => {
    const long = { event: 'long', lines: ['x'.repeat(70)] };
    const small = { event: 'small', lines: ['y'] };
    const spread = { event: 'spread', lines: Array.from({ length: 9 }, () => 'z'.repeat(10)) };
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(long, small, spread), { maxLength: 12 }),
        fc.array(fc.nat()),
        fc.constantFrom('\n', '\r\n', '\r'),
        (events, places, newline) => {
          const written = events
            .map(({ event, lines }) =>
              [`event: ${event}`, ...lines.map((line) => `data: ${line}`), '', ''].join(newline),
            )
            .join('');
          const parser = new SseParser(60);
          const seen = cut(encoder.encode(written), places).flatMap((chunk) => parser.push(chunk));
          // A whole event that comes in one chunk is no burden, however long: its line alone is bounded.
          const kept = [...seen, ...parser.end()].filter(({ event }) => event !== 'long');
          expect(kept).toEqual(
            events.filter((each) => each === small).map(() => ({ event: 'small', data: 'y' })),
          );
        },
      ),
    );
  });

  it('reads on after an event of 11 MiB, and has no bound for many small ones in one chunk (old: nothing read)', () => {
    const parser = new SseParser();
    for (let i = 0; i < 10; i++) expect(parser.push(new Uint8Array(1024 * 1024).fill(97))).toEqual([]);
    expect(parser.push(encoder.encode('\n\nevent: a\ndata: x\n\n'))).toEqual([{ event: 'a', data: 'x' }]);
    const comment = `: ${'c'.repeat(5 * 1024 * 1024)}`;
    expect(parser.push(encoder.encode(`event: a\n${comment}`))).toEqual([]);
    expect(parser.push(encoder.encode('\ndata: x\n\n'))).toEqual([{ event: 'a', data: 'x' }]);
    const many = 'event: a\ndata: 0123456789\n\n'.repeat(200_000);
    expect(parser.push(encoder.encode(many))).toHaveLength(200_000);
  });
});

describe('usage', () => {
  it('is the last number of each field, and never a sum', () => {
    const start = foldUsage(NO_USAGE, {
      input_tokens: 10,
      cache_read_input_tokens: 5,
      cache_creation_input_tokens: null,
      output_tokens: 1,
    });
    const end = foldUsage(start, { output_tokens: 42, input_tokens: null });
    expect(end).toMatchObject({ inputTokens: 10, cacheReadTokens: 5, outputTokens: 42 });
    expect(foldUsage(end, { output_tokens: 42 })).toEqual(end);
  });

  it('knows cache writes by their lifetime, and counts reads as input but not against the limit', () => {
    const usage = foldUsage(NO_USAGE, {
      input_tokens: 100,
      cache_read_input_tokens: 1_000,
      cache_creation_input_tokens: 70,
      cache_creation: { ephemeral_5m_input_tokens: 20, ephemeral_1h_input_tokens: 50 },
    });
    expect(usage).toMatchObject({ cacheWrite5mTokens: 20, cacheWrite1hTokens: 50 });
    expect([totalInput(usage), chargedInput(usage)]).toEqual([1_170, 170]);
    expect(foldUsage(NO_USAGE, { cache_creation_input_tokens: 70 })).toMatchObject({
      cacheWrite5mTokens: 70,
      cacheWrite1hTokens: 0,
    });
  });

  it('takes nothing from nonsense', () => {
    for (const raw of [
      undefined,
      null,
      'x',
      [],
      { input_tokens: -1, output_tokens: Number.NaN, cache_creation: 7 },
    ]) {
      expect(foldUsage(NO_USAGE, raw)).toEqual(NO_USAGE);
    }
  });
});

describe('reading a response', () => {
  it('a stream that breaks off is worth at least what was delivered', () => {
    const reader = streamReader(TERMS);
    const send = (type: string, data: object) =>
      reader.push(encoder.encode(`event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`));
    send('message_start', { message: { id: 'm', model: 'x', usage: { input_tokens: 9, output_tokens: 1 } } });
    for (let i = 0; i < 10; i++)
      send('content_block_delta', { delta: { type: 'text_delta', text: 'x'.repeat(32) } });
    expect(reader.reading).toMatchObject({ isComplete: false, outputTokens: 100, promptTokens: 9 });
    send('message_delta', { delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 77 } });
    send('message_stop', {});
    expect(reader.reading).toMatchObject({
      isComplete: true,
      outputTokens: 77,
      stopReason: 'end_turn',
      messageId: 'm',
    });
  });

  it('never throws, whatever comes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 })), fc.array(fc.string()), (chunks, lines) => {
        for (const reader of [streamReader(TERMS), jsonReader(TERMS)]) {
          for (const chunk of chunks) reader.push(chunk);
          for (const line of lines) reader.push(encoder.encode(`data: ${line}\n\n`));
          reader.end();
          expect(reader.reading.outputTokens).toBeGreaterThanOrEqual(0);
        }
      }),
    );
  });
});
