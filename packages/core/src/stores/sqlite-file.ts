import { chmodSync, closeSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { DatabaseSync } from 'node:sqlite';

/** Opens a database that none but its owner may read, and makes it where it does not exist. */
export function openPrivate(path: string): DatabaseSync {
  // Made by us first, so that it is never readable by others, not even for a moment.
  closeSync(openSync(path, 'a', 0o600));
  chmodSync(path, 0o600);
  // Loaded here and not at the top: older Node 22 warns of it as experimental, and only who uses it should be told.
  const sqlite = createRequire(import.meta.url)('node:sqlite') as typeof import('node:sqlite');
  return new sqlite.DatabaseSync(path);
}
