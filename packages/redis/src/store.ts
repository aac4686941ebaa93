import type { Answer, Exchange, Store, StoreDoubt } from '@headgate/core';
import { readAnswer, readWake } from './answer.ts';
import { redisBoard } from './board.ts';
import { bounded } from './bounded.ts';
import { Channels } from './channels.ts';
import { type Argument, connectionTo, type RedisClient } from './connection.ts';
import { type BucketNames, keysOf, namesOf, SCHEMA, slotChannel } from './keys.ts';
import { type Script, script, scriptOf } from './lua/script.ts';
import { writeExchange } from './message.ts';
import { Readiness } from './readiness.ts';
import { Releases } from './releases.ts';

export interface RedisStoreOptions {
  /**
   * A `Redis` or `Cluster` of the package `ioredis`, or a client of `createClient()`, `createSentinel()` or `createCluster()` of
   * the package `redis`: TLS, passwords, sentinels, and to connect it, are its own. It is not closed with the store.
   */
  readonly client: RedisClient;
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
const DOUBTS_MS = 2_000;

/**
 * The ledger of a fleet on Redis 6.2 or later, or Valkey.
 * @throws TypeError for a client that is neither of `ioredis` nor of `redis`.
 */
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
  const connection = connectionTo(client);
  const known = new Map<string, BucketNames>();
  const watched = new Map<string, boolean>();
  const readiness = new Readiness(connection);
  const channels = new Channels(connection, readiness);
  const releases = new Releases(connection, prefix, SCHEMA);
  let isClosed = false;

  /** Buckets are as many as the accounts have classes of models. */
  const names = (bucket: string): BucketNames => {
    const found = known.get(bucket) ?? namesOf(prefix, bucket);
    known.set(bucket, found);
    return found;
  };

  /** What is sent while there is no connection would be kept for later. */
  const reach = async (): Promise<void> => {
    if (isClosed) throw new Error('Headgate: the store is closed');
    const deadline = performance.now() + timeoutMs;
    if (connection.state() === 'opening') await readiness.next();
    const state = connection.state();
    if (state !== 'ready') throw new Error(`Headgate: Redis is not there (${state})`);
    // Whoever waited this long has gone on without it, and says it again.
    if (performance.now() > deadline) throw new Error('Headgate: Redis was not there in time');
  };

  const run = async ({ source, sha }: Script, keys: readonly string[], args: readonly Argument[]) => {
    try {
      return await connection.evalSha(sha, keys, args);
    } catch (error) {
      // A Redis that was started anew, or told to forget its scripts.
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error;
      return connection.eval(source, keys, args);
    }
  };

  /**
   * Whether others can tell that this process has ended: by nobody listening to its own channel. In a cluster each node knows
   * of its own listeners alone.
   */
  const isWatched = (alive: string, process: string): boolean => {
    if (connection.isCluster) return false;
    const known = watched.get(process);
    if (known === undefined) {
      watched.set(process, false);
      channels.join(`${alive}${process}`).then(
        () => void watched.set(process, true),
        () => void watched.delete(process),
      );
    }
    return known === true;
  };

  const send = async (bucket: string, exchange: Exchange) => {
    await reach();
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
      if (frees) connection.publish(slotChannel(prefix, key), process).catch(() => {});
  };

  return {
    kind: 'fleet',
    assumedProcesses,
    async exchange(bucket: string, exchange: Exchange): Promise<Answer> {
      const bytes = await bounded(send(bucket, exchange), timeoutMs, 'an exchange with Redis').catch(explain);
      if (!Buffer.isBuffer(bytes)) throw new Error('Headgate: Redis gave an answer that is none');
      tellOfSlots(exchange);
      readiness.tell();
      return releases.whole(bucket, readAnswer(bytes));
    },
    listen(bucket, onWake) {
      return channels.listen(names(bucket).channel, (message) => {
        const wake = readWake(message);
        if (wake !== undefined) onWake(wake);
      });
    },
    listenSlot: (key, onFree) => channels.listen(slotChannel(prefix, key), onFree, () => onFree(undefined)),
    board: redisBoard({
      prefix,
      subscribe: (...parts) => channels.listen(...parts),
      run(script, key, args) {
        const sending = reach().then(() => run(script, [key], args));
        return bounded(sending, timeoutMs, 'a notice for Redis');
      },
    }),
    async doubts() {
      // A Redis that is not there yet, or is lost meanwhile, is asked when it is.
      for (;;) {
        while (connection.state() !== 'ready') await readiness.next();
        try {
          return readDoubts(await bounded(connection.info(), DOUBTS_MS, 'INFO'));
        } catch (error) {
          if (connection.state() === 'ready') throw error;
        }
      }
    },
    async close() {
      isClosed = true;
      readiness.close();
      channels.close();
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
