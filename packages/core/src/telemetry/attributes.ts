import { REASONS } from '../errors.ts';
import type { AttributeKey } from './names.ts';
import { PROVIDERS } from './provider.ts';
import {
  ATTEMPT_OUTCOMES,
  BACKOFF_SOURCES,
  BATCH_OUTCOMES,
  BILLINGS,
  BREAKER_STATES,
  CALL_OUTCOMES,
  CALLER_DOUBTS,
  DECISIONS,
  DIRECTIONS,
  ERROR_TYPES,
  MECHANISMS,
  MODEL_CAUSES,
  MODES,
  OTHER,
  PRICINGS,
  RELOAD_OUTCOMES,
  RETRY_DENIALS,
  SUBMISSION_OUTCOMES,
  USAGE_PARTS,
  WAIT_OUTCOMES,
} from './values.ts';

export interface AttributeSpec {
  readonly type: 'string' | 'int' | 'double' | 'boolean' | 'string[]';
  readonly description: string;
  readonly unit?: string;
  /** Every value that there is, where the set is closed. */
  readonly values?: readonly string[];
  /** Why a label that is no closed set has few values all the same. */
  readonly bound?: string;
}

const text = (description: string, more: Partial<AttributeSpec> = {}): AttributeSpec => ({
  type: 'string',
  description,
  ...more,
});
const oneOf = (values: readonly string[], description: string) => text(description, { values });
const int = (description: string, unit?: string): AttributeSpec => ({
  type: 'int',
  description,
  ...(unit === undefined ? {} : { unit }),
});
const double = (description: string, unit?: string): AttributeSpec => ({
  ...int(description, unit),
  type: 'double',
});

const LIMIT = 'per minute, by the headers of this response';
const REMAINING = 'left, by the headers of this response';
const BY_CONFIG = 'by the configuration';
const OPEN = 'with lane, the first 64 combinations; all others share `_OTHER`';
const MODELS =
  'those that the configuration or the price table names, and the first 64 others that the API has answered for; the rest share `_OTHER`; cut to 64 characters';

