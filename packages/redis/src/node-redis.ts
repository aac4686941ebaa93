import type { Argument, Connection, Subscriber, SubscriberParts } from './connection.ts';

/** A client of the package `redis`, 5 or later: of `createClient()`, `createSentinel()` or `createCluster()`. */
export interface NodeRedisClient {
  readonly isOpen: boolean;
  connect(): Promise<unknown>;
  withTypeMapping(...args: never[]): unknown;
  subscribe(...args: never[]): unknown;
}

interface Script {
  readonly keys: string[];
  readonly arguments: (string | Buffer)[];
}

interface Commands {
  evalSha(sha: string, script: Script): Promise<unknown>;
  eval(source: string, script: Script): Promise<unknown>;
}

type OnMessage = (message: string, channel: string) => void;

interface Client extends Commands {
  readonly isOpen: boolean;
  /** Left out by clusters of redis 5. */
  readonly isReady?: boolean;
  on(event: string, listener: () => void): unknown;
  off(event: string, listener: () => void): unknown;
  connect(): Promise<unknown>;
  destroy(): void;
  duplicate(): Client;
  withTypeMapping(types: Record<number, unknown>): Commands;
  publish(channel: string, message: string): Promise<unknown>;
  subscribe(channel: string, onMessage: OnMessage): Promise<unknown>;
  unsubscribe(channel: string, onMessage: OnMessage): Promise<unknown>;
}

interface Single {
  sendCommand(command: readonly string[]): Promise<unknown>;
}
interface Sentinel {
  getSentinelNode(): unknown;
  sendCommand(isReadonly: boolean, command: readonly string[]): Promise<unknown>;
}
interface Cluster {
  readonly masters: readonly unknown[];
  getRandomNode(): unknown;
  nodeClient(node: unknown): Promise<Single>;
}

/** The type of a string in a reply: `RESP_TYPES.BLOB_STRING`, the character that such a string begins with in the protocol. */
const STRING = '$'.charCodeAt(0);
const INFO = ['INFO', 'everything'];
/** A cluster tells of `connect` alone, which of the others comes too early; a sentinel of redis 5 of nothing. */
const READY = ['ready', 'connect'];
/** Without `error`: that nobody listens to it ends a process, and is not ours to change. */
const MOVES = [...READY, 'reconnecting', 'end'];

export function nodeRedisConnection(given: NodeRedisClient): Connection {
  const client = given as unknown as Client & Partial<Sentinel & Cluster>;
  const binary = client.withTypeMapping({ [STRING]: Buffer });
  const isCluster = client.nodeClient !== undefined;
  let wasReady = false;
  return {
    isCluster,
    state() {
      if (isReady(client)) {
        wasReady = true;
        return 'ready';
      }
      if (!client.isOpen) return 'closed: connect() was not called, or it has ended';
      return wasReady ? 'reconnecting' : 'opening';
    },
    onMove: (listener) => onEach(client, MOVES, listener),
    evalSha: (sha, keys, args) => binary.evalSha(sha, scriptOf(keys, args)),
    eval: (source, keys, args) => binary.eval(source, scriptOf(keys, args)),
    publish: (channel, message) => client.publish(channel, message),
    info: async () => String(await askInfo(client as unknown as Single | Sentinel | Cluster)),
    // A cluster and a sentinel keep a connection for messages themselves, and move it with the topology.
    subscriber: (parts) =>
      isCluster || client.getSentinelNode !== undefined
        ? subscriberOf(client, parts)
        : ownSubscriber(client, parts),
  };
}

const isReady = (client: Client & Partial<Cluster>): boolean =>
  client.isReady ?? (client.isOpen && client.masters !== undefined && client.masters.length > 0);

/** Calls `listener` at each of `events`, but for a `connect` of a client that is not ready then. */
function onEach(client: Client, events: readonly string[], listener: () => void): () => void {
  const onConnect = () => {
    if (isReady(client)) listener();
  };
  const listeners = events.map((event) => [event, event === 'connect' ? onConnect : listener] as const);
  for (const each of listeners) client.on(...each);
  return () => {
    for (const each of listeners) client.off(...each);
  };
}

const scriptOf = (keys: readonly string[], args: readonly Argument[]): Script => ({
  keys: [...keys],
  arguments: args.map((each) => (typeof each === 'number' ? String(each) : each)),
});

async function askInfo(client: Single | Sentinel | Cluster): Promise<unknown> {
  if ('nodeClient' in client) return (await client.nodeClient(client.getRandomNode())).sendCommand(INFO);
  return 'getSentinelNode' in client ? client.sendCommand(false, INFO) : client.sendCommand(INFO);
}

function subscriberOf(client: Client, { onMessage, onReady }: SubscriberParts): Subscriber {
  const listeners = new Map<string, OnMessage>();
  const endReady = onEach(client, READY, onReady);
  return {
    subscribe(channel) {
      const listener = listeners.get(channel) ?? ((message) => onMessage(channel, message));
      listeners.set(channel, listener);
      return client.subscribe(channel, listener);
    },
    async unsubscribe(channel) {
      const listener = listeners.get(channel);
      listeners.delete(channel);
      if (listener !== undefined) await client.unsubscribe(channel, listener);
    },
    close() {
      endReady();
      for (const [channel, listener] of listeners) client.unsubscribe(channel, listener).catch(() => {});
      listeners.clear();
    },
  };
}

/** A connection of our own, opened with the client's and again with it. */
function ownSubscriber(client: Client, parts: SubscriberParts): Subscriber {
  const own = client.duplicate();
  // It comes back by itself; meanwhile timers do what messages did.
  own.on('error', () => {});
  const open = () => {
    if (!own.isOpen) own.connect().catch(() => {});
  };
  const subscriber = subscriberOf(own, parts);
  client.on('ready', open);
  if (client.isOpen) open();
  return {
    ...subscriber,
    close() {
      client.off('ready', open);
      subscriber.close();
      if (own.isOpen) own.destroy();
    },
  };
}
