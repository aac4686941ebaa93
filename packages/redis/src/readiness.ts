import type { Connection } from './connection.ts';

/** One wait for news of a client's connection, for all who wait: one listener on a client that is not ours. */
export class Readiness {
  readonly #connection: Connection;
  #waiting: Promise<void> | undefined;
  #isClosed = false;
  #tell = () => {};
  #end = () => {};

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Resolves when the client has connected, or could not. Rejects when `close` has come or comes first. */
  async next(): Promise<void> {
    if (this.#isClosed) throw closed();
    this.#waiting ??= this.#wait();
    await this.#waiting;
  }

  /** There is news that the client may not tell of. */
  tell(): void {
    this.#tell();
  }

  close(): void {
    this.#isClosed = true;
    this.#end();
  }

  #wait(): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        stop();
        this.#waiting = undefined;
        this.#tell = () => {};
        this.#end = () => {};
      };
      this.#tell = () => {
        leave();
        resolve();
      };
      this.#end = () => {
        leave();
        reject(closed());
      };
      const stop = this.#connection.onMove(this.#tell);
    });
  }
}

const closed = () => new Error('Headgate: the store is closed');
