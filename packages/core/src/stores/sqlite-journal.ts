import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import {
  type BatchItem,
  type BatchJournal,
  type BatchState,
  fitting,
  type Submission,
} from './batch-journal.ts';
import { REMEMBERED_MS } from './memory-journal.ts';
import { openPrivate, transact } from './sqlite-file.ts';

export interface SqliteJournalOptions {
  /** The file, created with mode 0600 where it does not exist. It is locked for one process at a time. */
  readonly path: string;
}

const TABLES = `
PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS batch_items (
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, params TEXT NOT NULL, bytes INTEGER NOT NULL,
  owner TEXT NOT NULL, charges TEXT NOT NULL, trace TEXT, submitted REAL NOT NULL, attempts INTEGER NOT NULL,
  submission TEXT, outcome TEXT, done REAL, delivered REAL) STRICT;
CREATE INDEX IF NOT EXISTS batch_items_open ON batch_items (account, submission, seq) WHERE done IS NULL;
CREATE INDEX IF NOT EXISTS batch_items_of ON batch_items (submission) WHERE submission IS NOT NULL;
CREATE INDEX IF NOT EXISTS batch_items_done ON batch_items (done) WHERE done IS NOT NULL;
CREATE TABLE IF NOT EXISTS batch_submissions (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, at REAL NOT NULL, items INTEGER NOT NULL, batch TEXT, closed REAL) STRICT`;
/** All that there is to tell of an item but its body. */
const COLUMNS = 'id, account, owner, charges, trace, submitted, attempts';

type Row = Record<string, SQLOutputValue>;

/**
 * The batch lane's work in a SQLite file (mode 0600): it outlives the process by the time a request is submitted. It
 * holds the requests' bodies until their results are there, and the results until they are delivered. The file is
 * opened at first use, and locked: two processes that both looked after one batch would send it twice. A method
 * rejects, naming the path, where the file cannot be used.
 */
