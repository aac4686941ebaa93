import { chmodSync, closeSync, openSync, statSync } from 'node:fs';
import type { DatabaseSync } from 'node:sqlite';

/** Whoever is not the owner. */
const OTHERS = 0o077;

/** Opens a database that none but its owner may read, and makes it where it does not exist. */
export function openPrivate(path: string): DatabaseSync {
  // Made by us first, so that it is never readable by others, not even for a moment.
  closeSync(openSync(path, 'a', 0o600));
  if ((statSync(path).mode & OTHERS) !== 0) chmodSync(path, 0o600);
  // Loaded here and not at the top: older Node 22 warns of it as experimental, and only who uses it should be told.
  // By the process and not by `import`: bundlers to CommonJS leave this as it is.
  const sqlite = process.getBuiltinModule?.('node:sqlite');
  if (sqlite === undefined) {
    throw new Error(
      `Headgate: this runtime has no node:sqlite, which keeps ${path}; Node has it from 22.13 on`,
    );
  }
  return new sqlite.DatabaseSync(path);
}

/** Runs `write` in a transaction. @throws what went wrong first. */
export function transact<T>(database: DatabaseSync, write: () => T): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = write();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    try {
      database.exec('ROLLBACK');
    } catch {
      // SQLite has rolled back itself, as where the disk is full. What counts is why.
    }
    throw error;
  }
}

/** SQLite's result codes (https://www.sqlite.org/rescode.html), and what can be done about them. */
const REMEDIES: Readonly<Record<number, string>> = {
  5: 'another process is writing to it: give each process a file of its own, or share limits by Redis',
  8: 'it cannot be written to: make file and folder writable for this process',
  10: 'the disk cannot be read or written: look at the system log',
  11: 'it is damaged: move it away, and a new one is made',
  13: 'the disk is full: make room',
  14: 'it cannot be opened: the folder must exist, and be writable for this process',
  26: 'it is no SQLite database: move it away, or name another path',
};
const FILE_REMEDIES: Readonly<Record<string, string>> = {
  EACCES: REMEDIES[8] ?? '',
  EPERM: REMEDIES[8] ?? '',
  EROFS: REMEDIES[8] ?? '',
  ENOENT: REMEDIES[14] ?? '',
  ENOSPC: REMEDIES[13] ?? '',
};

/** What failed with a file, with the path and the remedy. */
export function fileError(path: string, error: unknown): Error {
  const { errcode, code, message } = error as { errcode?: number; code?: string; message?: string };
  const remedy = errcode === undefined ? FILE_REMEDIES[code ?? ''] : REMEDIES[errcode & 0xff];
  const what = message ?? String(error);
  return new Error(`Headgate store ${path}: ${what}${remedy === undefined ? '' : `; ${remedy}`}`, {
    cause: error,
  });
}
