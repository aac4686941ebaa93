import type { InstrumentSpec } from './instruments.ts';

/** From a second to a day, which is as long as a batch may take. */
const BATCH_DURATION = [1, 10, 60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 57_600, 86_400];

/** The metrics of budgets, of the prompt cache and of the batch lane. */
export const MONEY_INSTRUMENTS = {
  budgetSoft: {
    name: 'headgate.budget.soft',
    kind: 'counter',
    unit: '{call}',
    labels: ['rule'],
    description: 'Calls that drew on a budget past its soft share',
    question: 'Which budgets are nearly used up?',
  },
  budgetUsed: {
    name: 'headgate.budget.used',
    kind: 'observableGauge',
    unit: '1',
    labels: ['rule', 'account'],
    description: 'Share of a budget that is used, of those for all and by account',
    question: 'How much of the budget is gone?',
  },
  budgetEnds: {
    name: 'headgate.budget.ends_in',
    kind: 'observableGauge',
    unit: 's',
    labels: ['rule', 'account'],
    description: 'Time until such a budget is used up at the present pace; absent while it lasts its window',
    question: 'When is it used up, if nothing changes?',
  },
  cachePremium: {
    name: 'headgate.cache.premium',
    kind: 'counter',
    unit: '{USD}',
    labels: [],
    description: 'What marking prefixes for the cache has cost beyond the usual input price, by writes',
    question: 'What is paid for the cache before it saves anything?',
  },
  cacheUnread: {
    name: 'headgate.cache.unread',
    kind: 'counter',
    unit: '{token}',
    labels: [],
    description: 'Tokens that were written to the cache for marks of ours, and gone before anybody read them',
    question: 'How much is marked in vain?',
  },
  batchRequests: {
    name: 'headgate.batch.requests',
    kind: 'counter',
    unit: '{request}',
    labels: ['lane', 'outcome', 'errorType'],
    description: 'Requests of batches that are done, by what became of them',
    question: 'What becomes of work that goes by batch?',
  },
  batchRetries: {
    name: 'headgate.batch.retries',
    kind: 'counter',
    unit: '{request}',
    labels: ['lane', 'errorType'],
    description: 'Requests that go in a further batch, since their error may pass',
    question: 'What goes by batch once more, and why?',
  },
  batchSubmissions: {
    name: 'headgate.batch.submissions',
    kind: 'counter',
    unit: '{batch}',
    labels: ['outcome'],
    description: 'Batches that were sent: accepted, refused, or in doubt for want of an answer',
    question: 'Are batches taken?',
  },
  batchDuration: {
    name: 'headgate.batch.duration',
    kind: 'histogram',
    unit: 's',
    buckets: BATCH_DURATION,
    labels: ['lane', 'outcome'],
    description: 'From the submission of a request to its result',
    question: 'How long do batches take?',
  },
  batchPending: {
    name: 'headgate.batch.pending',
    kind: 'observableGauge',
    unit: '{request}',
    labels: [],
    description: 'Requests of the batch lane without a result, waiting or sent',
    question: 'How much work is under way by batch?',
  },
} as const satisfies Record<string, InstrumentSpec>;
