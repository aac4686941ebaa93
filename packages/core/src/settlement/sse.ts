/** One server-sent event. */
export interface ServerEvent {
  readonly event: string;
  readonly data: string;
}

/** An event longer than this is not one of a message stream: reading stops, the bytes go on. */
const MAX_BUFFER = 4 * 1024 * 1024;

/**
 * An incremental parser of server-sent events: bytes in, events out, whatever the chunks. Line ends may be LF, CR or
 * CRLF, also with a chunk's border inside; characters may be split; `data` may have many lines.
 */
export class SseParser {
  readonly #decoder = new TextDecoder('utf-8');
  #text = '';
  /** Up to here the text is known to hold no end of a line. */
  #searched = 0;
  #event = '';
  #data: string[] = [];
  #hasBrokenOff = false;

  /** The events that end in this chunk. */
  push(bytes: Uint8Array): ServerEvent[] {
    if (this.#hasBrokenOff) return [];
    this.#text += this.#decoder.decode(bytes, { stream: true });
    if (this.#text.length > MAX_BUFFER) {
      this.#hasBrokenOff = true;
      this.#text = '';
      return [];
    }
    return this.#readLines(false);
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
      const event = this.#line(text.slice(from, end));
      if (event !== undefined) events.push(event);
      from = next;
      search = next;
    }
    this.#text = text.slice(from);
    this.#searched = search - from;
    return events;
  }

  #line(line: string): ServerEvent | undefined {
    if (line === '') {
      if (this.#data.length === 0 && this.#event === '') return undefined;
      const event = { event: this.#event, data: this.#data.join('\n') };
      this.#event = '';
      this.#data = [];
      return event;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return undefined;
    const field = colon === -1 ? line : line.slice(0, colon);
    const rest = colon === -1 ? '' : line.slice(colon + 1);
    const value = rest.startsWith(' ') ? rest.slice(1) : rest;
    if (field === 'event') this.#event = value;
    else if (field === 'data') this.#data.push(value);
    return undefined;
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
