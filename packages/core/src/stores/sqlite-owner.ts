import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import type { DatabaseSync } from 'node:sqlite';

export const OWNER_TABLE =
  'CREATE TABLE IF NOT EXISTS owners (id TEXT PRIMARY KEY, host TEXT NOT NULL, pid REAL NOT NULL, seen REAL NOT NULL) STRICT, WITHOUT ROWID';

/** An owner on another host that was not heard of for this long has ended, in milliseconds. */
const GONE_MS = 60_000;
/** A process of this host that was not heard of for this long is another one with its number. */
const REUSED_MS = 86_400_000;
const EVERY_MS = 10_000;

/** Who has the file open: counters of one process overwrite those of another. */
export class Owner {
  readonly #id = randomUUID();
  #seenAt = Number.NEGATIVE_INFINITY;

  /** Says that this process has the file open. `force`: also if it has lately. */
  tell(database: DatabaseSync, now: number, force = false): void {
    if (!force && now - this.#seenAt < EVERY_MS) return;
    this.#seenAt = now;
    database
      .prepare(
        'INSERT INTO owners (id, host, pid, seen) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET seen = excluded.seen',
      )
      .run(this.#id, hostname(), process.pid, now);
  }

  /** The others that have it open, by host and process; those that have ended are forgotten. */
  others(database: DatabaseSync, now: number): string[] {
    const rows = database.prepare('SELECT id, host, pid, seen FROM owners').all();
    const others: string[] = [];
    for (const row of rows) {
      const [id, host, pid, seen] = [String(row.id), String(row.host), Number(row.pid), Number(row.seen)];
      if (id === this.#id) continue;
      const isHere = host === hostname();
      if (isHere ? isAlive(pid) && now - seen < REUSED_MS : now - seen < GONE_MS)
        others.push(isHere ? `process ${pid}` : `process ${pid} of ${host}`);
      else database.prepare('DELETE FROM owners WHERE id = ?').run(id);
    }
    return others;
  }

  leave(database: DatabaseSync): void {
    database.prepare('DELETE FROM owners WHERE id = ?').run(this.#id);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // A process of another user is alive too.
    return (error as { code?: string }).code === 'EPERM';
  }
}
