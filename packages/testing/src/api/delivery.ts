import { setImmediate } from 'node:timers/promises';
import { errorBody, failure, statusOf } from './errors.ts';
import type { Exchange } from './exchange.ts';
import type { EndingFault, FaultSet } from './faults.ts';
import type { Generation } from './generation.ts';
import type { OpenEntry } from './ledger.ts';
import { createMessageScript, type MessageFacts, messageBody } from './message-script.ts';
import type { Organization } from './organization.ts';
import type { Headers } from './rate-limit-headers.ts';
import { encodeEvent, type SseEvent, toChunks } from './sse.ts';

export interface Delivery {
  readonly organization: Organization;
  readonly exchange: Exchange;
  readonly entry: OpenEntry;
  readonly generation: Generation;
  readonly facts: MessageFacts;
  readonly headers: Headers;
  readonly faults: FaultSet;
  readonly random: () => number;
  /** Makes what this request wrote to the prompt cache readable. */
  readonly commit: (now: number) => void;
}

/** Time between the pings of a long stream. */
const PING_MS = 15_000;
const DEFAULT_AFTER_EVENTS = 4;

/** The whole answer at once, when its last token has been written. */
export async function deliverJson(delivery: Delivery): Promise<void> {
  const { exchange, generation, headers, faults, facts } = delivery;
  const { clock } = exchange;
  await exchange.waitUntil(generation.firstTokenAt + faults.stallMs);
  delivery.commit(clock.now());
  const { ending } = faults;
  if (ending?.kind === 'reset' && ending.at === 'after-headers') {
    exchange.open(200, { 'content-type': 'application/json', ...headers });
    exchange.response.flushHeaders();
    await breakOff(delivery, ending);
    return;
  }
  await exchange.waitUntil(generation.endAt);
  if (exchange.isOver) return;
  generation.end();
  if (ending?.kind === 'stream-error') {
    markFault(delivery, statusOf(ending.type), ending.type);
    exchange.fail(failure(statusOf(ending.type), ending.message ?? ending.type, ending.type), headers);
    return;
  }
  if (ending?.kind === 'stall') {
    if (ending.at === 'after-headers') {
      exchange.open(200, { 'content-type': 'application/json', ...headers });
      exchange.response.flushHeaders();
      await exchange.wait(ending.ms);
      exchange.response.end(JSON.stringify(messageBody(facts)));
      return;
    }
    await exchange.wait(ending.ms);
  }
  if (ending?.kind === 'reset' || ending?.kind === 'truncate') {
    await sendHalf(delivery, ending);
    return;
  }
  exchange.sendJson(200, headers, messageBody(facts));
}

async function sendHalf(delivery: Delivery, ending: EndingFault): Promise<void> {
  const { exchange, facts, headers } = delivery;
  const bytes = Buffer.from(JSON.stringify(messageBody(facts)));
  exchange.open(200, { 'content-type': 'application/json', ...headers });
  await exchange.write(bytes.subarray(0, bytes.length >> 1));
  await breakOff(delivery, ending);
}

/** Server-sent events, in groups of what has been written since the last one. */
export async function deliverStream(delivery: Delivery): Promise<void> {
  const { organization, exchange, generation, faults, facts } = delivery;
  const { clock } = exchange;
  const { config } = organization;
  const writer = createStreamWriter(delivery);
  const script = createMessageScript(facts);
  let pingedAt = generation.firstTokenAt;

  await exchange.waitUntil(generation.firstTokenAt + faults.stallMs);
  delivery.commit(clock.now());
  if (!(await writer.open())) return;
  const opening = script.start();
  if (config.unknownEvents) opening.push({ type: 'weather', data: { type: 'weather', sky: 'clear' } });
  let due = [...opening, ...script.advance(generation.produced())];
  for (;;) {
    const isDone = clock.now() >= generation.endAt;
    // The end may have come since the last look: what was produced until then comes first.
    if (isDone) due.push(...script.advance(generation.produced()), ...script.finish());
    if (!(await writer.send(due))) return;
    if (isDone) break;
    await exchange.wait(Math.min(config.flushMs, generation.endAt - clock.now()));
    due = script.advance(generation.produced());
    if (clock.now() - pingedAt >= PING_MS) {
      pingedAt = clock.now();
      due.push({ type: 'ping', data: { type: 'ping' } });
    }
  }
  generation.end();
  exchange.response.end();
}

interface StreamWriter {
  open(): Promise<boolean>;
  /** False when the stream has come to its end: by a fault, or because the client is gone. */
  send(events: readonly SseEvent[]): Promise<boolean>;
}

/** Writes events, counts them, and lets the fault of this request happen after the right one. */
function createStreamWriter(delivery: Delivery): StreamWriter {
  const { organization, exchange, headers, faults, random } = delivery;
  const { chunking, newline } = organization.config;
  const { ending } = faults;
  let sent = 0;
  let hasStalled = false;

  async function write(events: readonly SseEvent[]): Promise<boolean> {
    const encoded = events.map((event) => encodeEvent(event, newline));
    const isPaced = chunking !== 'events' && chunking !== 'many-per-chunk';
    for (const chunk of toChunks(encoded, chunking, random)) {
      if (exchange.isOver) return false;
      await exchange.write(chunk);
      // Chunks written in one turn of the event loop reach the reader as one.
      if (isPaced) await setImmediate();
    }
    sent += events.length;
    return !exchange.isOver;
  }

  return {
    async open() {
      if (exchange.isOver) return false;
      exchange.open(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-cache',
        ...headers,
      });
      if ((ending?.kind !== 'reset' && ending?.kind !== 'stall') || ending.at !== 'after-headers')
        return true;
      exchange.response.flushHeaders();
      if (ending.kind === 'stall') {
        await exchange.wait(ending.ms);
        return !exchange.isOver;
      }
      await breakOff(delivery, ending);
      return false;
    },
    async send(events) {
      const limit = eventsBefore(ending);
      if (limit === undefined || hasStalled || sent + events.length < limit) return write(events);
      const head = events.slice(0, Math.max(0, limit - sent));
      const tail = events.slice(head.length);
      if (!(await write(head))) return false;
      if (ending?.kind === 'stall') {
        hasStalled = true;
        await exchange.wait(ending.ms);
        return write(tail);
      }
      if (ending?.kind === 'stream-error') {
        const { type, message = type } = ending;
        await write([{ type: 'error', data: errorBody({ status: 200, type, message }, exchange.requestId) }]);
      }
      await breakOff(delivery, ending);
      return false;
    },
  };
}

function eventsBefore(ending: EndingFault | undefined): number | undefined {
  switch (ending?.kind) {
    case 'reset':
    case 'stall':
      return ending.at === 'mid-stream' ? (ending.afterEvents ?? DEFAULT_AFTER_EVENTS) : undefined;
    case 'stream-error':
    case 'truncate':
      return ending.afterEvents ?? DEFAULT_AFTER_EVENTS;
    default:
      return undefined;
  }
}

/** Production ends with the fault: what was written until then is charged, the rest never comes. */
async function breakOff(delivery: Delivery, ending: EndingFault | undefined): Promise<void> {
  const { exchange, generation } = delivery;
  if (exchange.isOver) return;
  generation.end();
  markFault(delivery, 200, ending?.kind === 'stream-error' ? ending.type : undefined);
  if (ending?.kind === 'reset') await exchange.reset();
  else exchange.response.end();
}

function markFault(delivery: Delivery, status: number, type: string | undefined): void {
  delivery.entry.outcome = 'fault';
  delivery.entry.status = status;
  delivery.entry.errorType = type;
}
