import type { DatabaseSync } from 'node:sqlite';
import type { CounterStore, SavedCounter } from './counters.ts';
import { openPrivate } from './sqlite-file.ts';
import { sqliteUsage, USAGE_TABLE } from './sqlite-usage.ts';

export interface SqliteStoreOptions {
  /** The file, created with mode 0600 where it does not exist. One file belongs to one process at a time. */
  readonly path: string;
}

/** Counters not yet written, at most; past it they are written at once. */
const MAX_PENDING = 10_000;

/**
 * Counters in a SQLite file, so that a day's quota outlives a restart, and usage by user, tenant, route, model and lane.
 * Keys of counters are hashes; usage has names, since it is asked for by them: the file is its owner's alone (0600).
 * Writes are gathered and flushed by the governor about twice a second and when it closes, so a crash may forget the
 * last half second. The file is opened at first use. @throws Error naming the path where it cannot be opened.
 */
export function sqliteStore({ path }: SqliteStoreOptions): CounterStore {
  const pending = new Map<string, SavedCounter>();
  let database: DatabaseSync | undefined;
  let isClosed = false;

  const open = (): DatabaseSync => {
    if (isClosed) throw new Error(`Headgate store ${path}: it is closed`);
    database ??= openDatabase(path);
    return database;
  };

  const flush = () => {
    if (pending.size === 0) return;
    const db = open();
    const write = db.prepare(
      'INSERT INTO counters (key, start, "end", used) VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET start = excluded.start, "end" = excluded."end", used = excluded.used',
    );
    db.exec('BEGIN');
    try {
      for (const [key, { windowStart, windowEnd, used }] of pending)
        write.run(key, windowStart, windowEnd, used);
      db.exec('COMMIT');
      pending.clear();
    } catch (error) {
      // Nothing is lost: all of it stays pending, and the next flush tries again.
      db.exec('ROLLBACK');
      throw error;
    }
  };

  return {
    get(key) {
      const waiting = pending.get(key);
      if (waiting !== undefined) return waiting;
      const row = open().prepare('SELECT start, "end", used FROM counters WHERE key = ?').get(key);
      if (row === undefined) return undefined;
      return { windowStart: Number(row.start), windowEnd: Number(row.end), used: Number(row.used) };
    },
    set(key, counter) {
      pending.set(key, counter);
      if (pending.size >= MAX_PENDING) flush();
    },
    flush,
    usage: sqliteUsage(open),
    close() {
      if (isClosed) return;
      try {
        flush();
      } finally {
        // Also where the last write failed: a process that ends must not hang on its file.
        isClosed = true;
        database?.close();
        database = undefined;
      }
    },
  };
}

function openDatabase(path: string): DatabaseSync {
  try {
    const database = openPrivate(path);
    database.exec(
      'PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000; CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, start REAL NOT NULL, "end" REAL NOT NULL, used REAL NOT NULL) STRICT, WITHOUT ROWID',
    );
    database.exec(USAGE_TABLE);
    // Two months behind the newest window nothing can be of use any more, whatever the clocks say.
    database.exec('DELETE FROM counters WHERE "end" < (SELECT max("end") FROM counters) - 5400000000');
    return database;
  } catch (error) {
    throw new Error(`Headgate store ${path}: cannot be opened`, { cause: error });
  }
}
