import type { Chunking } from './options.ts';

export interface SseEvent {
  readonly type: string;
  readonly data: object;
}

/** The bytes of one event. */
export function encodeEvent(event: SseEvent, newline: '\n' | '\r\n'): Uint8Array {
  const data = JSON.stringify(event.data);
  return Buffer.from(`event: ${event.type}${newline}data: ${data}${newline}${newline}`);
}

/** Cuts the events of one write into chunks. Concatenated, the chunks are the events, whatever the rule. */
export function toChunks(
  events: readonly Uint8Array[],
  chunking: Chunking,
  random: () => number,
): readonly Uint8Array[] {
  if (chunking === 'events') return events;
  const bytes = Buffer.concat(events);
  if (bytes.length === 0) return [];
  if (chunking === 'many-per-chunk') return [bytes];
  if (chunking === 'bytes') return cutAfter(bytes, () => true);
  // Between two bytes of one character: the next byte is a continuation byte (10xxxxxx).
  if (chunking === 'split-utf8') return cutAfter(bytes, (next) => next >= 0x80 && next < 0xc0);
  return chunking(bytes, random);
}

function cutAfter(bytes: Uint8Array, isCut: (nextByte: number) => boolean): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let start = 0;
  for (let index = 1; index <= bytes.length; index += 1) {
    const next = bytes[index];
    if (next !== undefined && !isCut(next)) continue;
    chunks.push(bytes.subarray(start, index));
    start = index;
  }
  return chunks;
}
