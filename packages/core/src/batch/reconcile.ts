import type { Alarms } from '../alarms.ts';
import type { Clock } from '../clock.ts';
import type { BatchJournal, Submission } from '../stores/batch-journal.ts';
import { type ApiBatch, type BatchApi, chunksOf } from './api.ts';
import { Lines } from './lines.ts';
import { readLine } from './outcome.ts';

/** By how much the API's clock and ours may differ, and more: looking at a batch too many costs little. */
const SKEW_MS = 3_600_000;
/** Pages of the list that are looked through: a hundred batches each. */
const MAX_PAGES = 100;

export interface ReconcileParts {
  readonly api: BatchApi;
  readonly journal: BatchJournal;
  readonly alarms: Alarms;
  readonly clock: Clock;
}

/** What is known of a submission whose sending nobody answered. */
export type Doubt =
  /** It is this batch. */
  | { readonly kind: 'found'; readonly batch: ApiBatch }
  /** It may be one of these, which have not ended: only their results will tell. */
  | { readonly kind: 'undecided' }
  /** No list shows it, as of now. */
  | { readonly kind: 'absent' };

/**
 * Looks for the batch of a submission. A list tells how many requests a batch has and when it was made, so only batches
 * of the right size and time come into question; whose they are tell the `custom_id`s of their results, once there are any.
 * A batch that may be ours and has not ended is waited for: what may be ours is never sent a second time.
 */
export async function reconcile(
  parts: ReconcileParts,
  submission: Submission,
  foreign: Set<string>,
): Promise<Doubt> {
  const { api, journal } = parts;
  const known = await journal.knownBatches(submission.account);
  const { found, isWhole } = await candidates(api, submission);
  // A list that was not looked through to its end may hold it yet.
  let isOpen = !isWhole;
  for (const batch of found) {
    if (known.has(batch.id) || foreign.has(batch.id)) continue;
    if (!batch.isEnded) {
      isOpen = true;
      continue;
    }
    if (batch.resultsUrl === undefined) continue;
    if (await isOurs(parts, submission, batch)) return { kind: 'found', batch };
    foreign.add(batch.id);
  }
  return { kind: isOpen ? 'undecided' : 'absent' };
}

async function candidates(
  api: BatchApi,
  { at, items }: Submission,
): Promise<{ found: ApiBatch[]; isWhole: boolean }> {
  const found: ApiBatch[] = [];
  let after: string | undefined;
  for (let page = 0; page < MAX_PAGES; page++) {
    const { batches, next } = await api.list(after);
    for (const batch of batches) {
      // The newest first: what follows is older still.
      if (batch.createdAt < at - SKEW_MS) return { found, isWhole: true };
      if (batch.total === items) found.push(batch);
    }
    if (next === undefined) return { found, isWhole: true };
    after = next;
  }
  return { found, isWhole: false };
}

/** Whether a batch's results are of the submission's requests: one line is enough to tell. */
async function isOurs(
  { api, journal, alarms, clock }: ReconcileParts,
  submission: Submission,
  batch: ApiBatch,
): Promise<boolean> {
  const lines = new Lines();
  const tell = async (found: readonly string[]): Promise<boolean | undefined> => {
    for (const line of found) {
      const read = readLine(line);
      if (read !== undefined) return (await journal.itemsOf(submission.id, [read.customId])).length > 0;
    }
    return undefined;
  };
  for await (const chunk of chunksOf(await api.results(batch), alarms, clock)) {
    const told = await tell(lines.push(chunk));
    if (told !== undefined) return told;
  }
  return (await tell(lines.end())) ?? false;
}
