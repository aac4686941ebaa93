/**
 * Every name that Headgate emits, in one place. `gen_ai.*`, `error.type`, `http.*` and `server.*` follow the
 * OpenTelemetry semantic conventions; the rest is ours. The reference of the documentation is made from this file.
 */

export const SCOPE_NAME = '@headgate/core';

export const SPANS = {
  admission: 'headgate.admission',
  attempt: 'headgate.attempt',
  backoff: 'headgate.backoff',
  batchSubmit: 'headgate.batch.submit',
  batchResult: 'headgate.batch.result',
} as const;

export const ATTRIBUTES = {
  // What was decided, on the admission span.
  decision: 'headgate.decision',
  reason: 'headgate.reason',
  rule: 'headgate.rule',
  lane: 'headgate.lane',
  tier: 'headgate.tier',
  route: 'headgate.route',
  tenant: 'headgate.tenant',
  bucket: 'headgate.bucket',
  account: 'headgate.account',
  userHash: 'headgate.user.hash',
  userId: 'user.id',
  queueWait: 'headgate.queue.wait',
  retryAfter: 'headgate.retry_after',
  estimatedInput: 'headgate.estimate.input_tokens',
  estimatedOutput: 'headgate.estimate.output_tokens',
  maxTokensRequested: 'headgate.max_tokens.requested',
  maxTokensGranted: 'headgate.max_tokens.granted',
  shadowRules: 'headgate.shadow.rules',
  mode: 'headgate.mode',
  modelRequested: 'headgate.model.requested',
  fallbackCause: 'headgate.fallback.cause',

  // What was sent and what came back, on the attempt span.
  attempt: 'headgate.attempt',
  modelSent: 'headgate.model.sent',
  outcome: 'headgate.outcome',
  requestId: 'headgate.request_id',
  cost: 'headgate.cost',
  inputTokens: 'headgate.usage.input_tokens',
  outputTokens: 'headgate.usage.output_tokens',
  breakerState: 'headgate.breaker.state',
  backoffSource: 'headgate.backoff.source',
  backoffDelay: 'headgate.backoff.delay',
  errorCode: 'headgate.error_code',
  retryDenied: 'headgate.retry.denied',

  // Money and batches.
  billing: 'headgate.billing',
  mechanism: 'headgate.mechanism',
  batchId: 'headgate.batch.id',
  batchSize: 'headgate.batch.size',

  // Conventions.
  errorType: 'error.type',
  httpMethod: 'http.request.method',
  httpStatus: 'http.response.status_code',
  httpResendCount: 'http.request.resend_count',
  serverAddress: 'server.address',
  serverPort: 'server.port',
  genAiOperation: 'gen_ai.operation.name',
  genAiProvider: 'gen_ai.provider.name',
  genAiRequestModel: 'gen_ai.request.model',
  genAiRequestMaxTokens: 'gen_ai.request.max_tokens',
  genAiRequestStream: 'gen_ai.request.stream',
  genAiResponseModel: 'gen_ai.response.model',
  genAiResponseId: 'gen_ai.response.id',
  genAiFinishReasons: 'gen_ai.response.finish_reasons',
  genAiTimeToFirstChunk: 'gen_ai.response.time_to_first_chunk',
  genAiInputTokens: 'gen_ai.usage.input_tokens',
  genAiOutputTokens: 'gen_ai.usage.output_tokens',
  genAiCacheRead: 'gen_ai.usage.cache_read.input_tokens',
  genAiCacheWrite: 'gen_ai.usage.cache_write.input_tokens',
  genAiReasoning: 'gen_ai.usage.reasoning.output_tokens',
  genAiTokenType: 'gen_ai.token.type',
  genAiModality: 'gen_ai.token.modality',

  dimension: 'headgate.dimension',
  direction: 'headgate.direction',
} as const;

/** Headroom of a dimension as the API told it with an attempt: `headgate.ratelimit.requests.remaining` and so on. */
export const ratelimitAttribute = (dimension: string, what: 'limit' | 'remaining') =>
  `headgate.ratelimit.${snake(dimension)}.${what}`;

export const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** Seconds, for whole calls: the convention's boundaries, and two above for long generations. */
const DURATION = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const LONG_DURATION = [...DURATION, 163.84, 327.68, 655.36];
const QUEUE_WAIT = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600];
const BATCH_DURATION = [1, 10, 60, 300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 57_600, 86_400];
const TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864];
const RATIO = [0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4];

export type InstrumentKind = 'counter' | 'histogram' | 'observableGauge';

export interface InstrumentSpec {
  readonly name: string;
  readonly kind: InstrumentKind;
  readonly unit: string;
  readonly description: string;
  readonly buckets?: readonly number[];
}

