import type { Answer, Exchange, Store, StoreDoubt } from '@headgate/core';
import type { Cluster, Redis } from 'ioredis';
import { readAnswer, readWake } from './answer.ts';
import { redisBoard } from './board.ts';
import { bounded } from './bounded.ts';
import { type BucketNames, keysOf, namesOf, SCHEMA, slotChannel } from './keys.ts';
import { type Script, script, scriptOf } from './lua/script.ts';
import { writeExchange } from './message.ts';
import { Releases } from './releases.ts';

export interface RedisStoreOptions {
  /** An `ioredis` client, or a `Cluster`: TLS, passwords, sentinels are its own. It is not closed with the store. */
  readonly client: Redis | Cluster;
  /** Who shares the limits: processes with one prefix are one fleet. Default: `headgate`. */
  readonly prefix?: string;
  /**
   * Processes that are taken to share the limits as long as Redis was never reached. Default: 4. Once it was, their
   * number is known.
   */
  readonly assumedProcesses?: number;
  /** Milliseconds that Redis may take for an answer, before the process goes on with its own share. Default: 100. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 100;
const ASSUMED_PROCESSES = 4;
const REACHABLE = new Set(['wait', 'connecting', 'connect', 'ready']);
const DOUBTS_MS = 2_000;

interface Listener {
  readonly onMessage: (message: string) => void;
  /** What comes from now on is heard: at first, and after each break. */
  readonly onReady: () => void;
}

/** The ledger of a fleet on Redis 6.2 or later, or Valkey. */
export function redisStore(options: RedisStoreOptions): Store {
  return storeOf(options, script());
}

