/** One server-sent event. */
export interface ServerEvent {
  readonly event: string;
  readonly data: string;
}

/** Characters of an event, beyond which it is passed over: none that tells a usage is nearly as long. */
const MAX_EVENT = 4 * 1024 * 1024;

/**
 * An incremental parser of server-sent events: bytes in, events out, whatever the chunks. Line ends may be LF, CR or
 * CRLF, also with a chunk's border inside; characters may be split; `data` may have many lines. Memory is bounded: an
 * event longer than the bound is passed over, and what follows it is read.
 */
export class SseParser {
  readonly #maxEvent: number;
  readonly #decoder = new TextDecoder('utf-8');
  #text = '';
  /** Up to here the text is known to hold no end of a line. */
  #searched = 0;
  #event = '';
  #data: string[] = [];
  /** Characters of the event's data so far. */
  #length = 0;
  /** The event is longer than the bound: its rest is not kept. */
  #isTooLong = false;
  /** The line is: what comes up to its end belongs to it. */
  #isInLongLine = false;

  constructor(maxEvent = MAX_EVENT) {
    this.#maxEvent = maxEvent;
  }

  /** The events that end in this chunk. */
  push(bytes: Uint8Array): ServerEvent[] {
    this.#text += this.#decoder.decode(bytes, { stream: true });
    const events = this.#readLines(false);
    if (this.#text.length > this.#maxEvent) this.#passOver();
    return events;
  }

  /** The event that a last, lone CR ends: while there was more to come it may have been half of a CRLF. */
  end(): ServerEvent[] {
    return this.#readLines(true);
  }

  #readLines(isEnd: boolean): ServerEvent[] {
    const events: ServerEvent[] = [];
    const text = this.#text;
    let from = 0;
    let search = this.#searched;
    for (;;) {
      const end = lineEnd(text, search);
      if (end === -1) {
        search = text.length;
        break;
      }
      let next = end + 1;
      if (text.charCodeAt(end) === CR) {
        if (next === text.length && !isEnd) {
          search = end;
          break;
        }
        if (text.charCodeAt(next) === LF) next++;
      }
      const event = this.#isInLongLine ? this.#endLongLine() : this.#line(text.slice(from, end));
      if (event !== undefined) events.push(event);
      from = next;
      search = next;
    }
    this.#text = text.slice(from);
    this.#searched = search - from;
    return events;
  }

  /** A line without end in sight: nothing of it is kept but a last CR, which may be half of its end. */
  #passOver(): void {
    // A comment is no part of its event.
    if (!this.#isInLongLine && !this.#text.startsWith(':')) {
      this.#isTooLong = true;
      this.#data = [];
    }
    this.#isInLongLine = true;
    this.#text = this.#text.endsWith('\r') ? '\r' : '';
    this.#searched = 0;
  }

  #endLongLine(): undefined {
    this.#isInLongLine = false;
  }

  #line(line: string): ServerEvent | undefined {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return undefined;
    const field = colon === -1 ? line : line.slice(0, colon);
    const rest = colon === -1 ? '' : line.slice(colon + 1);
    const value = rest.startsWith(' ') ? rest.slice(1) : rest;
    if (field === 'event') this.#event = value;
    else if (field === 'data' && !this.#isTooLong) {
      this.#length += value.length;
      if (this.#length > this.#maxEvent) {
        this.#isTooLong = true;
        this.#data = [];
      } else this.#data.push(value);
    }
    return undefined;
  }

  #dispatch(): ServerEvent | undefined {
    const isEmpty = this.#data.length === 0 && this.#event === '';
    const event =
      isEmpty || this.#isTooLong ? undefined : { event: this.#event, data: this.#data.join('\n') };
    this.#event = '';
    this.#data = [];
    this.#length = 0;
    this.#isTooLong = false;
    return event;
  }
}

const LF = 10;
const CR = 13;

function lineEnd(text: string, from: number): number {
  for (let at = from; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === LF || code === CR) return at;
  }
  return -1;
}
