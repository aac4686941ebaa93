import { GEN_AI_INSTRUMENTS } from './gen-ai.ts';
import { MONEY_INSTRUMENTS } from './money.ts';
import type { AttributeKey } from './names.ts';

export type InstrumentKind = 'counter' | 'histogram' | 'observableGauge';

export interface InstrumentSpec {
  readonly name: string;
  readonly kind: InstrumentKind;
  /** By UCUM; what is counted stands in braces. */
  readonly unit: string;
  readonly description: string;
  /** The question that it is there to answer. */
  readonly question: string;
  readonly labels: readonly AttributeKey[];
  readonly buckets?: readonly number[];
}

/** Seconds, for whole calls: the convention's boundaries, and three above for long generations. */
const CALL_DURATION = [
  0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68,
  655.36,
];
const QUEUE_WAIT = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600];
const RATIO = [0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4];

const CALL = ['lane', 'tier', 'genAiRequestModel'] as const;
const BUCKET = ['account', 'bucket'] as const;
const SPENT = ['genAiResponseModel', 'lane', 'tier', 'billing'] as const;

/** Gauges are of this process. Queues and calls in flight add up over processes; limits and what remains of them do not. */
export const INSTRUMENTS = {
  callDuration: {
    name: 'headgate.call.duration',
    kind: 'histogram',
    unit: 's',
    buckets: CALL_DURATION,
    labels: [...CALL, 'outcome', 'errorType'],
    description: 'A governed call, from arrival to the end of its response: queue, attempts and stream',
    question: 'What do users see: how many calls, how long, how many fail?',
  },
  decisions: {
    name: 'headgate.decisions',
    kind: 'counter',
    unit: '{decision}',
    labels: [...CALL, 'decision', 'reason', 'rule', 'mode'],
    description: 'Decisions on calls, with their reason',
    question: 'Who is held back or refused, by what, and by which rule?',
  },
  queueWait: {
    name: 'headgate.queue.wait.duration',
    kind: 'histogram',
    unit: 's',
    buckets: QUEUE_WAIT,
    labels: ['lane', 'outcome'],
    description: 'Time from arrival to admission or refusal',
    question: 'How long do calls wait at the gate, by lane?',
  },
  queueDepth: {
    name: 'headgate.queue.depth',
    kind: 'observableGauge',
    unit: '{call}',
    labels: [...BUCKET, 'lane'],
    description: 'Calls that wait',
    question: 'How many wait now, and in which lane?',
  },
  active: {
    name: 'headgate.concurrency.active',
    kind: 'observableGauge',
    unit: '{call}',
    labels: BUCKET,
    description: 'Calls in flight',
    question: 'How many calls run now?',
  },
  concurrencyLimit: {
    name: 'headgate.concurrency.limit',
    kind: 'observableGauge',
    unit: '{call}',
    labels: BUCKET,
    description: 'Calls that may be in flight at once; absent where nothing limits them',
    question: 'Does concurrency bind, and where has it been learned to?',
  },
  attempts: {
    name: 'headgate.attempts',
    kind: 'counter',
    unit: '{attempt}',
    labels: ['outcome', 'httpStatus', 'errorType', 'reason'],
    description: 'HTTP requests to the API, by what came back',
    question: 'Does the API refuse us (429), is it overloaded (529), is it failing?',
  },
  retries: {
    name: 'headgate.retries',
    kind: 'counter',
    unit: '{retry}',
    labels: ['errorType', 'backoffSource'],
    description: 'Attempts after the first',
    question: 'What is tried again, and why?',
  },
  retriesDenied: {
    name: 'headgate.retries.denied',
    kind: 'counter',
    unit: '{call}',
    labels: [...CALL, 'retryDenied'],
    description: 'Calls whose failed attempt was the last one, by why',
    question: 'Why was it not tried again?',
  },
  breakerMoves: {
    name: 'headgate.breaker.transitions',
    kind: 'counter',
    unit: '{transition}',
    labels: ['genAiRequestModel', 'breakerState'],
    description:
      'Moves of the breakers of models; in a fleet each process counts its own, also those in which it follows another',
    question: 'When was a model found to fail, and when to work again?',
  },
  breakersOpen: {
    name: 'headgate.breaker.open',
    kind: 'observableGauge',
    unit: '{breaker}',
    labels: [],
    description: 'Models whose calls are held back now',
    question: 'Is any model held back now?',
  },
  retryBudget: {
    name: 'headgate.retry_budget.remaining',
    kind: 'observableGauge',
    unit: '{retry}',
    labels: [],
    description: 'Retries that the budget allows now',
    question: 'Could we still retry? Does Headgate report at all?',
  },
  requestsRemaining: {
    name: 'headgate.ratelimit.requests.remaining',
    kind: 'observableGauge',
    unit: '{request}',
    labels: BUCKET,
    description: 'Requests that can be sent now, as reckoned here; below zero while in debt',
    question: 'How close are we to the limit of requests?',
  },
  requestsCapacity: {
    name: 'headgate.ratelimit.requests.capacity',
    kind: 'observableGauge',
    unit: '{request}',
    labels: BUCKET,
    description: 'What the bucket of requests holds when it is full',
    question: 'Remaining out of how many?',
  },
  requestsLimit: {
    name: 'headgate.ratelimit.requests.limit',
    kind: 'observableGauge',
    unit: '{request}',
    labels: BUCKET,
    description: 'Requests per minute, as configured or learned',
    question: 'Which limit is reckoned with?',
  },
  tokensRemaining: {
    name: 'headgate.ratelimit.tokens.remaining',
    kind: 'observableGauge',
    unit: '{token}',
    labels: [...BUCKET, 'direction'],
    description: 'Tokens that can be used now, as reckoned here; below zero while in debt',
    question: 'How close are we to the limits of tokens?',
  },
  tokensCapacity: {
    name: 'headgate.ratelimit.tokens.capacity',
    kind: 'observableGauge',
    unit: '{token}',
    labels: [...BUCKET, 'direction'],
    description: 'What the bucket of tokens holds when it is full',
    question: 'Remaining out of how many?',
  },
  tokensLimit: {
    name: 'headgate.ratelimit.tokens.limit',
    kind: 'observableGauge',
    unit: '{token}',
    labels: [...BUCKET, 'direction'],
    description: 'Tokens per minute, as configured or learned',
    question: 'Which limit is reckoned with?',
  },
  cost: {
    name: 'headgate.cost',
    kind: 'counter',
    unit: '{USD}',
    labels: SPENT,
    description: 'What the calls have cost',
    question: 'What does it cost, by model, lane and tier?',
  },
  saved: {
    name: 'headgate.cost.saved',
    kind: 'counter',
    unit: '{USD}',
    labels: ['mechanism'],
    description: 'What calls would have cost more without caching, batches or a smaller model',
    question: 'What do marks for the cache, batches and smaller models save?',
  },
  unpriced: {
    name: 'headgate.cost.unpriced',
    kind: 'counter',
    unit: '{call}',
    labels: [...SPENT, 'pricing'],
    description: 'Calls of models without a known price, by what counts in its place',
    question: 'Is the cost that is shown all of it?',
  },
  usageBounded: {
    name: 'headgate.usage.bounded',
    kind: 'counter',
    unit: '{answer}',
    labels: ['usagePart'],
    description:
      'Answers whose usage is more than the call can have used, or cannot be read: the bound is counted',
    question: 'Does what is between us and the API tell the truth of what is used?',
  },
  estimateRatio: {
    name: 'headgate.estimate.ratio',
    kind: 'histogram',
    unit: '1',
    buckets: RATIO,
    labels: ['genAiRequestModel'],
    description: 'Input tokens that the API counted over those that were estimated',
    question: 'Are prompts estimated well?',
  },
  clamped: {
    name: 'headgate.max_tokens.clamped',
    kind: 'counter',
    unit: '{call}',
    labels: CALL,
    description: 'Calls whose `max_tokens` a cap lowered',
    question: 'Whose answers are cut shorter than asked for?',
  },
  rerouted: {
    name: 'headgate.model.rerouted',
    kind: 'counter',
    unit: '{call}',
    labels: [...CALL, 'modelSent', 'modelCause'],
    description: 'Calls that another model than the one asked for was asked',
    question: 'Which models stand in for others, and why?',
  },
  fallbacks: {
    name: 'headgate.fallbacks',
    kind: 'counter',
    unit: '{call}',
    labels: [...CALL, 'errorType', 'reason'],
    description:
      'Calls that went on to another model: because of what one answered (`error.type`), or because it was held back (`headgate.reason`)',
    question: 'What drives calls to their fallbacks?',
  },
  retryAfter: {
    name: 'headgate.refusal.retry_after',
    kind: 'histogram',
    unit: 's',
    buckets: QUEUE_WAIT,
    labels: ['lane', 'reason'],
    description: 'How long refused calls were told to wait',
    question: 'When may those come back that were refused?',
  },
  configReloads: {
    name: 'headgate.config.reloads',
    kind: 'counter',
    unit: '{reload}',
    labels: ['outcome'],
    description: 'Configurations taken over, or refused, while running',
    question: 'Does the configuration in force equal the file?',
  },
  unknownCaller: {
    name: 'headgate.caller.unknown',
    kind: 'counter',
    unit: '{call}',
    labels: ['lane'],
    description: 'Calls made outside every caller scope',
    question: 'Do calls escape the quotas of their users?',
  },
  callerDoubts: {
    name: 'headgate.caller.doubts',
    kind: 'counter',
    unit: '{call}',
    labels: ['callerDoubt'],
    description: 'Calls with a sign that they run in the scope of another caller',
    question: 'Does a queue, a pool or a worker run the calls of one user as those of another?',
  },
  unknownModel: {
    name: 'headgate.model.unknown',
    kind: 'counter',
    unit: '{call}',
    labels: CALL,
    description: 'Calls of models that no bucket was configured for',
    question: 'Is a model missing in the configuration?',
  },
  shadowed: {
    name: 'headgate.shadow.refusals',
    kind: 'counter',
    unit: '{call}',
    labels: ['rule'],
    description: 'Calls that a rule in shadow would have refused or held back',
    question: 'What would this rule do if it were in force?',
  },
  storeErrors: {
    name: 'headgate.store.errors',
    kind: 'counter',
    unit: '{error}',
    labels: [],
    description: 'Failures of the store that keeps counters beyond the life of the process',
    question: 'Do counters of days and months survive a restart?',
  },
  storeMoves: {
    name: 'headgate.store.moves',
    kind: 'counter',
    unit: '{move}',
    labels: ['mode'],
    description:
      'Times that limits came to be kept by the shared store (shared), or by a share of this process (degraded)',
    question: 'Has a process lost the shared store, and is it back?',
  },
  storeShared: {
    name: 'headgate.store.shared',
    kind: 'observableGauge',
    unit: '1',
    labels: BUCKET,
    description:
      'Whether the shared store keeps the limits of a bucket: 1, or 0 while the process goes on with its share',
    question: 'Is the limit one for all processes now?',
  },
  storeProcesses: {
    name: 'headgate.store.processes',
    kind: 'observableGauge',
    unit: '{process}',
    labels: BUCKET,
    description: 'Processes that share the limits, as last told by the store',
    question: 'How many processes share the limit?',
  },
  ...MONEY_INSTRUMENTS,
  ...GEN_AI_INSTRUMENTS,
} as const satisfies Record<string, InstrumentSpec>;

export type InstrumentName = keyof typeof INSTRUMENTS;
