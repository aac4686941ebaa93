import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { systemClock } from '../clock.ts';
import type { CounterStore, SavedCounter } from './counters.ts';
import { fileError, openPrivate, transact } from './sqlite-file.ts';
import { OWNER_TABLE, Owner } from './sqlite-owner.ts';
import { sqliteUsage, USAGE_TABLE } from './sqlite-usage.ts';

export interface SqliteStoreOptions {
  /** The file, created with mode 0600 where it does not exist. One file belongs to one process at a time. */
  readonly path: string;
}

/** Counters not yet written, at most; past it they are written at once. */
const MAX_PENDING = 10_000;
/** Counters kept for a file that cannot be written; past it the oldest are forgotten. */
const MOST_KEPT = 200_000;
/** Of them forgotten at once. */
const AT_ONCE = 1_000;

interface Opened {
  readonly database: DatabaseSync;
  readonly read: StatementSync;
  readonly write: StatementSync;
}

/**
 * Counters in a SQLite file, so that a day's quota outlives a restart, and usage by user, tenant, route, model and lane.
 * Keys of counters are hashes; usage has names, since it is asked for by them: the file is its owner's alone (0600).
 * Writes are gathered and flushed by the governor about twice a second and when it closes, so a crash may forget the
 * last half second. The file is opened at first use. @throws Error naming the path and what can be done.
 */
export function sqliteStore(options: SqliteStoreOptions): CounterStore {
  return sqliteStoreOf(options, () => {});
}

/** The same with a word to each connection: for tests alone. */
export function sqliteStoreOf(
  { path }: SqliteStoreOptions,
  prepare: (database: DatabaseSync) => void,
): CounterStore {
  const pending = new Map<string, SavedCounter>();
  const owner = new Owner();
  let opened: Opened | undefined;
  let isClosed = false;
  let isFailing = false;

  const open = (): Opened => {
    if (isClosed) throw new Error(`Headgate store ${path}: it is closed`);
    opened ??= openCounters(path, prepare, owner);
    return opened;
  };

  const explained = <T>(fn: () => T): T => {
    try {
      return fn();
    } catch (error) {
      if (error instanceof Error && error.message.startsWith('Headgate')) throw error;
      throw fileError(path, error);
    }
  };

  const flush = () => {
    if (pending.size === 0) return;
    isFailing = true;
    explained(() => {
      const { database, write } = open();
      transact(database, () => {
        owner.tell(database, systemClock.wall());
        for (const [key, { windowStart, windowEnd, used }] of pending)
          write.run(key, windowStart, windowEnd, used);
      });
    });
    // Where that has failed all of it stays pending, and the next flush tries again.
    pending.clear();
    isFailing = false;
  };

  const usage = sqliteUsage(() => open().database);
  return {
    get(key) {
      const waiting = pending.get(key);
      if (waiting !== undefined) return waiting;
      const row = explained(() => open().read.get(key));
      if (row === undefined) return undefined;
      return { windowStart: Number(row.start), windowEnd: Number(row.end), used: Number(row.used) };
    },
    set(key, counter) {
      // The newest last: the first are the oldest.
      pending.delete(key);
      pending.set(key, counter);
      if (pending.size > MOST_KEPT) {
        // Some at once: to find the first of a map, those deleted before it are passed one by one.
        let left = AT_ONCE;
        for (const oldest of pending.keys()) {
          pending.delete(oldest);
          if (--left === 0) break;
        }
      }
      // A file that cannot be written is tried again with the next flush, and not for each call.
      if (pending.size >= MAX_PENDING && !isFailing) flush();
    },
    flush,
    usage: {
      addUsage: (records) => explained(() => usage.addUsage(records)),
      readUsage: (by, since) => explained(() => usage.readUsage(by, since)),
      dropUsage: (before) => explained(() => usage.dropUsage(before)),
    },
    async doubts() {
      // Not while the governor is being made.
      await Promise.resolve();
      if (isClosed) return [];
      try {
        const others = explained(() => {
          const { database } = open();
          const found = owner.others(database, systemClock.wall());
          owner.tell(database, systemClock.wall(), true);
          return found;
        });
        if (others.length === 0) return [];
        return [
          {
            code: 'HG_STORE_OCCUPIED',
            message: `${path} is open in ${others.join(', ')} too, and the counters of one overwrite those of the other: give each process a file of its own, or share limits by Redis`,
          },
        ];
      } catch (error) {
        return [{ code: 'HG_STORE_FILE', message: (error as Error).message }];
      }
    },
    close() {
      if (isClosed) return;
      try {
        flush();
      } finally {
        // Also where the last write failed: a process that ends must not hang on its file.
        isClosed = true;
        try {
          if (opened !== undefined) owner.leave(opened.database);
        } catch {}
        opened?.database.close();
        opened = undefined;
      }
    },
  };
}

function openCounters(path: string, prepare: (database: DatabaseSync) => void, owner: Owner): Opened {
  let database: DatabaseSync | undefined;
  try {
    database = openPrivate(path);
    prepare(database);
    database.exec(
      'PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000; CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, start REAL NOT NULL, "end" REAL NOT NULL, used REAL NOT NULL) STRICT, WITHOUT ROWID',
    );
    database.exec(USAGE_TABLE);
    database.exec(OWNER_TABLE);
    // Two months behind the newest window nothing can be of use any more, whatever the clocks say.
    database.exec('DELETE FROM counters WHERE "end" < (SELECT max("end") FROM counters) - 5400000000');
    owner.tell(database, systemClock.wall());
    // From now on it is tried again, and nobody waits for it.
    database.exec('PRAGMA busy_timeout = 50');
    return {
      database,
      read: database.prepare('SELECT start, "end", used FROM counters WHERE key = ?'),
      write: database.prepare(
        'INSERT INTO counters (key, start, "end", used) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET start = excluded.start, "end" = excluded."end", used = excluded.used',
      ),
    };
  } catch (error) {
    database?.close();
    throw fileError(path, error);
  }
}
