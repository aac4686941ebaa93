import type { Alarms } from '../alarms.ts';
import type { Clock } from '../clock.ts';
import type { BatchItem, BatchJournal, Submission } from '../stores/batch-journal.ts';
import { type ApiBatch, type BatchApi, chunksOf } from './api.ts';
import { Lines } from './lines.ts';
import { type BatchOutcome, isPassing, readLine } from './outcome.ts';

/** Results that are written to the journal at once. */
const AT_ONCE = 100;

/** A request without its body. */
export type Sent = Omit<BatchItem, 'params'>;

export interface Collecting {
  readonly api: BatchApi;
  readonly journal: BatchJournal;
  readonly alarms: Alarms;
  readonly clock: Clock;
  /** Batches that one request goes in, at most. */
  readonly maxAttempts: number;
  /** A request is done, and in the journal as such. */
  onDone(item: Sent, outcome: BatchOutcome): void;
  /** A request failed in a way that may pass: it waits for the next batch. */
  onRetry(item: Sent, outcome: BatchOutcome): void;
}

export interface Collected {
  /** Lines that were read, of whatever kind. */
  readonly lines: number;
  readonly unreadable: number;
}

/**
 * Reads the results of a batch line by line, whatever their order and number, and writes them to the journal a hundred
 * at a time: that is all that is ever held. Reading them again changes nothing. Rejects where the stream breaks.
 */
export async function collect(
  parts: Collecting,
  submission: Submission,
  batch: ApiBatch,
): Promise<Collected> {
  const splitter = new Lines();
  let lines = 0;
  let unreadable = 0;
  let outcomes = new Map<string, BatchOutcome>();
  const take = async (found: readonly string[]) => {
    for (const line of found) {
      if (line === '') continue;
      lines++;
      const read = readLine(line);
      if (read === undefined) unreadable++;
      else outcomes.set(read.customId, read.outcome);
      if (outcomes.size < AT_ONCE) continue;
      await settle(parts, submission.id, outcomes);
      outcomes = new Map();
    }
  };
  for await (const chunk of chunksOf(await parts.api.results(batch), parts.alarms, parts.clock))
    await take(splitter.push(chunk));
  await take(splitter.end());
  if (outcomes.size > 0) await settle(parts, submission.id, outcomes);
  return { lines, unreadable };
}

async function settle(
  { journal, clock, maxAttempts, onDone, onRetry }: Collecting,
  submission: string,
  outcomes: ReadonlyMap<string, BatchOutcome>,
): Promise<void> {
  // Only what still belongs to this batch: a line that comes twice, or that nobody asked for, changes nothing.
  const items = await journal.itemsOf(submission, [...outcomes.keys()]);
  const pairs = items.flatMap((item) => {
    const outcome = outcomes.get(item.id);
    return outcome === undefined ? [] : [{ item, outcome }];
  });
  const again = pairs.filter(({ item, outcome }) => isPassing(outcome) && item.attempts + 1 < maxAttempts);
  const done = pairs.filter((pair) => !again.includes(pair));
  if (done.length > 0)
    await journal.finish(
      done.map(({ item, outcome }) => ({ id: item.id, outcome: JSON.stringify(outcome) })),
      clock.wall(),
    );
  if (again.length > 0) await journal.retry(again.map(({ item }) => item.id));
  for (const { item, outcome } of done) onDone(item, outcome);
  for (const { item, outcome } of again) onRetry(item, outcome);
}

/** Ends whatever a batch has left without a result. */
export async function endRest(
  parts: Collecting,
  submission: Submission,
  outcome: BatchOutcome,
): Promise<void> {
  for (;;) {
    const rest = await parts.journal.restOf(submission.id, AT_ONCE);
    if (rest.length === 0) return;
    const text = JSON.stringify(outcome);
    await parts.journal.finish(
      rest.map(({ id }) => ({ id, outcome: text })),
      parts.clock.wall(),
    );
    for (const item of rest) parts.onDone(item, outcome);
  }
}

/** Whether all lines of a batch's results were there. */
export const isWhole = (batch: ApiBatch, { lines }: Collected) => batch.total === 0 || lines >= batch.total;