export const INSTRUMENTS = {
  callDuration: {
    name: 'headgate.call.duration',
    kind: 'histogram',
    unit: 's',
    buckets: LONG_DURATION,
    description: 'A governed call, from arrival to the end of its response: queue, attempts and stream',
  },
  decisions: {
    name: 'headgate.decisions',
    kind: 'counter',
    unit: '{decision}',
    description: 'Decisions on calls, with their reason',
  },
  queueWait: {
    name: 'headgate.queue.wait.duration',
    kind: 'histogram',
    unit: 's',
    buckets: QUEUE_WAIT,
    description: 'Time from arrival to admission or refusal',
  },
  queueDepth: {
    name: 'headgate.queue.depth',
    kind: 'observableGauge',
    unit: '{call}',
    description: 'Calls that wait',
  },
  active: {
    name: 'headgate.concurrency.active',
    kind: 'observableGauge',
    unit: '{call}',
    description: 'Calls in flight',
  },
  attempts: {
    name: 'headgate.attempts',
    kind: 'counter',
    unit: '{attempt}',
    description: 'HTTP requests to the API, by what came back',
  },
  retries: {
    name: 'headgate.retries',
    kind: 'counter',
    unit: '{retry}',
    description: 'Attempts after the first',
  },
  retriesDenied: {
    name: 'headgate.retries.denied',
    kind: 'counter',
    unit: '{call}',
    description: 'Calls whose failed attempt was the last one, by why: final, attempts, deadline, budget',
  },
  breakerMoves: {
    name: 'headgate.breaker.transitions',
    kind: 'counter',
    unit: '{transition}',
    description: 'Moves of the breakers of models: open, half_open, closed',
  },
  breakersOpen: {
    name: 'headgate.breaker.open',
    kind: 'observableGauge',
    unit: '{breaker}',
    description: 'Models whose calls are held back now',
  },
  storeMoves: {
    name: 'headgate.store.moves',
    kind: 'counter',
    unit: '{move}',
    description:
      'Times that limits came to be kept by the shared store (shared), or by a share of this process (degraded)',
  },
  storeShared: {
    name: 'headgate.store.shared',
    kind: 'observableGauge',
    unit: '1',
    description:
      'Whether the shared store keeps the limits of a bucket: 1, or 0 while the process goes on with its share',
  },
  storeProcesses: {
    name: 'headgate.store.processes',
    kind: 'observableGauge',
    unit: '{process}',
    description: 'Processes that share the limits, as last told by the store',
  },
  retryBudget: {
    name: 'headgate.retry_budget.remaining',
    kind: 'observableGauge',
    unit: '{retry}',
    description: 'Retries that the budget allows now',
  },
  requestsRemaining: {
    name: 'headgate.ratelimit.requests.remaining',
    kind: 'observableGauge',
    unit: '{request}',
    description: 'Requests that can be sent now, as reckoned here',
  },
  requestsLimit: {
    name: 'headgate.ratelimit.requests.limit',
    kind: 'observableGauge',
    unit: '{request}',
    description: 'Requests per minute',
  },
  tokensRemaining: {
    name: 'headgate.ratelimit.tokens.remaining',
    kind: 'observableGauge',
    unit: '{token}',
    description: 'Tokens that can be used now, as reckoned here',
  },
  tokensLimit: {
    name: 'headgate.ratelimit.tokens.limit',
    kind: 'observableGauge',
    unit: '{token}',
    description: 'Tokens per minute',
  },
  cost: {
    name: 'headgate.cost',
    kind: 'counter',
    unit: '{USD}',
    description: 'What the calls have cost',
  },
  unpriced: {
    name: 'headgate.cost.unpriced',
    kind: 'counter',
    unit: '{call}',
    description: 'Calls of models without a known price',
  },
  saved: {
    name: 'headgate.cost.saved',
    kind: 'counter',
    unit: '{USD}',
    description: 'What calls would have cost more without caching, batches or a smaller model, by mechanism',
  },
  budgetSoft: {
    name: 'headgate.budget.soft',
    kind: 'counter',
    unit: '{call}',
    description: 'Calls that drew on a budget past its soft share',
  },
  budgetUsed: {
    name: 'headgate.budget.used',
    kind: 'observableGauge',
    unit: '1',
    description: 'Share of a budget that is used, of those for all and by account',
  },
  budgetEnds: {
    name: 'headgate.budget.ends_in',
    kind: 'observableGauge',
    unit: 's',
    description: 'Time until such a budget is used up at the present pace; absent while it lasts its window',
  },
  cachePremium: {
    name: 'headgate.cache.premium',
    kind: 'counter',
    unit: '{USD}',
    description: 'What marking prefixes for the cache has cost beyond the usual input price, by writes',
  },
  cacheUnread: {
    name: 'headgate.cache.unread',
    kind: 'counter',
    unit: '{token}',
    description: 'Tokens that were written to the cache for marks of ours, and gone before anybody read them',
  },
  batchRequests: {
    name: 'headgate.batch.requests',
    kind: 'counter',
    unit: '{request}',
    description: 'Requests of batches that are done, by what became of them',
  },
  batchRetries: {
    name: 'headgate.batch.retries',
    kind: 'counter',
    unit: '{request}',
    description: 'Requests that go in a further batch, since their error may pass',
  },
  batchSubmissions: {
    name: 'headgate.batch.submissions',
    kind: 'counter',
    unit: '{batch}',
    description: 'Batches that were sent: accepted, refused, or in doubt for want of an answer',
  },
  batchDuration: {
    name: 'headgate.batch.duration',
    kind: 'histogram',
    unit: 's',
    buckets: BATCH_DURATION,
    description: 'From the submission of a request to its result',
  },
  batchPending: {
    name: 'headgate.batch.pending',
    kind: 'observableGauge',
    unit: '{request}',
    description: 'Requests of the batch lane without a result, waiting or sent',
  },
  estimateRatio: {
    name: 'headgate.estimate.ratio',
    kind: 'histogram',
    unit: '1',
    buckets: RATIO,
    description: 'Input tokens that the API counted over those that were estimated',
  },
  clamped: {
    name: 'headgate.max_tokens.clamped',
    kind: 'counter',
    unit: '{call}',
    description: 'Calls whose `max_tokens` a cap lowered',
  },
  rerouted: {
    name: 'headgate.model.rerouted',
    kind: 'counter',
    unit: '{call}',
    description: 'Calls that another model than the one asked for was asked, by a route or a fallback',
  },
  fallbacks: {
    name: 'headgate.fallbacks',
    kind: 'counter',
    unit: '{call}',
    description: 'Calls that went on to another model because of what one answered',
  },
  retryAfter: {
    name: 'headgate.refusal.retry_after',
    kind: 'histogram',
    unit: 's',
    buckets: QUEUE_WAIT,
    description: 'How long refused calls were told to wait',
  },
  configReloads: {
    name: 'headgate.config.reloads',
    kind: 'counter',
    unit: '{reload}',
    description: 'Configurations taken over, or refused, while running',
  },
  unknownCaller: {
    name: 'headgate.caller.unknown',
    kind: 'counter',
    unit: '{call}',
    description: 'Calls made outside every caller scope',
  },
  unknownModel: {
    name: 'headgate.model.unknown',
    kind: 'counter',
    unit: '{call}',
    description: 'Calls of models that no bucket was configured for',
  },
  shadowed: {
    name: 'headgate.shadow.refusals',
    kind: 'counter',
    unit: '{call}',
    description: 'Calls that a rule in shadow would have refused or held back',
  },

  inferenceDuration: {
    name: 'gen_ai.client.inference.duration',
    kind: 'histogram',
    unit: 's',
    buckets: DURATION,
    description: 'Duration of a GenAI call',
  },
  firstChunk: {
    name: 'gen_ai.client.inference.time_to_first_chunk',
    kind: 'histogram',
    unit: 's',
    buckets: DURATION,
    description: 'Time to the first chunk of a streamed answer',
  },
  inputTokens: {
    name: 'gen_ai.client.inference.usage.input_tokens',
    kind: 'counter',
    unit: '{token}',
    description: 'Input tokens, cached ones included',
  },
  outputTokens: {
    name: 'gen_ai.client.inference.usage.output_tokens',
    kind: 'counter',
    unit: '{token}',
    description: 'Output tokens',
  },
  cacheReadTokens: {
    name: 'gen_ai.client.inference.usage.cache_read.input_tokens',
    kind: 'counter',
    unit: '{token}',
    description: 'Input tokens read from the cache; part of the input tokens',
  },
  cacheWriteTokens: {
    name: 'gen_ai.client.inference.usage.cache_write.input_tokens',
    kind: 'counter',
    unit: '{token}',
    description: 'Input tokens written to the cache; part of the input tokens',
  },
  operationDuration: {
    name: 'gen_ai.client.operation.duration',
    kind: 'histogram',
    unit: 's',
    buckets: DURATION,
    description: 'Duration of a GenAI call (conventions v1.41)',
  },
  tokenUsage: {
    name: 'gen_ai.client.token.usage',
    kind: 'histogram',
    unit: '{token}',
    buckets: TOKENS,
    description: 'Tokens of a GenAI call (conventions v1.41)',
  },
} as const satisfies Record<string, InstrumentSpec>;

export type InstrumentName = keyof typeof INSTRUMENTS;

/** What was decided on a call. */
export type Decision = 'admit' | 'queue' | 'refuse' | 'pass';

/** How a governed call ended. */
export type CallOutcome = 'ok' | 'error' | 'refused' | 'aborted';

/** The API's own error types, and ours for what never got an answer. Anything else is `_OTHER`. */
export const ERROR_TYPES = new Set([
  'invalid_request_error',
  'authentication_error',
  'billing_error',
  'permission_error',
  'not_found_error',
  'conflict_error',
  'request_too_large',
  'rate_limit_error',
  'api_error',
  'timeout_error',
  'overloaded_error',
  'timeout',
  'aborted',
  'connection_error',
  'headgate.refused',
]);

export const errorType = (type: string | undefined) =>
  type !== undefined && ERROR_TYPES.has(type) ? type : '_OTHER';
