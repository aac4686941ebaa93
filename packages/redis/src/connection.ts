import { type IoredisClient, ioredisConnection } from './ioredis.ts';
import { type NodeRedisClient, nodeRedisConnection } from './node-redis.ts';

export type RedisClient = IoredisClient | NodeRedisClient;

/** What a script can be given. */
export type Argument = string | number | Buffer;

/** What the ledger asks of a client, whichever package the client is from. */
export interface Connection {
  /** In a cluster each node knows of its own listeners alone. */
  readonly isCluster: boolean;
  /**
   * `ready`: a command is sent at once. `opening`: whether there is a connection is not known yet. Anything else says in a word or
   * two why nothing can be sent.
   */
  state(): string;
  /** Calls `listener` when a connection has been made, and when one was lost or could not be. The returned function ends it. */
  onMove(listener: () => void): () => void;
  /** Runs a script that Redis has: rejects with `NOSCRIPT` where it has not. Strings of the reply are buffers. */
  evalSha(sha: string, keys: readonly string[], args: readonly Argument[]): Promise<unknown>;
  eval(source: string, keys: readonly string[], args: readonly Argument[]): Promise<unknown>;
  publish(channel: string, message: string): Promise<unknown>;
  /** What `INFO everything` says. */
  info(): Promise<string>;
  /** A connection for messages, beside that for commands. */
  subscriber(parts: SubscriberParts): Subscriber;
}

export interface SubscriberParts {
  onMessage(channel: string, message: string): void;
  /** Messages are heard from now on: at first, and after each break. */
  onReady(): void;
}

export interface Subscriber {
  /** Resolves when messages of the channel are heard. Once more for the same channel does nothing more. */
  subscribe(channel: string): Promise<unknown>;
  unsubscribe(channel: string): Promise<unknown>;
  close(): void;
}

const WANTED =
  'a Redis or Cluster of the package ioredis (5.4 or later), or a client of createClient(), createSentinel() or createCluster() of the package redis (5 or later)';

/** @throws TypeError for what is no client that can be used, with what it seems to be. */
export function connectionTo(client: unknown): Connection {
  if (has(client, 'evalshaBuffer', 'duplicate', 'connect') && typeof client.status === 'string')
    return ioredisConnection(client as unknown as IoredisClient);
  if (has(client, 'withTypeMapping', 'evalSha', 'subscribe'))
    return nodeRedisConnection(client as unknown as NodeRedisClient);
  throw new TypeError(`redisStore: \`client\` must be ${WANTED}; it was given ${nameOf(client)}`);
}

function nameOf(client: unknown): string {
  if (client === null || client === undefined) return String(client);
  // Neither a text nor its type's name is shown: the address of a Redis may hold a password.
  if (typeof client === 'string') return 'a string: make a client of the address first';
  if (typeof client === 'function') return 'a function or class: make a client with it';
  if (typeof client !== 'object') return `a ${typeof client}`;
  if (has(client, 'then')) return 'a promise: await it first';
  if (has(client, 'withTypeMapping', 'execute')) return 'a pool, which cannot subscribe: give one client';
  if (has(client, 'evalSha', 'duplicate'))
    return 'a client of the package redis 4: update the package to 5 or later';
  if (has(client, 'sendCommand', 'hGetAll') || has(client, 'send_command', 'hgetall'))
    return 'a client of the package redis 3, or its legacy mode: give a client of 5 or later itself';
  const kind = client.constructor?.name;
  return kind === undefined || kind === 'Object'
    ? 'an object with none of their methods'
    : `an instance of ${kind}`;
}

function has(value: unknown, ...methods: string[]): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  return methods.every((method) => typeof (value as Record<string, unknown>)[method] === 'function');
}
