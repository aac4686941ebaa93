/**
 * Every name that Headgate emits, in one place. `gen_ai.*`, `error.type`, `http.*` and `server.*` follow the
 * OpenTelemetry semantic conventions; the rest is ours. What each means stands in the catalogue, of which the
 * reference, the dashboards and the alerts are made.
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
  modelCause: 'headgate.model.cause',
  fallbackCause: 'headgate.fallback.cause',
  fallbackEvidence: 'headgate.fallback.evidence',

  // What was sent and what came back, on the attempt span.
  attempt: 'headgate.attempt',
  modelSent: 'headgate.model.sent',
  outcome: 'headgate.outcome',
  requestId: 'headgate.request_id',
  firstChunk: 'headgate.time_to_first_chunk',
  cost: 'headgate.cost',
  inputTokens: 'headgate.usage.input_tokens',
  outputTokens: 'headgate.usage.output_tokens',
  usageEstimated: 'headgate.usage.estimated',
  breakerState: 'headgate.breaker.state',
  retryDenied: 'headgate.retry.denied',
  errorCode: 'headgate.error_code',
  requestsLimit: 'headgate.ratelimit.requests.limit',
  requestsRemaining: 'headgate.ratelimit.requests.remaining',
  inputTokensLimit: 'headgate.ratelimit.input_tokens.limit',
  inputTokensRemaining: 'headgate.ratelimit.input_tokens.remaining',
  outputTokensLimit: 'headgate.ratelimit.output_tokens.limit',
  outputTokensRemaining: 'headgate.ratelimit.output_tokens.remaining',

  // The wait before another attempt.
  backoffSource: 'headgate.backoff.source',
  backoffDelay: 'headgate.backoff.delay',
  retryBudget: 'headgate.retry_budget.remaining',

  // Of batches.
  batchId: 'headgate.batch.id',
  batchSize: 'headgate.batch.size',

  // On metrics only.
  direction: 'headgate.direction',
  mechanism: 'headgate.mechanism',
  billing: 'headgate.billing',
  pricing: 'headgate.pricing',
  callerDoubt: 'headgate.caller.doubt',
  usagePart: 'headgate.usage.part',

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
  genAiRequestTemperature: 'gen_ai.request.temperature',
  genAiRequestTopP: 'gen_ai.request.top_p',
  genAiRequestTopK: 'gen_ai.request.top_k',
  genAiResponseModel: 'gen_ai.response.model',
  genAiResponseId: 'gen_ai.response.id',
  genAiFinishReasons: 'gen_ai.response.finish_reasons',
  genAiTimeToFirstChunk: 'gen_ai.response.time_to_first_chunk',
  genAiInputTokens: 'gen_ai.usage.input_tokens',
  genAiOutputTokens: 'gen_ai.usage.output_tokens',
  genAiCacheRead: 'gen_ai.usage.cache_read.input_tokens',
  genAiCacheWrite: 'gen_ai.usage.cache_write.input_tokens',
  genAiCacheCreation: 'gen_ai.usage.cache_creation.input_tokens',
  genAiReasoning: 'gen_ai.usage.reasoning.output_tokens',
  genAiTokenType: 'gen_ai.token.type',
  genAiModality: 'gen_ai.token.modality',
} as const;

export type AttributeKey = keyof typeof ATTRIBUTES;

/** What a caller's own labels are called on spans: this and their name. */
export const LABEL_PREFIX = 'headgate.label.';
