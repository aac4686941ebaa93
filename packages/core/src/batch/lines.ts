/** A longer line is none that can be read: it is passed over. */
export const MAX_LINE = 64 * 1024 * 1024;

/** What an overlong line comes out as: it does not parse. */
const TOO_LONG = '{';

/** Cuts bytes into lines, whatever the chunks; holds no more than one line, and of an overlong one nothing. */
export class Lines {
  readonly #decoder = new TextDecoder('utf-8');
  readonly #limit: number;
  #parts: string[] = [];
  #length = 0;
  #isTooLong = false;

  constructor(limit = MAX_LINE) {
    this.#limit = limit;
  }

  /** The lines that end in this chunk, without their ends. */
  push(bytes: Uint8Array): string[] {
    return this.#take(this.#decoder.decode(bytes, { stream: true }));
  }

  /** What stands after the last line's end. */
  end(): string[] {
    const lines = this.#take(this.#decoder.decode());
    if (this.#length > 0 || this.#isTooLong) lines.push(this.#line(''));
    return lines;
  }

  #take(text: string): string[] {
    const lines: string[] = [];
    let from = 0;
    for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', from)) {
      lines.push(this.#line(text.slice(from, at)));
      from = at + 1;
    }
    this.#keep(text.slice(from));
    return lines;
  }

  #keep(text: string): void {
    if (text === '' || this.#isTooLong) return;
    this.#length += text.length;
    this.#parts.push(text);
    if (this.#length <= this.#limit) return;
    this.#isTooLong = true;
    this.#parts = [];
  }

  #line(last: string): string {
    this.#keep(last);
    const line = this.#isTooLong ? TOO_LONG : this.#parts.join('');
    this.#parts = [];
    this.#length = 0;
    this.#isTooLong = false;
    return line.endsWith('\r') ? line.slice(0, -1) : line;
  }
}
