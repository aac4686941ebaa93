/** Writes a message as Lua's `struct` reads it with `<`: little-endian, nothing between the fields. */
export class Writer {
  #buffer = Buffer.allocUnsafe(2_048);
  #at = 0;

  /** `B`. */
  byte(value: number): this {
    this.#room(1);
    this.#at = this.#buffer.writeUInt8(value, this.#at);
    return this;
  }

  flag(value: boolean): this {
    return this.byte(value ? 1 : 0);
  }

  /** `H`. */
  short(value: number): this {
    this.#room(2);
    this.#at = this.#buffer.writeUInt16LE(value, this.#at);
    return this;
  }

  /** `d` for each; one that is left out is not a number. */
  numbers(...values: readonly (number | undefined)[]): this {
    return this.list(values);
  }

  list(values: readonly (number | undefined)[]): this {
    this.#room(8 * values.length);
    for (const value of values) this.#at = this.#buffer.writeDoubleLE(value ?? Number.NaN, this.#at);
    return this;
  }

  /** `Hc0`. */
  text(value: string): this {
    const bytes = Buffer.byteLength(value);
    this.short(bytes).#room(bytes);
    this.#at += this.#buffer.write(value, this.#at);
    return this;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#at);
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(2 * (this.#at + bytes));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}

/** Reads what Lua's `struct` has written with `<`. @throws RangeError where there is no more to read. */
export class Reader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  byte(): number {
    return this.#buffer.readUInt8(this.#at++);
  }

  flag(): boolean {
    return this.byte() === 1;
  }

  short(): number {
    this.#at += 2;
    return this.#buffer.readUInt16LE(this.#at - 2);
  }

  number(): number {
    this.#at += 8;
    return this.#buffer.readDoubleLE(this.#at - 8);
  }

  /** A number that may have been left out. */
  optional(): number | undefined {
    const value = this.number();
    return Number.isNaN(value) ? undefined : value;
  }

  text(): string {
    const bytes = this.short();
    this.#at += bytes;
    return this.#buffer.toString('utf8', this.#at - bytes, this.#at);
  }

  /** So many of what `read` reads. */
  times<T>(count: number, read: () => T): T[] {
    return Array.from({ length: count }, read);
  }
}
