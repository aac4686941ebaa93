import { chmodSync, closeSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { DatabaseSync } from 'node:sqlite';
import type { CounterStore, SavedCounter } from './counters.ts';

export interface SqliteStoreOptions {
  /** The file, created with mode 0600 where it does not exist. One file belongs to one process at a time. */
  readonly path: string;
}

/** Counters not yet written, at most; past it they are written at once. */
const MAX_PENDING = 10_000;

/**
 * Counters in a SQLite file, so that a day's quota outlives a restart. Keys are hashes: the file tells nobody's name.
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
    // Made by us first, so that it is never readable by others, not even for a moment.
    closeSync(openSync(path, 'a', 0o600));
    chmodSync(path, 0o600);
    // Loaded here and not at the top: older Node 22 warns of it as experimental, and only who uses it should be told.
    const sqlite = createRequire(import.meta.url)('node:sqlite') as typeof import('node:sqlite');
    const database = new sqlite.DatabaseSync(path);
    database.exec(
      'PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 2000; CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, start REAL NOT NULL, "end" REAL NOT NULL, used REAL NOT NULL) STRICT, WITHOUT ROWID',
    );
    // Two months behind the newest window nothing can be of use any more, whatever the clocks say.
    database.exec('DELETE FROM counters WHERE "end" < (SELECT max("end") FROM counters) - 5400000000');
    return database;
  } catch (error) {
    throw new Error(`Headgate store ${path}: cannot be opened`, { cause: error });
  }
}
