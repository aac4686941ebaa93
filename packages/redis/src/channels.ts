import type { Connection, Subscriber } from './connection.ts';
import type { Readiness } from './readiness.ts';

interface Listener {
  readonly onMessage: (message: string) => void;
  readonly onReady: () => void;
}

/** Who listens to which channel, on one connection for all of them, which is opened for the first. */
export class Channels {
  readonly #connection: Connection;
  readonly #readiness: Readiness;
  readonly #listeners = new Map<string, Set<Listener>>();
  #subscriber: Subscriber | undefined;
  #isClosed = false;

  constructor(connection: Connection, readiness: Readiness) {
    this.#connection = connection;
    this.#readiness = readiness;
  }

  /**
   * Calls `onMessage` for each message of a channel, and `onReady` whenever those to come will be heard: at first, and after
   * each break. The returned function ends it.
   */
  listen(
    channel: string,
    onMessage: Listener['onMessage'],
    onReady: Listener['onReady'] = () => {},
  ): () => void {
    const others = this.#listeners.get(channel);
    const set = others ?? new Set();
    const listener = { onMessage, onReady };
    set.add(listener);
    this.#listeners.set(channel, set);
    if (others === undefined) this.#hear(channel);
    else this.join(channel).then(onReady, () => {});
    return () => {
      set.delete(listener);
      if (set.size > 0 || this.#listeners.get(channel) !== set) return;
      this.#listeners.delete(channel);
      this.#subscriber?.unsubscribe(channel).catch(() => {});
    };
  }

  /** Subscribes to a channel whose messages nobody reads. */
  async join(channel: string): Promise<void> {
    if (this.#isClosed) throw new Error('Headgate: the store is closed');
    this.#subscriber ??= this.#connection.subscriber({
      onMessage: (from, message) => {
        for (const { onMessage } of [...(this.#listeners.get(from) ?? [])]) onMessage(message);
      },
      // The client does not remember what was not subscribed to as long as Redis was not there.
      onReady: () => {
        for (const each of this.#listeners.keys()) this.#hear(each);
      },
    });
    await this.#subscriber.subscribe(channel);
  }

  close(): void {
    this.#isClosed = true;
    this.#listeners.clear();
    this.#subscriber?.close();
    this.#subscriber = undefined;
  }

  #hear(channel: string): void {
    const wasReady = this.#connection.state() === 'ready';
    this.join(channel).then(
      () => {
        for (const { onReady } of [...(this.#listeners.get(channel) ?? [])]) onReady();
      },
      () => {
        // Without messages the timers behind them do.
        if (!wasReady) this.#hearLater(channel).catch(() => {});
      },
    );
  }

  /** For a client that does not tell when it is connected. */
  async #hearLater(channel: string): Promise<void> {
    if (this.#connection.state() !== 'ready') await this.#readiness.next();
    if (this.#listeners.has(channel)) this.#hear(channel);
  }
}
