import type { Alarms } from '../alarms.ts';
import type { Clock } from '../clock.ts';
import type { Estimator } from '../estimate/estimator.ts';
import { readLearned, writeLearned } from '../estimate/learned.ts';
import type { Board } from '../stores/board.ts';
import { Topic } from '../stores/topic.ts';
import { readBreakers, writeBreakers } from './breaker-notice.ts';
import type { Breakers } from './breakers.ts';

interface TopicsParts {
  readonly board: Board;
  readonly process: string;
  readonly alarms: Alarms;
  readonly clock: Clock;
  readonly breakers: Breakers;
  readonly estimator: Estimator;
  /** That are configured now. */
  readonly accounts: () => readonly string[];
}

/** What fails is of use for seconds: counts are forgotten by the others after five. */
const BREAKERS = { name: 'breakers', ttlMs: 30_000, gapMs: 500, againMs: 2_000 };
/** What was learned outlives its process: after a deploy nobody has to learn it again. */
const LEARNED = { name: 'learned', ttlMs: 1_800_000, gapMs: 5_000, againMs: 600_000 };

/** What this process tells the others of its fleet beside the ledger, and takes over from them. */
export function openTopics({ breakers, estimator, accounts, ...parts }: TopicsParts): {
  close(): Promise<void>;
} {
  const failing = new Topic({
    ...parts,
    ...BREAKERS,
    write: () => writeBreakers(breakers.told),
    hear(process, notice, ageMs) {
      const told = readBreakers(notice);
      if (told !== undefined) breakers.heard(process, told, ageMs, accounts());
    },
    // Counts fall as time goes by, though nothing is sent.
    onPosted() {
      if (breakers.isFailing) failing.changed('soon');
    },
  });
  breakers.onChange = (haste) => failing.changed(haste);
  const learned = new Topic({
    ...parts,
    ...LEARNED,
    write: () => writeLearned(estimator.told),
    hear(process, notice) {
      const told = readLearned(notice);
      if (told !== undefined) estimator.heard(process, told);
    },
  });
  estimator.onLearned = () => learned.changed('soon');
  return {
    async close() {
      await Promise.all([failing.close(), learned.close()]);
    },
  };
}