/** What each attribute means. The compiler wants every row. */
export const ATTRIBUTE_SPECS: Record<AttributeKey, AttributeSpec> = {
  decision: oneOf(DECISIONS, 'Let in at once, let in after a wait, refused, or passed without a gate'),
  reason: oneOf(
    REASONS,
    'What the call waited for, or was refused for; of an attempt, why it was ended from this side',
  ),
  rule: text('Name of the quota, cap, bucket or spend limit, or the model of the breaker, that bound', {
    bound: 'the first 128 names; all others share `_OTHER`',
  }),
  lane: text('Lane of the call', { bound: BY_CONFIG }),
  tier: text('Tier of the caller', { bound: OPEN }),
  route: text('Route of the request, or what the app calls its purpose'),
  bucket: text('Upstream bucket that the call draws on', { bound: `${BY_CONFIG} and the model table` }),
  account: text('Account of that bucket', { bound: BY_CONFIG }),
  userHash: text('Keyed hash of the user id: tells users apart, not who they are'),
  userId: text('The user id itself; only with `telemetry.user: raw`'),
  queueWait: double('From arrival at the gate to the decision', 's'),
  retryAfter: double('How long the refused caller was told to wait', 's'),
  estimatedInput: int('Input tokens that were held', '{token}'),
  estimatedOutput: int('Output tokens that were expected', '{token}'),
  maxTokensRequested: int('`max_tokens` as the caller asked for it', '{token}'),
  maxTokensGranted: int('`max_tokens` as it is sent', '{token}'),
  shadowRules: {
    type: 'string[]',
    description: 'Rules in shadow that would have refused the call or held it back',
  },
  mode: oneOf(
    MODES,
    'Who keeps the limits of a fleet: the shared store, or this process a share of them; absent without a shared store',
  ),
  modelRequested: text('The model that the caller asked for, where another is asked'),
  modelCause: oneOf(MODEL_CAUSES, 'Why another model is asked'),
  fallbackCause: oneOf(
    [...new Set([...ERROR_TYPES, OTHER, ...REASONS])],
    'Why the call has left the model before: what that answered, or why it was held back',
  ),
  fallbackEvidence: text(
    'What calls were diverted by without being sent: by how many callers it was seen and since when, as `404 by 3 callers since 14:03 UTC`',
  ),

  attempt: int('Which attempt of the call, from 1'),
  modelSent: text('The model that is really asked', { bound: MODELS }),
  outcome: oneOf(
    [
      ...new Set([
        ...CALL_OUTCOMES,
        ...ATTEMPT_OUTCOMES,
        ...WAIT_OUTCOMES,
        ...RELOAD_OUTCOMES,
        ...SUBMISSION_OUTCOMES,
        ...BATCH_OUTCOMES,
      ]),
    ],
    'How it ended; a call: `ok`, `error`, `refused`, `aborted`; an attempt: `complete`, `aborted`, `error`; a wait: `admitted`, `refused`; a new configuration: `applied`, `refused`; a batch: `accepted`, `refused`, `doubt`; a request in one: the rest, and `canceled`, `expired`',
  ),
  requestId: text('`request-id` of the response: what Anthropic’s support asks for'),
  firstChunk: double('From this attempt to the first chunk with content; streams only', 's'),
  cost: double('What it cost the account: all that was billed, advisors and fallbacks included', '{USD}'),
  inputTokens: int(
    'Input tokens that are billed of this attempt, of whatever model, cached ones included',
    '{token}',
  ),
  outputTokens: int('Output tokens that are billed of this attempt, of whatever model', '{token}'),
  usageEstimated: {
    type: 'boolean',
    description:
      'True where the API has not told what the attempt used: tokens and cost are estimated, by time and speed; absent otherwise',
  },
  breakerState: oneOf(
    BREAKER_STATES,
    'Of the model’s breaker, where it is not closed: `half_open` on the attempt that is to see, `open` after one that failed',
  ),
  retryDenied: oneOf(RETRY_DENIALS, 'Why no attempt followed this failed one'),
  errorCode: text('The API’s `error.details.error_code`'),
  requestsLimit: int(`Requests ${LIMIT}`, '{request}'),
  requestsRemaining: int(`Requests ${REMAINING}`, '{request}'),
  inputTokensLimit: int(`Input tokens ${LIMIT}`, '{token}'),
  inputTokensRemaining: int(`Input tokens ${REMAINING}`, '{token}'),
  outputTokensLimit: int(`Output tokens ${LIMIT}`, '{token}'),
  outputTokensRemaining: int(`Output tokens ${REMAINING}`, '{token}'),

  backoffSource: oneOf(BACKOFF_SOURCES, 'Who set the delay: the API, or our own backoff'),
  backoffDelay: double('Delay that was set; a 429’s is waited out in the queue, in the next admission', 's'),
  retryBudget: double('Retries that the budget allowed after this one was paid', '{retry}'),

  direction: oneOf(DIRECTIONS, 'Which tokens'),
  mechanism: oneOf(MECHANISMS, 'What has made it cheaper: marks for the cache, a batch, a smaller model'),
  billing: oneOf(BILLINGS, 'By which prices it is paid'),
  pricing: oneOf(
    PRICINGS,
    'What counts for a model without a known price: by `unpriced` where a quota or budget in USD applies, else `unknown`: no money',
  ),
  callerDoubt: oneOf(
    CALLER_DOUBTS,
    'Why the caller is in doubt: a client of `governor.with` is used in another scope than it was made in, the response of the scope has been sent, `metadata.user_id` is not the user of the scope',
  ),
  usagePart: oneOf(
    USAGE_PARTS,
    'Which number of a usage is more than the call can have used; `unreadable`: it tells no input',
  ),

  batchId: text('Id of the batch at the API'),
  batchSize: int('Requests in it', '{request}'),

  errorType: oneOf(
    [...ERROR_TYPES, OTHER],
    'The API’s `error.type`, or ours where no answer came. A handled error stands on its attempt and never on the call',
  ),
  httpMethod: text('Method of the request'),
  httpStatus: int('Status of the response; absent where none came'),
  httpResendCount: int('Which retry this is, from 1; absent on the first attempt'),
  serverAddress: text('Host of the API', { bound: 'by the clients of the app' }),
  serverPort: int('Its port'),
  genAiOperation: oneOf(['chat'], 'The operation'),
  genAiProvider: oneOf(PROVIDERS, 'The platform that serves the call, as the SDK says it'),
  genAiRequestModel: text('The model asked for', { bound: MODELS }),
  genAiRequestMaxTokens: int('`max_tokens` as asked for', '{token}'),
  genAiRequestStream: { type: 'boolean', description: 'True for a stream; absent otherwise' },
  genAiRequestTemperature: double('`temperature`'),
  genAiRequestTopP: double('`top_p`'),
  genAiRequestTopK: int('`top_k`'),
  genAiResponseModel: text('The model that answered', { bound: MODELS }),
  genAiResponseId: text('Id of the message'),
  genAiFinishReasons: { type: 'string[]', description: 'The one `stop_reason`' },
  genAiTimeToFirstChunk: double('From arrival to the first chunk with content; streams only', 's'),
  genAiInputTokens: int('All input: uncached, read from the cache and written to it', '{token}'),
  genAiOutputTokens: int('Output', '{token}'),
  genAiCacheRead: int('Input read from the cache; part of the input', '{token}'),
  genAiCacheWrite: int('Input written to the cache; part of the input', '{token}'),
  genAiCacheCreation: int('The same under its name of v1.41', '{token}'),
  genAiReasoning: int('Output that was thinking; part of the output, where the API tells', '{token}'),
  genAiTokenType: oneOf(['input', 'output'], 'Which tokens'),
  genAiModality: oneOf(['unknown'], 'The API does not tell text from images'),
};
