import { ATTRIBUTE_SPECS, type AttributeSpec } from './attributes.ts';
import { INSTRUMENTS, type InstrumentSpec } from './instruments.ts';
import { ATTRIBUTES, type AttributeKey, LABEL_PREFIX, SCOPE_NAME, SPANS } from './names.ts';

export interface SpanSpec {
  /** With `{…}` where a name varies. */
  readonly name: string;
  readonly kind: 'internal' | 'client';
  readonly description: string;
  readonly question: string;
  readonly attributes: readonly AttributeKey[];
}

/** Which attributes each span may have. One that has nothing to tell is absent. */
export const SPAN_SPECS = {
  chat: {
    name: 'chat {gen_ai.request.model}',
    kind: 'client',
    description:
      'The call, where the Anthropic SDK emits no span of its own (older than 0.134, or switched off): `telemetry.spans` says when',
    question: 'What was asked, what came back, and what did it cost?',
    attributes: [
      'genAiOperation',
      'genAiProvider',
      'genAiRequestModel',
      'genAiRequestMaxTokens',
      'genAiRequestStream',
      'genAiRequestTemperature',
      'genAiRequestTopP',
      'genAiRequestTopK',
      'serverAddress',
      'serverPort',
      'genAiResponseModel',
      'genAiResponseId',
      'genAiFinishReasons',
      'genAiTimeToFirstChunk',
      'genAiInputTokens',
      'genAiOutputTokens',
      'genAiCacheRead',
      'genAiCacheWrite',
      'genAiCacheCreation',
      'genAiReasoning',
      'cost',
      'errorType',
    ],
  },
  admission: {
    name: SPANS.admission,
    kind: 'internal',
    description:
      'A call at the gate: policy, estimate and queue wait. One before each attempt, also without a wait',
    question: 'Was the call held back or refused, for how long, and by what?',
    attributes: [
      'attempt',
      'decision',
      'reason',
      'rule',
      'lane',
      'tier',
      'route',
      'userHash',
      'userId',
      'account',
      'bucket',
      'mode',
      'queueWait',
      'retryAfter',
      'estimatedInput',
      'estimatedOutput',
      'maxTokensRequested',
      'maxTokensGranted',
      'modelRequested',
      'modelCause',
      'fallbackCause',
      'fallbackEvidence',
      'shadowRules',
      'errorType',
    ],
  },
  attempt: {
    name: SPANS.attempt,
    kind: 'client',
    description: 'One HTTP request to the API, to the end of its body',
    question: 'What was sent, what did the API say, how close is its limit, and what did this attempt take?',
    attributes: [
      'attempt',
      'modelSent',
      'maxTokensGranted',
      'outcome',
      'reason',
      'httpMethod',
      'httpStatus',
      'httpResendCount',
      'serverAddress',
      'serverPort',
      'requestId',
      'errorType',
      'errorCode',
      'retryDenied',
      'breakerState',
      'firstChunk',
      'inputTokens',
      'outputTokens',
      'usageEstimated',
      'cost',
      'requestsLimit',
      'requestsRemaining',
      'inputTokensLimit',
      'inputTokensRemaining',
      'outputTokensLimit',
      'outputTokensRemaining',
    ],
  },
  backoff: {
    name: SPANS.backoff,
    kind: 'internal',
    description: 'The wait before another attempt',
    question: 'Why was it tried again, and who said how long to wait?',
    attributes: ['backoffSource', 'backoffDelay', 'retryBudget', 'errorType'],
  },
  batchSubmit: {
    name: SPANS.batchSubmit,
    kind: 'internal',
    description:
      'The sending of a batch, a trace of its own, linked to the code that submitted its requests (128 at most)',
    question: 'When did a batch go, with how many requests, and was it taken?',
    attributes: ['batchSize', 'batchId', 'outcome', 'errorType'],
  },
  batchResult: {
    name: SPANS.batchResult,
    kind: 'internal',
    description:
      'The end of one request of a batch, a trace of its own, linked to the code that submitted it',
    question: 'What became of a request that went by batch, and what did it cost?',
    attributes: [
      'batchId',
      'lane',
      'tier',
      'route',
      'userHash',
      'userId',
      'outcome',
      'modelSent',
      'inputTokens',
      'outputTokens',
      'cost',
      'errorType',
    ],
  },
} as const satisfies Record<string, SpanSpec>;

export interface CatalogueAttribute extends AttributeSpec {
  readonly name: string;
}

/** The whole contract: what the reference, the dashboards and the alerts are made of. */
export interface Catalogue {
  readonly scope: string;
  /** What a caller's own labels are called on admission spans: this and their name. */
  readonly labelPrefix: string;
  readonly spans: readonly (Omit<SpanSpec, 'attributes'> & { readonly attributes: readonly string[] })[];
  readonly attributes: readonly CatalogueAttribute[];
  readonly metrics: readonly (Omit<InstrumentSpec, 'labels'> & { readonly labels: readonly string[] })[];
}

const namesOf = (keys: readonly AttributeKey[]) => keys.map((key) => ATTRIBUTES[key]);

/** Every span, attribute, metric and label that Headgate emits. */
export const CATALOGUE: Catalogue = {
  scope: SCOPE_NAME,
  labelPrefix: LABEL_PREFIX,
  spans: Object.values(SPAN_SPECS).map((span) => ({ ...span, attributes: namesOf(span.attributes) })),
  attributes: Object.entries(ATTRIBUTE_SPECS).map(([key, spec]) => ({
    name: ATTRIBUTES[key as AttributeKey],
    ...spec,
  })),
  metrics: (Object.values(INSTRUMENTS) as InstrumentSpec[]).map((metric) => ({
    ...metric,
    labels: namesOf(metric.labels),
  })),
};