export function sqliteJournal({ path }: SqliteJournalOptions): BatchJournal {
  let database: DatabaseSync | undefined;
  let isEnded = false;
  const prepared = new Map<string, ReturnType<DatabaseSync['prepare']>>();

  function open(): DatabaseSync {
    if (isEnded) throw new Error(`Headgate batch journal ${path}: it is closed`);
    if (database !== undefined) return database;
    let opened: DatabaseSync | undefined;
    try {
      opened = openPrivate(path);
      opened.exec(TABLES);
      database = opened;
      return opened;
    } catch (error) {
      opened?.close();
      throw new Error(`Headgate batch journal ${path}: cannot be opened (${reasonOf(error)})`, {
        cause: error,
      });
    }
  }
  const sql = (text: string) => {
    let statement = prepared.get(text);
    if (statement === undefined) {
      statement = open().prepare(text);
      prepared.set(text, statement);
    }
    return statement;
  };
  const one = <T>(fn: () => T): T => transact(open(), fn);
  const finish = (id: string, outcome: string, at: number) =>
    sql(
      "UPDATE batch_items SET params = '', bytes = 0, submission = NULL, outcome = ?, done = ? WHERE id = ? AND done IS NULL",
    ).run(outcome, at, id);

  return {
    async add(item) {
      const { changes } = sql(
        `INSERT INTO batch_items (${COLUMNS}, params, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
      ).run(
        item.id,
        item.account,
        JSON.stringify(item.owner),
        JSON.stringify(item.charges),
        item.trace ?? null,
        item.submittedAt,
        item.attempts,
        item.params,
        item.params.length,
      );
      return Number(changes) > 0;
    },
    async state(id) {
      const row = sql('SELECT id, account, submission, outcome, done FROM batch_items WHERE id = ?').get(id);
      return row === undefined ? undefined : stateOf(row);
    },
    async pending(account) {
      return sql(
        'SELECT id, account, submission, outcome, done FROM batch_items WHERE account = ? AND done IS NULL ORDER BY seq',
      )
        .all(account)
        .map(stateOf);
    },
    async waiting(account) {
      const row = sql(
        'SELECT count(*) AS count, total(bytes) AS bytes, min(submitted) AS oldest FROM batch_items WHERE account = ? AND submission IS NULL AND done IS NULL',
      ).get(account);
      return {
        count: Number(row?.count ?? 0),
        bytes: Number(row?.bytes ?? 0),
        oldestAt: row?.oldest == null ? undefined : Number(row.oldest),
      };
    },
    async inProcessing(account) {
      const row = sql(
        'SELECT count(*) AS count FROM batch_items WHERE account = ? AND submission IS NOT NULL AND done IS NULL',
      ).get(account);
      return Number(row?.count ?? 0);
    },
    async open(submission, maxItems, maxBytes) {
      return one(() => {
        const waiting = sql(
          'SELECT seq, bytes FROM batch_items WHERE account = ? AND submission IS NULL AND done IS NULL ORDER BY seq LIMIT ?',
        ).all(submission.account, maxItems);
        const count = fitting(
          waiting.map(({ bytes }) => Number(bytes)),
          maxItems,
          maxBytes,
        );
        const last = waiting[count - 1]?.seq;
        if (last === undefined) return [];
        sql(
          'UPDATE batch_items SET submission = ? WHERE account = ? AND submission IS NULL AND done IS NULL AND seq <= ?',
        ).run(submission.id, submission.account, last);
        sql('INSERT INTO batch_submissions (id, account, at, items) VALUES (?, ?, ?, ?)').run(
          submission.id,
          submission.account,
          submission.at,
          count,
        );
        return sql(
          `SELECT ${COLUMNS}, params FROM batch_items WHERE account = ? AND submission = ? AND done IS NULL ORDER BY seq`,
        )
          .all(submission.account, submission.id)
          .map((row) => ({ ...itemOf(row), params: String(row.params) }));
      });
    },
    async accepted(id, batchId) {
      sql('UPDATE batch_submissions SET batch = ? WHERE id = ?').run(batchId, id);
    },
    async released(id) {
      one(() => {
        const { changes } = sql('DELETE FROM batch_submissions WHERE id = ? AND batch IS NULL').run(id);
        if (Number(changes) > 0) sql('UPDATE batch_items SET submission = NULL WHERE submission = ?').run(id);
      });
    },
    async submissions(account) {
      return sql('SELECT * FROM batch_submissions WHERE account = ? AND closed IS NULL ORDER BY at')
        .all(account)
        .map(submissionOf);
    },
    async knownBatches(account) {
      const rows = sql('SELECT batch FROM batch_submissions WHERE account = ? AND batch IS NOT NULL').all(
        account,
      );
      return new Set(rows.map(({ batch }) => String(batch)));
    },
    async itemsOf(submission, ids) {
      return ids.flatMap((id) => {
        const row = sql(
          `SELECT ${COLUMNS} FROM batch_items WHERE id = ? AND submission = ? AND done IS NULL`,
        ).get(id, submission);
        return row === undefined ? [] : [itemOf(row)];
      });
    },
    async restOf(submission, limit) {
      return sql(`SELECT ${COLUMNS} FROM batch_items WHERE submission = ? AND done IS NULL LIMIT ?`)
        .all(submission, limit)
        .map(itemOf);
    },
    async finish(outcomes, at) {
      one(() => {
        for (const { id, outcome } of outcomes) finish(id, outcome, at);
      });
    },
    async retry(ids) {
      one(() => {
        for (const id of ids)
          sql(
            'UPDATE batch_items SET submission = NULL, attempts = attempts + 1 WHERE id = ? AND submission IS NOT NULL AND done IS NULL',
          ).run(id);
      });
    },
    async close(id, at) {
      sql('UPDATE batch_submissions SET closed = ? WHERE id = ?').run(at, id);
    },
    async withdraw(id, outcome, at) {
      return one(() => {
        const row = sql(
          `SELECT ${COLUMNS} FROM batch_items WHERE id = ? AND submission IS NULL AND done IS NULL`,
        ).get(id);
        if (row === undefined) return undefined;
        finish(id, outcome, at);
        return itemOf(row);
      });
    },
    async delivered(id, at) {
      sql('UPDATE batch_items SET delivered = ? WHERE id = ? AND delivered IS NULL').run(at, id);
    },
    async stale(account, before, limit) {
      return sql(
        'SELECT id FROM batch_items WHERE account = ? AND submission IS NULL AND done IS NULL AND submitted < ? ORDER BY seq LIMIT ?',
      )
        .all(account, before, limit)
        .map(({ id }) => String(id));
    },
    async purge({ deliveredBefore, doneBefore }) {
      one(() => {
        sql('DELETE FROM batch_items WHERE done < ? OR (done IS NOT NULL AND delivered < ?)').run(
          doneBefore,
          deliveredBefore,
        );
        sql('DELETE FROM batch_submissions WHERE closed < ?').run(doneBefore - REMEMBERED_MS);
      });
    },
    async end() {
      isEnded = true;
      prepared.clear();
      database?.close();
      database = undefined;
    },
  };
}

function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.includes('locked') ? 'another process has it' : message;
}

function stateOf(row: Row): BatchState {
  return {
    id: String(row.id),
    account: String(row.account),
    state: row.done !== null ? 'done' : row.submission === null ? 'waiting' : 'sent',
    outcome: row.outcome === null ? undefined : String(row.outcome),
  };
}

function itemOf(row: Row): Omit<BatchItem, 'params'> {
  return {
    id: String(row.id),
    account: String(row.account),
    owner: JSON.parse(String(row.owner)) as BatchItem['owner'],
    charges: JSON.parse(String(row.charges)) as BatchItem['charges'],
    trace: row.trace === null ? undefined : String(row.trace),
    submittedAt: Number(row.submitted),
    attempts: Number(row.attempts),
  };
}

function submissionOf(row: Row): Submission {
  return {
    id: String(row.id),
    account: String(row.account),
    at: Number(row.at),
    items: Number(row.items),
    batchId: row.batch === null ? undefined : String(row.batch),
  };
}