/** The same with another clock in the script: for tests alone. */
export function storeOf(
  {
    client,
    prefix = 'headgate',
    timeoutMs = TIMEOUT_MS,
    assumedProcesses = ASSUMED_PROCESSES,
  }: RedisStoreOptions,
  source: string,
  clock: () => readonly number[] = () => [],
): Store {
  const ledger = scriptOf(source);
  const listeners = new Map<string, Set<Listener>>();
  const known = new Map<string, BucketNames>();
  const watched = new Map<string, boolean>();
  const releases = new Releases(client, prefix, SCHEMA);
  let subscriber: Redis | Cluster | undefined;
  let isClosed = false;

  /** Buckets are as many as the accounts have classes of models. */
  const names = (bucket: string): BucketNames => {
    const found = known.get(bucket) ?? namesOf(prefix, bucket);
    known.set(bucket, found);
    return found;
  };

  /** What is sent while there is no connection would be kept for later. */
  const mustBeReachable = () => {
    if (isClosed) throw new Error('Headgate: the store is closed');
    // A client that is about to connect sends the command in time, or it is not waited for.
    if (!REACHABLE.has(client.status)) throw new Error(`Headgate: Redis is not there (${client.status})`);
  };

  const run = async (
    { source, sha }: Script,
    keys: readonly string[],
    args: readonly (string | number | Buffer)[],
  ) => {
    try {
      return await client.callBuffer('evalsha', sha, keys.length, ...keys, ...args);
    } catch (error) {
      // A Redis that was started anew, or told to forget its scripts.
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return client.callBuffer('eval', source, keys.length, ...keys, ...args);
    }
  };

  const subscribe = (): Redis | Cluster => {
    if (subscriber !== undefined) return subscriber;
    // The two kinds of client differ in the options that we do not give.
    const copy: Redis | Cluster = (client as Redis).duplicate();
    subscriber = copy;
    copy.on('message', (channel: string, message: string) => {
      for (const { onMessage } of [...(listeners.get(channel) ?? [])]) onMessage(message);
    });
    // It comes back by itself; meanwhile timers do what messages did.
    copy.on('error', () => {});
    // And with it what was not subscribed to as long as Redis was not there, which the client does not remember.
    copy.on('ready', () => {
      for (const channel of listeners.keys()) hear(channel);
    });
    return copy;
  };

  /** Without it the timers behind messages do. */
  const hear = (channel: string): void => {
    subscribe()
      .subscribe(channel)
      .then(
        () => {
          for (const { onReady } of [...(listeners.get(channel) ?? [])]) onReady();
        },
        () => {},
      );
  };

  const listenTo = (
    channel: string,
    onMessage: Listener['onMessage'],
    onReady: Listener['onReady'] = () => {},
  ): (() => void) => {
    const others = listeners.get(channel);
    const set = others ?? new Set();
    const listener = { onMessage, onReady };
    set.add(listener);
    if (others === undefined) {
      listeners.set(channel, set);
      hear(channel);
    } else
      subscribe()
        .subscribe(channel)
        .then(onReady, () => {});
    return () => {
      set.delete(listener);
      if (set.size > 0 || listeners.get(channel) !== set) return;
      listeners.delete(channel);
      subscriber?.unsubscribe(channel).catch(() => {});
    };
  };

  /**
   * Whether others can tell that this process has ended: by nobody listening to its own channel. In a cluster each node knows
   * of its own listeners alone.
   */
  const isWatched = (alive: string, process: string): boolean => {
    if (client.isCluster) return false;
    const known = watched.get(process);
    if (known === undefined) {
      watched.set(process, false);
      subscribe()
        .subscribe(`${alive}${process}`)
        .then(
          () => void watched.set(process, true),
          () => void watched.delete(process),
        );
    }
    return known === true;
  };

  const send = async (bucket: string, exchange: Exchange) => {
    await releases.meet(exchange.process);
    const own = names(bucket);
    const keys = keysOf(own, exchange);
    const alive = isWatched(own.alive, exchange.process) ? own.alive : '';
    const message = writeExchange(releases.shared(bucket, exchange), keys);
    return run(ledger, keys.keys, [message, own.channel, alive, ...clock()]);
  };

  /** Nothing depends on it: a call that is parked for a slot asks again each second. */
  const tellOfSlots = ({ quotas, process }: Exchange): void => {
    for (const { key, frees } of quotas)
      if (frees) client.publish(slotChannel(prefix, key), process).catch(() => {});
  };

  return {
    kind: 'fleet',
    assumedProcesses,
    async exchange(bucket: string, exchange: Exchange): Promise<Answer> {
      mustBeReachable();
      const bytes = await bounded(send(bucket, exchange), timeoutMs, 'an exchange with Redis').catch(explain);
      if (!Buffer.isBuffer(bytes)) throw new Error('Headgate: Redis gave an answer that is none');
      tellOfSlots(exchange);
      return releases.whole(bucket, readAnswer(bytes));
    },
    listen(bucket, onWake) {
      return listenTo(names(bucket).channel, (message) => {
        const wake = readWake(message);
        if (wake !== undefined) onWake(wake);
      });
    },
    listenSlot: (key, onFree) => listenTo(slotChannel(prefix, key), onFree, () => onFree(undefined)),
    board: redisBoard({
      prefix,
      subscribe: listenTo,
      async run(script, key, args) {
        mustBeReachable();
        return bounded(run(script, [key], args), timeoutMs, 'a notice for Redis');
      },
    }),
    async doubts() {
      return readDoubts(await bounded(client.info('everything'), DOUBTS_MS, 'INFO'));
    },
    async close() {
      isClosed = true;
      listeners.clear();
      subscriber?.disconnect();
      subscriber = undefined;
    },
  };
}

/** An error of the script itself would come again. It is told without what was in the message: that is nobody's to read. */
function explain(error: unknown): never {
  const text = error instanceof Error ? error.message : String(error);
  const at = text.startsWith('ERR') ? /user_script:(\d+)/.exec(text)?.[1] : undefined;
  if (at === undefined) throw error;
  throw Object.assign(new Error(`Headgate: the ledger refuses a message (line ${at})`), { isFinal: true });
}

/** What `INFO` says that a ledger should not be kept in. */
export function readDoubts(info: string): StoreDoubt[] {
  const field = (name: string) => new RegExp(`^${name}:(.*)$`, 'm').exec(info)?.[1]?.trim();
  const doubts: StoreDoubt[] = [];
  const policy = field('maxmemory_policy');
  if (policy !== undefined && policy !== 'noeviction' && field('maxmemory') !== '0') {
    doubts.push({
      code: 'HG_STORE_EVICTS',
      message: `Redis may evict limits and quotas (maxmemory-policy ${policy}): set it to noeviction`,
    });
  }
  const [major = 0, minor = 0] = (field('redis_version') ?? '').split('.').map(Number);
  if (major < 6 || (major === 6 && minor < 2)) {
    doubts.push({
      code: 'HG_STORE_OLD',
      message: `Redis ${major}.${minor} is older than 6.2, and is not tested`,
    });
  }
  if (field('role') === 'slave') {
    doubts.push({
      code: 'HG_STORE_READ_ONLY',
      message: 'this Redis is a replica, which cannot be written to: connect to its master',
    });
  }
  return doubts;
}
