import type { DatabaseSync } from 'node:sqlite';
import { transact } from './sqlite-file.ts';
import type { UsageStore } from './usage-store.ts';

export const USAGE_TABLE =
  'CREATE TABLE IF NOT EXISTS usage (hour REAL NOT NULL, by TEXT NOT NULL, key TEXT NOT NULL, calls REAL NOT NULL, input REAL NOT NULL, cache_read REAL NOT NULL, cache_write REAL NOT NULL, output REAL NOT NULL, usd REAL NOT NULL, unpriced REAL NOT NULL, PRIMARY KEY (by, hour, key)) STRICT, WITHOUT ROWID';

const SUMS = ['calls', 'input', 'cache_read', 'cache_write', 'output', 'usd', 'unpriced'] as const;
const ADD = `INSERT INTO usage (hour, by, key, ${SUMS.join(', ')}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (by, hour, key) DO UPDATE SET ${SUMS.map((name) => `${name} = ${name} + excluded.${name}`).join(', ')}`;
const READ = `SELECT key, ${SUMS.map((name) => `sum(${name}) AS ${name}`).join(', ')} FROM usage WHERE by = ? AND hour >= ? GROUP BY key`;

/** Usage by the hour, in a table of the counters' file. */
export function sqliteUsage(open: () => DatabaseSync): UsageStore {
  return {
    addUsage(records) {
      const db = open();
      const add = db.prepare(ADD);
      transact(db, () => {
        for (const { hour, by, key, sums } of records) {
          const { calls, inputTokens, cacheReadTokens, cacheWriteTokens, outputTokens, usd, unpriced } = sums;
          add.run(
            hour,
            by,
            key,
            calls,
            inputTokens,
            cacheReadTokens,
            cacheWriteTokens,
            outputTokens,
            usd,
            unpriced,
          );
        }
      });
    },
    readUsage(by, since) {
      const rows = open().prepare(READ).all(by, since);
      return rows.map((row) => ({
        key: String(row.key),
        sums: {
          calls: Number(row.calls),
          inputTokens: Number(row.input),
          cacheReadTokens: Number(row.cache_read),
          cacheWriteTokens: Number(row.cache_write),
          outputTokens: Number(row.output),
          usd: Number(row.usd),
          unpriced: Number(row.unpriced),
        },
      }));
    },
    dropUsage(before) {
      open().prepare('DELETE FROM usage WHERE hour < ?').run(before);
    },
  };
}
