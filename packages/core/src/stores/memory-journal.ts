import {
  type BatchItem,
  type BatchJournal,
  type BatchState,
  fitting,
  type Submission,
} from './batch-journal.ts';

interface Entry {
  item: BatchItem;
  submission: string | undefined;
  outcome: string | undefined;
  doneAt: number | undefined;
  deliveredAt: number | undefined;
}

interface Kept extends Submission {
  closedAt: number | undefined;
}

/** A closed submission's batch is remembered this long, so that it is never taken for another. */
export const REMEMBERED_MS = 2 * 86_400_000;

/** The batch lane's work in memory: it ends with the process, and is sent again by whoever submits it again. */
export function memoryJournal(): BatchJournal {
  const entries = new Map<string, Entry>();
  const submissions = new Map<string, Kept>();

  const isWaiting = ({ submission, doneAt }: Entry) => submission === undefined && doneAt === undefined;
  const stateOf = ({ item, submission, doneAt, outcome }: Entry): BatchState => ({
    id: item.id,
    state: doneAt !== undefined ? 'done' : submission === undefined ? 'waiting' : 'sent',
    outcome,
  });
  const ofAccount = (account: string) => [...entries.values()].filter(({ item }) => item.account === account);
  const finish = (id: string, outcome: string, at: number) => {
    const entry = entries.get(id);
    if (entry === undefined || entry.doneAt !== undefined) return;
    entry.item = { ...entry.item, params: '' };
    entry.submission = undefined;
    entry.outcome = outcome;
    entry.doneAt = at;
  };
  const without = ({ item }: Entry): Omit<BatchItem, 'params'> => item;

  return {
    async add(item) {
      if (entries.has(item.id)) return false;
      entries.set(item.id, {
        item,
        submission: undefined,
        outcome: undefined,
        doneAt: undefined,
        deliveredAt: undefined,
      });
      return true;
    },
    async state(id) {
      const entry = entries.get(id);
      return entry === undefined ? undefined : stateOf(entry);
    },
    async pending(account) {
      return ofAccount(account)
        .filter(({ doneAt }) => doneAt === undefined)
        .map(stateOf);
    },
    async waiting(account) {
      const all = ofAccount(account).filter(isWaiting);
      return {
        count: all.length,
        bytes: all.reduce((sum, { item }) => sum + item.params.length, 0),
        oldestAt: all[0]?.item.submittedAt,
      };
    },
    async inProcessing(account) {
      return ofAccount(account).filter(({ submission }) => submission !== undefined).length;
    },
    async open(submission, maxItems, maxBytes) {
      const all = ofAccount(submission.account).filter(isWaiting);
      const count = fitting(
        all.map(({ item }) => item.params.length),
        maxItems,
        maxBytes,
      );
      const taken = all.slice(0, count);
      for (const entry of taken) entry.submission = submission.id;
      if (taken.length > 0) {
        submissions.set(submission.id, {
          ...submission,
          items: taken.length,
          batchId: undefined,
          closedAt: undefined,
        });
      }
      return taken.map(({ item }) => item);
    },
    async accepted(id, batchId) {
      const submission = submissions.get(id);
      if (submission !== undefined) submissions.set(id, { ...submission, batchId });
    },
    async released(id) {
      if (submissions.get(id)?.batchId !== undefined) return;
      submissions.delete(id);
      for (const entry of entries.values()) if (entry.submission === id) entry.submission = undefined;
    },
    async submissions(account) {
      return [...submissions.values()].filter(
        (each) => each.account === account && each.closedAt === undefined,
      );
    },
    async knownBatches(account) {
      return new Set(
        [...submissions.values()].flatMap((each) =>
          each.account === account && each.batchId !== undefined ? [each.batchId] : [],
        ),
      );
    },
    async itemsOf(submission, ids) {
      return ids.flatMap((id) => {
        const entry = entries.get(id);
        return entry?.submission === submission ? [without(entry)] : [];
      });
    },
    async restOf(submission, limit) {
      const rest: Omit<BatchItem, 'params'>[] = [];
      for (const entry of entries.values()) {
        if (rest.length >= limit) break;
        if (entry.submission === submission) rest.push(without(entry));
      }
      return rest;
    },
    async finish(outcomes, at) {
      for (const { id, outcome } of outcomes) finish(id, outcome, at);
    },
    async retry(ids) {
      for (const id of ids) {
        const entry = entries.get(id);
        if (entry?.submission === undefined) continue;
        entry.submission = undefined;
        entry.item = { ...entry.item, attempts: entry.item.attempts + 1 };
      }
    },
    async close(id, at) {
      const submission = submissions.get(id);
      if (submission !== undefined) submissions.set(id, { ...submission, closedAt: at });
    },
    async withdraw(id, outcome, at) {
      const entry = entries.get(id);
      if (entry === undefined || !isWaiting(entry)) return undefined;
      finish(id, outcome, at);
      return without(entry);
    },
    async delivered(id, at) {
      const entry = entries.get(id);
      if (entry !== undefined) entry.deliveredAt ??= at;
    },
    async stale(account, before, limit) {
      return ofAccount(account)
        .filter((entry) => isWaiting(entry) && entry.item.submittedAt < before)
        .slice(0, limit)
        .map(({ item }) => item.id);
    },
    async purge({ deliveredBefore, doneBefore }) {
      for (const [id, { doneAt, deliveredAt }] of entries) {
        if (doneAt === undefined) continue;
        if (doneAt < doneBefore || (deliveredAt ?? Number.POSITIVE_INFINITY) < deliveredBefore)
          entries.delete(id);
      }
      for (const [id, { closedAt }] of submissions)
        if (closedAt !== undefined && closedAt < doneBefore - REMEMBERED_MS) submissions.delete(id);
    },
    async end() {},
  };
}
