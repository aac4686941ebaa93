import type { Argument, Connection, Subscriber, SubscriberParts } from './connection.ts';

/** A client of the package `ioredis`: a `Redis` or a `Cluster`. */
export interface IoredisClient {
  readonly status: string;
  connect(...args: never[]): unknown;
  duplicate(...args: never[]): unknown;
  defineCommand(...args: never[]): unknown;
}

/** By their names: under `enableAutoPipelining` ioredis loses the name of a command that is sent by `callBuffer`. */
interface Scripts<Reply> {
  evalshaBuffer(sha: string, keys: number, ...args: readonly Argument[]): Reply;
  evalBuffer(source: string, keys: number, ...args: readonly Argument[]): Reply;
}

interface Pipeline extends Scripts<unknown> {
  exec(): Promise<[error: Error | null, reply: unknown][] | null>;
}

interface Client extends Scripts<Promise<unknown>> {
  readonly status: string;
  readonly isCluster?: boolean;
  readonly options: { readonly enableAutoPipelining?: boolean };
  pipeline(): Pipeline;
  on(event: string, listener: (channel: string, message: string) => void): unknown;
  off(event: string, listener: () => void): unknown;
  connect(): Promise<unknown>;
  duplicate(options?: { readonly failoverDetector: false }): Client;
  disconnect(isReconnecting?: boolean): void;
  publish(channel: string, message: string): Promise<unknown>;
  info(section: string): Promise<string>;
  subscribe(channel: string): Promise<unknown>;
  unsubscribe(channel: string): Promise<unknown>;
}

const OPENING = new Set(['wait', 'connecting', 'connect']);
const MOVES = ['ready', 'close'];

export function ioredisConnection(given: IoredisClient): Connection {
  const client = given as unknown as Client;
  const isCluster = client.isCluster === true;
  const scripts = isCluster && client.options.enableAutoPipelining === true ? piped(client) : client;
  return {
    isCluster,
    state() {
      if (!OPENING.has(client.status)) return client.status;
      // With `lazyConnect` it waits for a first command, and refuses that one where `enableOfflineQueue` is off.
      if (client.status === 'wait') client.connect().catch(() => {});
      return 'opening';
    },
    onMove(listener) {
      for (const event of MOVES) client.on(event, listener);
      return () => {
        for (const event of MOVES) client.off(event, listener);
      };
    },
    evalSha: (sha, keys, args) => scripts.evalshaBuffer(sha, keys.length, ...keys, ...args),
    eval: (source, keys, args) => scripts.evalBuffer(source, keys.length, ...keys, ...args),
    publish: (channel, message) => client.publish(channel, message),
    info: () => client.info('everything'),
    subscriber: (parts) => (isCluster ? subscriberOf(client.duplicate(), parts) : following(client, parts)),
  };
}

/**
 * Scripts in pipelines of their own. A `Cluster` of ioredis 5 that makes pipelines by itself takes the hash of a script for a key:
 * it would put the script among commands of the app that go to another node, and all of them would fail.
 */
function piped(client: Client): Scripts<Promise<unknown>> {
  const run = async (add: (pipeline: Pipeline) => void): Promise<unknown> => {
    const pipeline = client.pipeline();
    add(pipeline);
    const [error, reply] = (await pipeline.exec())?.[0] ?? [
      new Error('Headgate: a pipeline without a reply'),
    ];
    if (error !== null) throw error;
    return reply;
  };
  return {
    evalshaBuffer: (...args) => run((pipeline) => pipeline.evalshaBuffer(...args)),
    evalBuffer: (...args) => run((pipeline) => pipeline.evalBuffer(...args)),
  };
}

function subscriberOf(client: Client, { onMessage, onReady }: SubscriberParts): Subscriber {
  client.on('message', onMessage);
  client.on('ready', onReady);
  // It comes back by itself; meanwhile timers do what messages did.
  client.on('error', () => {});
  return {
    subscribe: (channel) => client.subscribe(channel),
    unsubscribe: (channel) => client.unsubscribe(channel),
    close: () => client.disconnect(),
  };
}

/**
 * Nothing is sent on a connection for messages by which it could notice that a master stands still, so it goes where the client has
 * gone. It has no `failoverDetector` of its own: one that tells of a failover while ioredis connects ends the connection for good.
 */
function following(client: Client, parts: SubscriberParts): Subscriber {
  const own = client.duplicate({ failoverDetector: false });
  const subscriber = subscriberOf(own, parts);
  const follow = () => {
    if (own.status === 'ready') own.disconnect(true);
  };
  client.on('ready', follow);
  return {
    ...subscriber,
    close() {
      client.off('ready', follow);
      subscriber.close();
    },
  };
}
